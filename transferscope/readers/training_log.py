"""How the adapters of a results folder learned, from the `curve` lines of its log.

A line has the `key` of its adapter, by which the index's run names the one that it uses: an adapter
of another recipe is not taken for it. A line of an earlier version has no key, and counts where it
is the only one of its run.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress

from pydantic import TypeAdapter, ValidationError

from transferscope.analysis.parts import Training
from transferscope.store import Folder, IndexedRun, logged


def trainings(
    folder: Folder, records: Sequence[IndexedRun], models: Collection[str], name: str | None = None
) -> list[Training]:
    """The curve of each adapter that the index's `records` use, in their order, then of those that
    failed in the last run.

    Args:
        models: those that are wanted.
        name: another name for the single model.
    """
    kept: dict[tuple[str, ...], dict[str, list[Training]]] = {}
    failed: dict[tuple[str, ...], Training] = {}
    check = TypeAdapter(Training)
    for line in logged(folder):
        match line:
            case {"event": "begin"}:
                failed.clear()
            case {"event": "curve", "model": str(model), "runs": [str(run)]} if model in models:
                source, _, seed = run.removeprefix(f"{model}, ").rpartition(", seed ")
                named = {"model": name or model, "source": source, "seed": seed}
                with suppress(ValidationError):  # an adapter without a step, or a damaged line
                    one, own = check.validate_python(line | named), (model, source, seed)
                    failed.pop(own, None)
                    if one.failed:
                        failed[own] = one
                    elif len(one.step) == len(one.loss) == len(one.gradient_norm):
                        key = str(line.get("key", ""))
                        kept.setdefault(own, {}).setdefault(key, []).append(one)
            case _:
                pass
    found: list[Training] = []
    for record in records:
        run = record["run"]
        by_key = kept.get((run["model"], run["source"] or "", str(run["seed"])), {})
        if run["kind"] in ("source", "mixture", "control"):
            unnamed = by_key.get("", [])
            found += by_key.get(record["training"], unnamed if len(unnamed) == 1 else [])[-1:]
    return [*found, *failed.values()]
