"""Where a bundle's numbers are from: versions, hashes, prompt, machine time.

In:   a results folder and the records of its tables.
Out:  plain data, as far as the folder says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transferscope import store as results
from transferscope.analysis import Analysis
from transferscope.store.progress import measured
from transferscope.tasks.choices import DIRECT

FORMAT = 1
"""Of the bundle; raised when a reader of an older one would be misled."""


def provenance(
    folder: Path,
    study: Mapping[str, Any],
    analysis: Analysis | None,
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Where the numbers are from; `docs/bundle.md` says what each field is.

    Args:
        study: the values of its file; empty where there is none.
        records: those that stand beside the tables.
    """
    asked = study.get("evaluation")
    style = asked.get("prompt") if isinstance(asked, dict) else None
    analysed = None
    if analysis is not None:
        inputs = [asdict(one) for one in analysis.inputs]
        analysed = {"version": analysis.version, "inputs": inputs}
    return {
        "bundle": FORMAT,
        "written_by": f"transferscope {version('transferscope')}",
        "study": study.get("name"),
        "versions": _several(_of(record, "versions") for record in records),
        "bases": _several({_of(one, "run").get("model"): one.get("base")} for one in records),
        "right_answers": _several(_of(record, "gold") for record in records),
        "prompt": {"style": style, "added": DIRECT if style == "direct" else ""},
        "adapters": [found for one in records if (found := _adapter(folder, _of(one, "run")))],
        "took": measured(folder),
        "analysis": analysed,
    }


def _of(record: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = record.get(field)
    return value if isinstance(value, dict) else {}


def _several(parts: Any) -> dict[str, list[str]]:
    """Each name with the values that the parts give it, mostly one."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for name, value in part.items():
            own = found.setdefault(str(name), [])
            own += [str(value)] if str(value) not in own else []
    return found


def _adapter(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run's adapter; empty where the folder has none."""
    model, source, seed = (run.get(name) for name in ("model", "source", "seed"))
    if not (isinstance(model, str) and isinstance(source, str) and isinstance(seed, int)):
        return {}
    return results.read_json(results.record_of(folder / results.adapter_path(model, source, seed)))
