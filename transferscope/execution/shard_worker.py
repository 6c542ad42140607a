"""Works on shards: one base, kept between shards, and the items of a study.

A `ShardWorker` trains and scores the runs it is given. It lives in this process (`local`) or in a
worker of a cluster (`ray`). It reads models and items, never the results folder, and writes only
vision features that do not fit in memory. `shard_steps` is the order of work on a shard, in the
process that has the results folder, wherever the worker is.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import polars as pl

from transferscope.engine import Engine, bases
from transferscope.engine.loss_curve import LossCurve
from transferscope.engine.records import TrainingJob
from transferscope.errors import DataError
from transferscope.execution.run_state import Attempt, RunState, WorkItem, describe
from transferscope.store.cells import adapter_folder, as_table, versions
from transferscope.study.plan import Plan, Run, derived_seed
from transferscope.tasks import Item, choices

if TYPE_CHECKING:
    from transferscope.engine.adapter import Adapter
    from transferscope.engine.base_model import Base

Report = Callable[[str, float], None]
"""Receives what a worker does, and how much of it is done, in evaluations of an item."""
Steps = Generator[Any, Any, None]
"""Work on a shard: yields a worker's pending result, and is sent the result."""


class TrainedGroup(NamedTuple):
    """Runs that were trained together; the adapters stay with the worker."""

    records: dict[Run, dict[str, Any]]
    """How each adapter and snapshot was made that did not diverge."""
    curves: dict[Run, LossCurve]
    """Of each finished adapter."""


class ScoredFleet(NamedTuple):
    """A fleet's predictions."""

    tables: dict[Run, dict[str, pl.DataFrame]]
    """For each run, a table for each missing target."""
    work: list[tuple[list[Run], dict[str, Any]]]
    """Time and work, as the log has it, of runs that were scored together."""


class ShardWorker:
    """Trains and scores runs over one base at a time.

    `load` makes the engine, on the first call that needs it; vision features may be kept in the
    folder `features`.
    """

    name = node = ""
    """Set if there are several workers."""

    def __init__(
        self, plan: Plan, load: Callable[[], Engine], features: Path, report: Report
    ) -> None:
        self.study, self.plan, self._load = plan.study, plan, load
        self._features, self._report = features, report
        self._model = self._layers = ""
        self._base: Base | None = None
        self._adapters: dict[Run, Adapter] = {}
        """Those trained last, until they are scored."""
        self._training: Generator[TrainedGroup, None, dict[str, Any]] | None = None

    @cached_property
    def engine(self) -> Engine:
        return self._load()

    def check(self) -> None:
        """Refuse damaged or foreign external adapters and models."""
        bases.check_external(self.study, self.engine, self._features)

    def open(self, model: str) -> str:
        """Load a base unless it is loaded; the hash of its weights, or a `StudyError` by recipe."""
        if model != self._model:
            self._base, self._model = None, ""  # free the memory before the next base is loaded
            self._report(f"{model}: loading", 0.0)
            self._base = bases.load_study_base(self.study, self.engine, model, self._features)
            if any(run.trained and run.model == model for run in self.plan.runs):
                recipe = self.study.recipe_of(model)
                self._layers = self.engine.check_training(self._base, recipe)
            self._model = model
        return self.base.weights_hash

    @property
    def base(self) -> "Base":
        """The base that was opened last."""
        assert self._base is not None
        return self._base

    def train(self, todo: Sequence[WorkItem], rows: int | None = None) -> None:
        """Begin to train runs, whose adapters are kept for `score` and `save_adapter`.

        `rows` is the largest microbatch of an adapter, by default what fits in memory.
        """
        self._adapters, self._training = {}, self._train(todo, rows)

    def next_trained(self) -> TrainedGroup | dict[str, Any]:
        """Train the next adapters; at the end time and work, as the log has it."""
        assert self._training is not None
        try:
            return next(self._training)
        except StopIteration as end:
            return end.value

    def _train(
        self, todo: Sequence[WorkItem], rows: int | None
    ) -> Generator[TrainedGroup, None, dict[str, Any]]:
        wanted = {one.run.adapter: one for one in todo}
        jobs, records, runs = [], {}, list(dict.fromkeys(own.finished for own in wanted))
        recipe = self.study.recipe_of(runs[0].model)
        for run in runs:
            source, seed = run.source or "", run.seed or 0
            states = {own: one for own, one in wanted.items() if own.finished == run}
            drawn = next((one.training_set for one in states.values() if one.training_set), None)
            items, answers, digest = drawn or self.plan.training_set(run)
            purposes = ("init", "order", "dropout")
            seeds = {f"{name}_seed": derived_seed(seed, name, source) for name in purposes}
            jobs.append(TrainingJob(source, seed, items, answers=answers, **seeds))
            for own, one in states.items():
                key = {"key": one.hashes["training"], "run": asdict(own), "items": digest}
                made_by = {"versions": versions(), "recipe": asdict(recipe)}
                records[own] = key | seeds | made_by
        amount, kept = sum(map(self.plan.training_work, runs)), 0.0
        doing, watch = f"{runs[0].model}: training {describe(runs)}", Stopwatch(self.base)
        self._report(doing, 0.0)
        groups = self.engine.train_fleet(
            self.base,
            jobs,
            recipe,
            rows=rows,
            progress=lambda n, of: self._report(doing, max(0.0, amount * n / max(of, 1) - kept)),
            snapshots={own.step for own in wanted if own.step is not None},
        )
        for group in groups:
            finished = {runs[index]: adapter for index, adapter in group.items()}
            made = {
                own: adapter if own.step is None else adapter.snapshots[own.step]
                for run, adapter in finished.items()
                for own in wanted
                if own.finished == run and not adapter.curve.failed
            }
            self._adapters |= made
            kept += sum(map(self.plan.training_work, finished))
            curves = {run: adapter.curve for run, adapter in finished.items()}
            yield TrainedGroup({run: records[run] for run in made}, curves)
        passes = sum(recipe.passes_for(len(job.items)) for job in jobs)
        return watch.fields(passes) | {"layers": self._layers}

    def save_adapter(self, run: Run, folder: Path) -> None:
        """Write an adapter that was trained last."""
        self.engine.save_adapter(self._adapters[run], folder)

    def score(
        self, todo: Sequence[WorkItem], folders: Mapping[Run, Path], rows: int | None = None
    ) -> ScoredFleet:
        """Score runs on the targets that they lack, with at most so many rows in a forward.

        `folders` have the adapters that were not trained last.
        """
        trained, self._adapters = self._adapters, {}
        scored, done = ScoredFleet({}, []), 0.0
        # A checkpoint is another base; all other runs share the loaded base.
        together = [one for one in todo if not bases.is_checkpoint(self.study, one.run)]
        alone = [[one] for one in todo if bases.is_checkpoint(self.study, one.run)]
        for part in [together, *alone] if together else alone:
            base, adapters = self.base, []
            try:
                if part is not together:
                    folder = bases.external_folder(self.study, part[0].run)
                    base = self.engine.load_checkpoint(base, folder)
                for run in (one.run for one in part):
                    adapter, own = None, run.adapter
                    if own in trained:
                        adapter = trained[own]
                    elif run.kind not in ("base", "rerun") and part is together:
                        folder = folders.get(own) or bases.external_folder(self.study, run)
                        adapter = self.engine.load_adapter(base, folder)
                    if adapter is not None and run.kind == "strength":
                        adapter = self.engine.scaled(adapter, run.strength)
                    adapters.append(adapter)
            except DataError as error:  # it fails the runs that need it, while others continue
                raise RuntimeError(str(error)) from error
            tables, work = self._scored(base, part, adapters, rows, done)
            scored.tables.update(tables)
            scored.work.append(([one.run for one in part], work))
            done += self._amount(part)
        return scored

    def _scored(
        self,
        base: "Base",
        todo: Sequence[WorkItem],
        adapters: "Sequence[Adapter | None]",
        rows: int | None,
        done: float,
    ) -> tuple[dict[Run, dict[str, pl.DataFrame]], dict[str, Any]]:
        """The tables of runs over one base, and the work; `done` was scored before."""
        runs, how = [one.run for one in todo], self.study.evaluation
        wanted = {name for one in todo for name in one.missing}
        names = [name for name in self.plan.targets if name in wanted]
        items = [item for name in names for item in self.plan.items.eval_items(name)]
        fixed = choices.fixed_choices(items)
        orders = [self._orders(runs[0], item, fixed=item.task in fixed) for item in items]
        pairs = zip(items, orders, strict=True)
        variants = [choices.reordered(item, order) for item, own in pairs for order in own]
        amount = self._amount(todo)
        doing, watch = f"{runs[0].model}: scoring {describe(runs)}", Stopwatch(base)
        self._report(doing, done)
        found = self.engine.score_fleet(
            base,
            adapters,
            variants,
            scoring=how.scoring,
            reply_tokens=how.reply_tokens,
            batch_size=min(how.batch_size, rows or how.batch_size),
            progress=lambda n, of: self._report(doing, done + amount * n / max(of, 1)),
        )
        work = watch.fields(len(runs) * len(variants))
        tables: dict[Run, dict[str, pl.DataFrame]] = {}
        for one, own in zip(todo, found, strict=True):
            predictions, by_reply = iter(own), how.scoring == "generate"
            answers = [
                choices.combine_orders([next(predictions) for _ in turns], turns, by_reply=by_reply)
                for turns in orders
            ]
            frame = as_table(one.run, items, answers)
            tables[one.run] = {name: frame.filter(pl.col("target") == name) for name in one.missing}
        return tables, work

    def _amount(self, todo: Sequence[WorkItem]) -> int:
        """Number of missing answers."""
        return sum(self.plan.targets[name] for one in todo for name in one.missing)

    def _orders(self, run: Run, item: Item, *, fixed: bool) -> list[tuple[int, ...]]:
        """The orders of its options in which an item is scored."""
        first = tuple(range(len(item.choices)))
        if fixed:
            return [first]
        if run.kind == "rerun":
            first = choices.derangement(item, run.seed or 0)
        if self.study.evaluation.choice_order == "given":
            return [first]
        return [tuple(first[place] for place in turned) for turned in choices.rotations(item)]


class Stopwatch:
    """Measures a fleet's training or scoring from its creation on, for the log."""

    def __init__(self, base: "Base") -> None:
        self._peak = None
        if hasattr(base, "model"):  # a simulated base has only seconds
            from transferscope.engine.devices import peak_memory_from_here

            self._peak = peak_memory_from_here(base.model)
        self._begun = time.perf_counter()

    def fields(self, items: int) -> dict[str, Any]:
        """The log's fields after so many items, counted once for each adapter and pass."""
        seconds = time.perf_counter() - self._begun
        rate = round(items / seconds, 2) if seconds else None
        fields = {"items": items, "seconds": round(seconds, 3), "items_per_second": rate}
        return fields | ({"peak_memory_bytes": self._peak()} if self._peak else {})


class WorkerHandle(Protocol):
    """A worker as the head sees it: a `ShardWorker`, or what stands for one elsewhere.

    All methods but `save_adapter` may return a reference that the executor resolves.
    """

    name: str
    """Empty if there is only this process."""
    node: str

    def open(self, model: str) -> Any: ...
    def train(self, todo: Sequence[WorkItem], rows: int | None) -> Any: ...
    def next_trained(self) -> Any: ...
    def score(
        self, todo: Sequence[WorkItem], folders: Mapping[Run, Path], rows: int | None
    ) -> Any: ...
    def save_adapter(self, run: Run, folder: Path) -> None: ...


def without_items(todo: Sequence[WorkItem]) -> list[WorkItem]:
    """The work as it is sent to another process, which draws its training items anew."""
    return [one._replace(training_set=None) for one in todo]


def shard_steps(state: RunState, worker: WorkerHandle, attempt: Attempt) -> Steps:
    """Train and score what a shard lacks, and put every run's table in place."""
    shard, rows, name = attempt.shard, attempt.rows, worker.name
    state.log("start", model=shard.model, runs=shard.runs, worker=name, node=worker.node)
    tag = {"worker": name} if name else {}

    def open_base() -> Steps:
        found = yield worker.open(shard.model)
        first, node = state.hashes.setdefault(shard.model, (found, worker.node))
        if found != first:
            problem = f"its files on {worker.node} differ from those on {node}"
            raise DataError(f"{shard.model}: {problem}")

    if shard.model not in state.hashes:
        yield from open_base()
    todo = state.work_items(shard, name)
    missing = [one for one in todo if one.missing]
    if missing:
        yield from open_base()
    if untrained := [one for one in missing if one.train]:
        yield worker.train(untrained, rows)
        diverged: set[Run] = set()
        while isinstance(trained := (yield worker.next_trained()), TrainedGroup):
            diverged |= state.keep_adapters(*trained, worker.save_adapter, name)
        runs = list(dict.fromkeys(one.run.finished for one in untrained))
        state.log_work("train", runs, trained | tag)
        todo = [one for one in todo if one.run.finished not in diverged]
        missing = [one for one in missing if one.run.finished not in diverged]
        if name:  # a worker elsewhere reports scoring only later
            state.report_progress(f"{shard.model}: scoring {describe(runs)}", worker=name)
    tables: dict[Run, dict[str, pl.DataFrame]] = {}
    if missing:
        kept = {one.run.adapter for one in missing if one.run.finished.trained and not one.train}
        folders = {run: state.store.folder / adapter_folder(run) for run in kept}
        scored: ScoredFleet = yield worker.score(missing, folders, rows)
        tables = scored.tables
        for runs, work in scored.work:
            state.log_work("score", runs, work | tag)
    state.finish_shard(shard, todo, tables, name)
