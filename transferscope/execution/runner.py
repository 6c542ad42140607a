"""Carry out what a plan still lacks: train fleets, score them, keep what is finished.

A shard is trained, its adapters are kept; it is scored, its predictions are kept: each time all of
the shard's files or none. So a process that is killed loses at most the fleets at hand, and goes on
with the same fleets, so that nothing differs in the end. A cell whose key is in the folder already,
whatever file it is in, is not done again.

In:   a `Study` and its results folder.
Out:  adapters, prediction tables and a log in that folder; events on the way.

The work itself is an executor's. Draws no chart and prints nothing.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from transferscope import store as results
from transferscope.engine import load_lab
from transferscope.engine.bases import brought_hash, check_places
from transferscope.execution import local
from transferscope.execution.run_state import Event, Failure, Ledger, first_line
from transferscope.store import atomic
from transferscope.store.cells import adapter_folder, claim, open_store, path_of, versions
from transferscope.study import Study
from transferscope.study.items import StudyItems
from transferscope.study.plan import Plan, Run, plan_study


class Outcome(NamedTuple):
    """What came of it."""

    cells: int
    of: int
    adapters: int
    """Finished ones: without any there is nothing to analyse."""
    failed: tuple[Failure, ...]
    """The shards that failed; their cells are missing."""


def run_study(
    study: Study,
    out: str | Path,
    *,
    tell: Callable[[Event], None],
    executor: Callable[[Ledger], None] | None = None,
) -> Outcome:
    """Everything that the study asks for and the folder does not have yet.

    Args:
        executor: who does the work; None for this process.

    Raises:
        StudyError: something in the study cannot be found, or the folder is another study's or in
            use.
        DataError: a file cannot be read or written.
        MissingExtra: what trains is not installed.
    """
    check_places(study)
    executor = executor or partial(local.carry_out, lab=load_lab())
    with atomic.locked(out) as folder:
        items = StudyItems(study, results.read_json(folder / results.DIGESTS))
        plan = plan_study(study, items)
        claim(study, folder)
        notes: list[str] = []
        _refuse_overlap(plan, folder)
        store = open_store(folder, {path_of(study, run) for run in plan.runs}, notes.append)
        store.notes = items.notes
        ledger = Ledger(plan, store, tell)
        for note in [*notes, *items.notes, *plan.notes]:
            ledger.say("looking at what there is", note=note)
        ledger.log("begin", study=study.name, versions=versions())
        if items.notes:
            results.log(folder, "notes", notes=items.notes)
        try:
            executor(ledger)
        except BaseException as error:
            ledger.log("stopped", error=first_line(error))
            raise
        ledger.say("done")
        ledger.log("end", failed=len(ledger.failed))
    return Outcome(ledger.cells, plan.cells, ledger.adapters, tuple(ledger.failed))


class Standing(NamedTuple):
    """What a folder has of a study, and what is left to do."""

    cells: int
    """Finished ones."""
    left: dict[str, float]
    """Of each model's work, the share that is still to do."""


def standing(plan: Plan, out: str | Path) -> Standing:
    """How far a folder's study is, if the bases are still the same; loads none, checks no file."""
    study, items = plan.study, plan.items
    items.digests |= results.read_json(Path(out, results.DIGESTS)) if items.stable else {}
    cells, owed, whole = 0, dict.fromkeys(study.models, 0.0), dict.fromkeys(study.models, 0.0)
    for run in plan.runs:
        done = _finished(plan, Path(out), run)
        cells += len(done.targets)
        learning = plan.training_work(run)
        whole[run.model] += learning + plan.eval_count
        asked = sum(count for name, count in plan.targets.items() if name not in done.targets)
        owed[run.model] += asked + (learning if asked and not done.trained else 0.0)
    return Standing(cells, {name: owed[name] / whole[name] for name in owed})


class _Finished(NamedTuple):
    """What a folder has of a run."""

    targets: tuple[str, ...]
    trained: bool
    """Whether its adapter lies there."""


def _finished(plan: Plan, folder: Path, run: Run) -> _Finished:
    """What the folder has of a run, if its base is still the same."""
    study = plan.study
    record = results.read_json(results.record_of(folder / path_of(study, run)))
    adapter = results.read_json(results.record_of(folder / adapter_folder(run)))
    if not record and not adapter:
        return _Finished((), trained=False)
    of_base = results.record_of(folder / path_of(study, Run(run.model, "base")))
    base = record.get("base") or results.read_json(of_base).get("base")
    if not base:
        return _Finished((), trained=False)
    training, cells, _ = plan.keys(run, str(base), brought_hash(study, run))
    have = record.get("cells", {})
    return _Finished(
        tuple(target for target, key in cells.items() if have.get(target) == key),
        trained=run.trained and adapter.get("key") == training,
    )


def _refuse_overlap(plan: Plan, folder: Path) -> None:
    """Refuse to train on what is evaluated, before the first base is loaded."""
    if plan.items.stable:
        return
    checked = set()
    for run in plan.runs:
        if not run.trained or (run.source, run.seed) in checked:
            continue
        if len(_finished(plan, folder, run).targets) < len(plan.targets):
            plan.items.refuse_overlap(plan.training_items(run))
            checked.add((run.source, run.seed))
