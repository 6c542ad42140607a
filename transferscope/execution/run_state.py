"""The accounts of a run: what a study's folder lacks, what came in, what failed.

One process holds the folder's lock and the `RunState`. It gives executors what a shard lacks and
gets the results back, from this process or another; only this process writes to the folder.
The files of a shard count all or none, so results that were handed back survive a crash.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transferscope import store as results
from transferscope.engine.bases import external_hash
from transferscope.engine.loss_curve import LossCurve
from transferscope.store import atomic
from transferscope.store.cells import SAME, Store
from transferscope.study.plan import Plan, Run, Shard, TrainingSet

LOG_INTERVAL = 30.0
"""Seconds between two lines of the log that only report progress."""
MAX_LOSSES = 4
"""Workers that may go away over an attempt before it is given up."""

UNCHANGED = (
    f"changes no answer: all log-probabilities and replies equal the base's, within {SAME:g}; "
    "train it more, or leave it out"
)
"""Why an adapter fails whose scores are the base's."""


class Event(NamedTuple):
    """The progress of a run: `cells` of `of` are finished."""

    doing: str
    """What the worker does now; empty when it has nothing to do."""
    cells: int
    of: int
    work: float
    """Done by this process and its workers, in evaluations of an item, of `total`."""
    total: float
    note: str = ""
    """A message that stays on the screen."""
    worker: str = ""
    """Empty where this process works itself."""


class Failure(NamedTuple):
    """Runs that were given up; their cells are missing."""

    runs: tuple[str, ...]
    error: str

    def __str__(self) -> str:
        first, *others = self.runs
        return f"{first}{f' and {len(others)} more' if others else ''}: {self.error}"


class WorkItem(NamedTuple):
    """A run and what the folder lacks of it."""

    run: Run
    hashes: dict[str, Any]
    """`base`, `training`, `gold` and of a snapshot `steps`, as the index has them."""
    cell_keys: dict[str, str]
    """Target to content key, in the plan's order."""
    missing: tuple[str, ...]
    """Targets that must be scored."""
    train: bool
    training_set: TrainingSet | None
    """Where it had to be drawn to compute the keys."""


class Attempt(NamedTuple):
    """A shard, and how much of it is computed at once."""

    shard: Shard
    rows: int | None = None
    """Most rows of an adapter in a forward; None: as the study sets."""
    lost: int = 0
    """Workers that went away over it."""

    def smaller(self, rows: int) -> "list[Attempt]":
        """What needs less memory: half the adapters, then half of `rows`; at the end nothing."""
        model, runs = self.shard
        if len(runs) > 1:
            half = -(-len(runs) // 2)
            return [self._replace(shard=Shard(model, part)) for part in (runs[:half], runs[half:])]
        now = self.rows or rows
        return [self._replace(rows=now // 2)] if now > 1 else []


@dataclass
class RunState:
    """What is known while a study runs."""

    plan: Plan
    store: Store
    on_event: Callable[[Event], None]
    """Receives every change of progress."""
    spent: float = 0.0
    """Work done by this run, in evaluations of an item."""
    failed: list[Failure] = field(default_factory=list)
    hashes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """For each model the hash of its weights, and the node where it was loaded first."""
    _finished: dict[Run, int] = field(default_factory=dict)
    """The number of cells of each finished run."""
    _owed: dict[Run, float] = field(default_factory=dict)
    """Work that each run still needs."""
    _doing: dict[str, tuple[str, float]] = field(default_factory=dict)
    """What each worker does now, and the work of it that is done."""
    _logged: float = field(default_factory=time.monotonic)
    _digests: int = 0
    """How many digests of items the folder has."""

    def __post_init__(self) -> None:
        self._digests = len(self.plan.items.digests)
        self.study, count = self.plan.study, self.plan.eval_count
        self._owed = {run: self.plan.training_work(run) + count for run in self.plan.runs}

    @property
    def cells(self) -> int:
        """Finished ones."""
        return sum(self._finished.values())

    @property
    def adapters(self) -> int:
        """Finished ones."""
        return sum(run.kind in ("source", "external", "mixture") for run in self._finished)

    def attempts(self, model: str) -> list[Attempt]:
        """All shards of a model, the base first."""
        bases = [Shard(run.model, (run,)) for run in self.plan.bases]
        return [Attempt(one) for one in (*bases, *self.plan.shards) if one.model == model]

    def report_progress(
        self, doing: str, part: float = 0.0, note: str = "", worker: str = ""
    ) -> None:
        """Report what a worker does; `part` is its work beyond what is finished."""
        self._doing[worker] = (doing, part)
        if not doing:
            del self._doing[worker]
        self.on_event(Event(doing, *self._progress().values(), note=note, worker=worker))
        if time.monotonic() - self._logged >= LOG_INTERVAL:
            self.log("progress", doing={name: what for name, (what, _) in self._doing.items()})

    def log(self, event: str, **fields: object) -> None:
        """A line in the folder's log, with the progress so far."""
        self._logged = time.monotonic()
        results.log(self.store.folder, event, **fields, **self._progress())

    def _progress(self) -> dict[str, Any]:
        work = self.spent + sum(part for _, part in self._doing.values())
        total = round(self.spent + sum(self._owed.values()), 1)
        return {"cells": self.cells, "of": self.plan.cells, "work": round(work, 1), "total": total}

    def log_work(self, event: str, runs: Sequence[Run], fields: Mapping[str, Any]) -> None:
        results.log(self.store.folder, event, model=runs[0].model, runs=runs, **fields)

    def work_items(self, shard: Shard, worker: str = "") -> list[WorkItem]:
        """What the folder lacks of a shard; work that is done already is owed no more."""
        study, plan, items = self.study, self.plan, []
        base_hash = self.hashes[shard.model][0]
        self.store.leave_other_bases(shard.model, base_hash)
        for run in shard.runs:
            doing = f"{run.model}: preparing the items for {describe([run])}"
            self.report_progress(doing, worker=worker)
            training, cells, drawn = plan.keys(run, base_hash, external_hash(study, run))
            gold = {target: plan.items.gold(target) for target in plan.targets}
            missing, own = self.store.missing(cells), run.adapter
            made_here = own.trained or own.kind == "snapshot"
            train = bool(missing) and made_here and not self.store.has_adapter(own, training)
            self._owed[run] = sum(plan.targets[target] for target in missing)
            self._owed[run] += plan.training_work(run) if train else 0.0
            hashes: dict[str, Any] = {"base": base_hash, "training": training, "gold": gold}
            if run.kind == "snapshot":
                hashes["steps"] = plan.steps_of(run.finished)
            items.append(WorkItem(run, hashes, cells, missing, train, drawn if train else None))
        if plan.items.stable and len(plan.items.digests) > self._digests:
            self._digests = len(plan.items.digests)
            path = self.store.folder / results.DIGESTS
            atomic.write_whole(path, results.as_json(plan.items.digests))
        return items

    def keep_adapters(
        self,
        records: Mapping[Run, dict[str, Any]],
        curves: Mapping[Run, LossCurve],
        write: Callable[[Run, Path], None],
        worker: str = "",
    ) -> set[Run]:
        """Log how a group learned; keep its adapters, all or none.

        A diverged adapter fails alone and has no record, nor have its snapshots, so the next run of
        the study trains it again. `records` and `write` are as for `Store.put_adapters`.

        Returns:
            The finished adapters that diverged.
        """
        for run, curve in curves.items():
            kept = {"key": records[run]["key"]} if run in records else {"failed": curve.failed}
            self.log_work("curve", [run], curve.record() | kept)
            if curve.failed:
                doing, _ = self._doing.get(worker, ("training", 0.0))
                lost = [one for one in self.plan.runs if one.finished == run]
                self._fail(lost, curve.failed, doing, worker, alone=True)
        self.store.put_adapters(records, write)
        for run in records:
            self._spend(run, self.plan.training_work(run))
        if worker in self._doing:  # until the worker reports again, this work would count twice
            doing, part = self._doing[worker]
            part -= sum(map(self.plan.training_work, curves))
            self.report_progress(doing, max(0.0, part), worker=worker)
        return {run for run, curve in curves.items() if curve.failed}

    def finish_shard(
        self,
        shard: Shard,
        items: Sequence[WorkItem],
        fresh: Mapping[Run, Mapping[str, pl.DataFrame]],
        worker: str = "",
    ) -> None:
        """Keep a shard's predictions, all or none; `fresh` are answers to what was missing.

        An adapter that changes no answer fails alone, as one that diverged.
        """
        for run, hashes, keys, *_ in items:
            self.store.put_cells(run, keys, fresh.get(run, {}), hashes)
            self._spend(run, self._owed[run])
            self._finished[run] = len(keys)
        # Of several workers, the one that scores the base may be the last.
        base = Run(shard.model, "base")
        self._fail_unchanged(base, self._finished if base in shard.runs else shard.runs, worker)
        self.store.save()
        self.report_progress(f"{shard.model}: {describe(shard.runs)} finished", worker=worker)
        self.log("finished", model=shard.model, runs=shard.runs, worker=worker)

    def _fail_unchanged(self, base: Run, runs: Iterable[Run], worker: str) -> None:
        """Give up finished adapters that answer as their base does, if it is scored.

        Their snapshots and strengths, which may be as weak as they like, go with them. The tables
        stay in the folder, so that the next run of the study need not score them again.
        """
        if base not in self._finished:
            return
        finished = [run for run in runs if run in self._finished and run.model == base.model]
        for run in [one for one in finished if one.trained or one.kind == "external"]:
            if self.store.same_answers(run, base):
                lost = [one for one in self.plan.runs if one.finished == run]
                for one in lost:
                    self._finished.pop(one, None)
                    self.store.runs.pop(one, None)
                self._fail(lost, UNCHANGED, "scoring", worker, alone=True)

    def _spend(self, run: Run, work: float) -> None:
        self.spent += work
        self._owed[run] = max(0.0, self._owed[run] - work)

    def retry(
        self, attempt: Attempt, error: BaseException, worker: str = "", *, worker_lost: bool = False
    ) -> list[Attempt]:
        """What to try in place of an attempt that failed; empty where it is given up.

        An attempt that ran out of memory is tried with less at once. One whose worker went away is
        tried again as it is, as the worker may have been killed for another reason; where
        another worker goes away, memory may have run out without an error: then with less.
        """
        (model, runs), lost = attempt.shard, attempt.lost + worker_lost
        smaller = attempt.smaller(self.study.evaluation.batch_size)
        if worker_lost and lost >= MAX_LOSSES:
            why = f"{lost} workers went away over it, the last: {first_line(error)}"
            error, again = RuntimeError(why), []
        elif worker_lost:
            again = (smaller if attempt.lost else []) or [attempt]
        else:
            again = smaller if out_of_memory(error) else []
        line = first_line(error)
        if not again:
            trace = "".join(traceback.format_exception(error))
            self._fail(runs, line, "failed", worker, traceback=trace)
            return []
        how = "once more"
        if len(again) > 1:
            how += f", {len(again[0].shard.runs)} at a time"
        elif again[0].rows != attempt.rows:
            how += f", {again[0].rows} rows at a time"
        event, what = "again", "out of memory"
        if worker_lost:
            event, what = "lost", "the worker went away"
        self.log(event, runs=runs, error=line, how=how, worker=worker)
        note = f"{model}: {describe(runs)}: {what}; {how}"
        self.report_progress(what, note=note, worker=worker)
        return [one._replace(lost=lost) for one in again]

    def _fail(
        self, runs: Sequence[Run], error: str, doing: str, worker: str, **fields: object
    ) -> None:
        self._owed |= dict.fromkeys(runs, 0.0)
        self.failed.append(Failure(tuple(map(str, runs)), error))
        self.log("failed", runs=runs, error=error, worker=worker, **fields)
        self.report_progress(doing, note=f"failed: {self.failed[-1]}", worker=worker)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of a GPU or of the machine."""
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, known without torch
    return isinstance(error, MemoryError) or named or "can't allocate memory" in str(error)


def first_line(error: BaseException) -> str:
    """An error's message as one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def describe(runs: Sequence[Run]) -> str:
    """Runs in a few words."""
    if runs[0].kind in ("base", "rerun"):
        return "the base" + ("" if runs[0].kind == "base" else " in another order")
    seeds = list(dict.fromkeys(run.seed for run in runs))
    one = runs[0].source if len(runs) == 1 else f"{len(runs)} adapters"
    return f"{one}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
