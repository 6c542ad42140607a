"""Carry out what a plan still lacks: train fleets, score them, keep what is finished.

Adapters are kept as soon as they are trained, all or none of those that were trained together, and
a shard's predictions when it is scored, all or none. A killed process loses what is in progress,
and a resumed one trains the same adapters together, so that the results do not differ. A cell whose
key is in the folder, in any file, is not computed again. An executor does the work.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from transferscope import store as results
from transferscope.engine import check_installed, load_engine
from transferscope.engine.bases import check_models, external_hash
from transferscope.execution import Executor, local
from transferscope.execution.run_state import Event, Failure, RunState, first_line
from transferscope.store import atomic
from transferscope.store.cells import Store, adapter_folder, claim, open_store, read_store, versions
from transferscope.study import Study
from transferscope.study.file import resolved
from transferscope.study.items import StudyItems
from transferscope.study.plan import Plan, Run, plan_study


class Outcome(NamedTuple):
    """Counts of finished and failed cells."""

    cells: int
    of: int
    adapters: int
    """Finished ones; without any there is nothing to analyze."""
    failed: tuple[Failure, ...]
    """The shards that failed, whose cells are missing."""


def run_study(
    study: Study,
    out: str | Path,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    executor: Executor | None = None,
) -> Outcome:
    """Do everything in the study that the folder does not have yet.

    `on_event` receives progress; `executor` does the work, by default `local`.

    Raises:
        StudyError: a task or model does not exist, or the folder belongs to another study or is in
            use.
        DataError: a file cannot be read or written.
        MissingExtra: torch, transformers or peft is not installed.
    """
    check_models(study)
    if executor is None:
        check_installed()  # before the folder is made
    with atomic.locked(out) as folder:
        items = StudyItems(study, results.read_json(folder / results.DIGESTS))
        plan = plan_study(study, items)
        claim(folder, study.name, resolved(study))
        notes: list[str] = []
        store = open_store(folder, list(study.models), set(plan.runs), notes.append)
        store.notes = items.notes
        _leave_outdated(plan, store)
        _refuse_overlap(plan, store)
        state = RunState(plan, store, on_event)
        for note in [*notes, *items.notes, *plan.notes]:
            state.report_progress("reading the folder", note=note)
        state.log("begin", study=study.name, versions=versions())
        if items.notes:
            results.log(folder, "notes", notes=items.notes)
        try:
            executor(state) if executor else local.carry_out(state, load_engine)
        except BaseException as error:
            state.log("stopped", error=first_line(error))
            raise
        state.report_progress("done")
        state.log("end", failed=len(state.failed))
    return Outcome(state.cells, plan.cells, state.adapters, tuple(state.failed))


class RemainingWork(NamedTuple):
    """What a folder has of a study, and how much remains."""

    cells: int
    """Finished ones."""
    shares: dict[str, float]
    """The share of each model's work that remains."""


def remaining_work(plan: Plan, out: str | Path) -> RemainingWork:
    """How far a study is, if its bases are unchanged; loads no base and checks no file."""
    study, items = plan.study, plan.items
    items.digests |= results.read_json(Path(out, results.DIGESTS)) if items.stable else {}
    store = read_store(Path(out), list(study.models))
    cells, owed, whole = 0, dict.fromkeys(study.models, 0.0), dict.fromkeys(study.models, 0.0)
    for run in plan.runs:
        targets, trained = _finished(plan, store, run)
        cells += len(targets)
        training = plan.training_work(run)
        whole[run.model] += training + plan.eval_count
        missing = sum(count for name, count in plan.targets.items() if name not in targets)
        owed[run.model] += missing + (training if missing and not trained else 0.0)
    return RemainingWork(cells, {name: owed[name] / whole[name] for name in owed})


def _finished(plan: Plan, store: Store, run: Run) -> tuple[list[str], bool]:
    """A run's finished targets, if the base is unchanged; whether the folder has its adapter."""
    record, of_base = (store.runs.get(one) for one in (run, Run(run.model, "base")))
    adapter = results.read_json(store.folder / adapter_folder(run) / results.RUN)
    known = record or (of_base if adapter else None)
    if not known:
        return [], False
    training, cells, _ = plan.keys(run, known["base"], external_hash(plan.study, run))
    have = store.keys(run)
    finished = [target for target, key in cells.items() if have.get(target) == key]
    return finished, run.trained and adapter.get("key") == training


def _leave_outdated(plan: Plan, store: Store) -> None:
    """Keep cells of an earlier study file, or of items that changed, out of results: only those
    leave that are computed anew, which may fail or be stopped."""
    for run, record in store.runs.items():
        training, keys, _ = plan.keys(run, record["base"], external_hash(plan.study, run))
        current = {target for target, key in store.keys(run).items() if keys.get(target) == key}
        record["training"] = training
        record["cells"] = {name: file for name, file in record["cells"].items() if name in current}
        record["gold"] = {name: gold for name, gold in record["gold"].items() if name in current}
    store.save()


def _refuse_overlap(plan: Plan, store: Store) -> None:
    """Refuse to train on evaluation items, before the first base is loaded."""
    if plan.items.stable:
        return
    checked = set()
    for run in plan.runs:
        if not run.trained or (run.source, run.seed) in checked:
            continue
        if len(_finished(plan, store, run)[0]) < len(plan.targets):
            plan.items.refuse_overlap(plan.training_items(run))
            checked.add((run.source, run.seed))
