"""The accounts of a run: what a study's folder lacks, what comes in, what failed.

One process holds the folder's lock and keeps the state. Executors ask it what a shard lacks, have
that computed wherever they like, and hand it back; whoever computed it never writes here. All of a
shard's files are put in place or none, so what was handed back is finished whatever dies next.

In:   a locked results folder, a plan, and what executors hand back.
Out:  files in the folder, lines in its log, events for who watches.

Computes nothing and knows no torch.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transferscope import store as results
from transferscope.engine.bases import external_hash
from transferscope.store import atomic
from transferscope.store.cells import Store, Wanted, adapter_folder, has_adapter, keep, path_of
from transferscope.study import Study
from transferscope.study.plan import Plan, Run, Shard, TrainingSet

EVERY = 30.0
"""Seconds between two lines of the log that say nothing but how far the work is."""

LOSSES = 4
"""Workers that may go away over an attempt before it is given up."""


class Event(NamedTuple):
    """Where a run of a study stands."""

    doing: str
    """What the worker does now; empty once it does nothing more."""
    cells: int
    """Finished ones."""
    of: int
    work: float
    """Spent by this process and its workers, in evaluations of an item."""
    total: float
    """To be spent by them."""
    note: str = ""
    """Something to be kept on the screen."""
    worker: str = ""
    """Who does it; empty where there is one."""


class Failure(NamedTuple):
    """A shard that was given up; its cells are missing."""

    runs: tuple[str, ...]
    error: str

    def __str__(self) -> str:
        first, *others = self.runs
        return f"{first}{f' and {len(others)} more' if others else ''}: {self.error}"


class WorkItem(NamedTuple):
    """A run and what it lacks."""

    wanted: Wanted
    missing: tuple[str, ...]
    """Targets without an answer."""
    train: bool
    """Whether its adapter is lacking too."""
    training_set: TrainingSet | None
    """What it learns from, where that had to be made to know its keys."""

    @property
    def run(self) -> Run:
        return self.wanted.run


class Attempt(NamedTuple):
    """A shard, and how much of it at once."""

    shard: Shard
    rows: int | None = None
    """Most rows of an adapter in a forward; None: as the study says."""
    lost: int = 0
    """Workers that went away over it."""

    def smaller(self, rows: int) -> "list[Attempt]":
        """What needs less memory: half the fleet each time, then half the rows; [] at the end.

        Args:
            rows: of a forward where nothing is said.
        """
        model, runs = self.shard
        if len(runs) > 1:
            half = -(-len(runs) // 2)
            return [self._replace(shard=Shard(model, its)) for its in (runs[:half], runs[half:])]
        now = self.rows or rows
        return [self._replace(rows=now // 2)] if now > 1 else []


@dataclass
class RunState:
    """What is known while a study runs."""

    plan: Plan
    store: Store
    tell: Callable[[Event], None]
    spent: float = 0.0
    """Work done by this run, in evaluations of an item."""
    cells: int = 0
    adapters: int = 0
    failed: list[Failure] = field(default_factory=list)
    _owed: dict[Run, float] = field(default_factory=dict)
    """Work that each run still asks for."""
    _doing: dict[str, tuple[str, float]] = field(default_factory=dict)
    """What each worker does now, and how much of it is done."""
    _logged: float = 0.0

    @property
    def study(self) -> Study:
        """The plan's study."""
        return self.plan.study

    def __post_init__(self) -> None:
        plan = self.plan
        self._owed = {run: plan.training_work(run) + plan.eval_count for run in plan.runs}
        self._logged = time.monotonic()

    def attempts(self, model: str) -> list[Attempt]:
        """All shards of a model, the base first."""
        bases = [Shard(model, (run,)) for run in self.plan.bases if run.model == model]
        return [Attempt(one) for one in (*bases, *self.plan.shards) if one.model == model]

    def report_progress(
        self, doing: str, part: float = 0.0, note: str = "", worker: str = ""
    ) -> None:
        """Tell where it stands, `part` of a worker's work done beyond what is finished."""
        self._doing[worker] = (doing, part)
        if not doing:
            del self._doing[worker]
        now = self._standing()
        self.tell(Event(doing, *now.values(), note=note, worker=worker))
        if time.monotonic() - self._logged >= EVERY:
            self.log("progress", doing={name: what for name, (what, _) in self._doing.items()})

    def log(self, event: str, **what: object) -> None:
        """A line in the folder's log, with how far the work is."""
        self._logged = time.monotonic()
        results.log(self.store.folder, event, **what, **self._standing())

    def _standing(self) -> dict[str, Any]:
        spent = self.spent + sum(part for _, part in self._doing.values())
        total = self.spent + sum(self._owed.values())
        of = self.plan.cells
        return {"cells": self.cells, "of": of, "work": round(spent, 1), "total": round(total, 1)}

    def start_shard(self, attempt: Attempt, worker: str = "", node: str = "") -> None:
        """Note that a shard is begun, and where."""
        where = {"worker": worker, "node": node}
        self.log("start", model=attempt.shard.model, runs=_names(attempt.shard), **where)

    def work_items(self, base: str, shard: Shard, worker: str = "") -> list[WorkItem]:
        """What a shard lacks; work that need not be done is owed no more.

        Args:
            base: hash of the base's weights.
        """
        items = self.plan.items
        known = len(items.digests)
        todo = [self._examine(base, run, worker) for run in shard.runs]
        if items.stable and len(items.digests) > known:
            path = self.store.folder / results.DIGESTS
            atomic.write_whole(path, results.as_json(items.digests))
        return todo

    def _examine(self, base: str, run: Run, worker: str) -> WorkItem:
        study, plan = self.study, self.plan
        self.report_progress(
            f"{run.model}: looking at the items for {describe([run])}", worker=worker
        )
        training, cells, made = plan.keys(run, base, external_hash(study, run))
        gold = {target: plan.items.gold(target) for target in plan.targets}
        wanted = Wanted(run, path_of(study, run), base, training, cells, gold)
        missing = self.store.missing(wanted)
        train = bool(missing) and not has_adapter(self.store, wanted)
        learning = plan.training_work(run) if train else 0.0
        self._owed[run] = learning + sum(plan.targets[name] for name in missing)
        return WorkItem(wanted, missing, train, made if train else None)

    def drop_diverged(
        self, todo: Sequence[WorkItem], curves: Sequence[Any], worker: str = ""
    ) -> list[int]:
        """Log how adapters learned; fail each that diverged, alone.

        What failed is never kept, so that the next run of the study tries it again.

        Returns:
            The places in `todo` of those that did not fail.
        """
        fine = []
        for place, (one, curve) in enumerate(zip(todo, curves, strict=True)):
            self.log_work("curve", [one.run], curve.record())
            if not curve.failed:
                fine.append(place)
                continue
            self._owed[one.run] = 0.0
            self.failed.append(Failure((str(one.run),), curve.failed))
            about = {"runs": [str(one.run)], "error": curve.failed, "worker": worker}
            self.log("failed", **about, alone=True)
            doing, _ = self._doing.get(worker, ("training", 0.0))
            self.report_progress(doing, note=f"failed: {self.failed[-1]}", worker=worker)
        return fine

    def keep_adapters(
        self,
        todo: Sequence[WorkItem],
        records: Sequence[dict[str, Any]],
        write: Callable[[int, Path], None],
    ) -> None:
        """Put trained adapters in place, all or none.

        Args:
            records: how each was made.
            write: writes the files of one of them, by its place in `todo`, into a new folder.
        """
        with atomic.staged(self.store.folder) as stage:
            for index, (one, record) in enumerate(zip(todo, records, strict=True)):
                folder = stage / adapter_folder(one.run)
                folder.parent.mkdir(parents=True, exist_ok=True)
                write(index, folder)
                whole = record | {"files": results.checksums(folder)}
                results.record_of(folder).write_bytes(results.as_json(whole))
        for one in todo:
            self._spend(one.run, self.plan.training_work(one.run))

    def keep_predictions(
        self, todo: Sequence[WorkItem], fresh: Mapping[Run, Mapping[str, pl.DataFrame]]
    ) -> None:
        """Put a shard's tables in place, all or none.

        Args:
            fresh: each run's answers to the targets that were missing.
        """
        keep(self.store, [one.wanted for one in todo], fresh)
        for one in todo:
            self._spend(one.run, self._owed[one.run])
        self.cells += sum(len(one.wanted.cells) for one in todo)
        self.adapters += sum(one.run.kind in ("source", "external", "mixture") for one in todo)

    def finish_shard(self, shard: Shard, worker: str = "") -> None:
        """Note that a shard is finished."""
        self.report_progress(f"{shard.model}: {describe(shard.runs)} finished", worker=worker)
        self.log("finished", model=shard.model, runs=_names(shard), worker=worker)

    def log_work(self, event: str, runs: Sequence[Run], fields: Mapping[str, Any]) -> None:
        """Note what some work took."""
        names = [str(run) for run in runs]
        results.log(self.store.folder, event, model=runs[0].model, runs=names, **fields)

    def retry(self, attempt: Attempt, error: BaseException, worker: str = "") -> list[Attempt]:
        """What to try in place of an attempt that failed; where it is nothing, that is noted.

        Only what ran out of memory is worth another try, with less at once.
        """
        again = attempt.smaller(self.study.evaluation.batch_size) if out_of_memory(error) else []
        if not again:
            self.give_up(attempt, error, worker)
            return []
        self._try_again("again", "out of memory", attempt, again, error, worker)
        return again

    def worker_lost(self, attempt: Attempt, error: BaseException, worker: str) -> list[Attempt]:
        """What to try after a worker went away over an attempt; nothing when too many did.

        The first may have been killed for a reason of its own. Where another follows, memory may
        have run out without a word: then it is tried with less at once.
        """
        lost = attempt.lost + 1
        if lost >= LOSSES:
            why = f"{lost} workers went away over it, the last: {first_line(error)}"
            self.give_up(attempt, RuntimeError(why), worker)
            return []
        less = attempt.smaller(self.study.evaluation.batch_size) if attempt.lost else []
        again = [one._replace(lost=lost) for one in less or [attempt]]
        self._try_again("lost", "its worker went away", attempt, again, error, worker)
        return again

    def _try_again(
        self,
        event: str,
        what: str,
        attempt: Attempt,
        again: Sequence[Attempt],
        error: BaseException,
        worker: str,
    ) -> None:
        """Note what is tried in place of an attempt."""
        first = again[0]
        how = "once more"
        if len(again) > 1:
            how += f", {len(first.shard.runs)} at a time"
        elif first.rows != attempt.rows:
            how += f", {first.rows} rows at a time"
        self.log(event, runs=_names(attempt.shard), error=first_line(error), how=how, worker=worker)
        model, runs = attempt.shard
        self.report_progress(what, note=f"{model}: {describe(runs)}: {what}; {how}", worker=worker)

    def give_up(self, attempt: Attempt, error: BaseException, worker: str = "") -> None:
        """Note that a shard failed for good; the others go on."""
        names, line = _names(attempt.shard), first_line(error)
        for run in attempt.shard.runs:
            self._owed[run] = 0.0
        trace = "".join(traceback.format_exception(error))
        self.failed.append(Failure(tuple(names), line))
        self.log("failed", runs=names, error=line, worker=worker, traceback=trace)
        self.report_progress("failed", note=f"failed: {self.failed[-1]}", worker=worker)

    def _spend(self, run: Run, work: float) -> None:
        self.spent += work
        self._owed[run] = max(0.0, self._owed[run] - work)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the machine."""
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


def _names(shard: Shard) -> list[str]:
    return [str(run) for run in shard.runs]
