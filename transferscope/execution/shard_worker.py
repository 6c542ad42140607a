"""Works on shards: one base, kept between shards, and the items of a study.

A `ShardWorker` trains and scores the runs it is given. It lives in this process or in another one
(`worker_pool`). It reads models and items, never the results folder, and writes only vision
features that do not fit in memory.
"""

import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from transferscope import store as results
from transferscope.engine import Engine, bases
from transferscope.engine.loss_curve import LossCurve
from transferscope.engine.records import TrainingJob
from transferscope.errors import DataError
from transferscope.execution.run_state import WorkItem, describe
from transferscope.store.cells import as_table, versions
from transferscope.study.plan import Plan, Run, TrainingSet, derived_seed
from transferscope.tasks import Item, choices

if TYPE_CHECKING:
    from transferscope.engine.adapter import Adapter
    from transferscope.engine.base_model import Base

Report = Callable[[str, float], None]
"""Receives what a worker does, and how much of it is done, in evaluations of an item."""
Files = dict[str, bytes]
"""An adapter's files by name."""


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

    `load` makes the engine, on the first call that needs it. Vision features may be kept in the
    results folder, if this machine has it.
    """

    name = node = ""
    """Of a worker elsewhere, a `WorkerHandle` has them."""

    def __init__(
        self, plan: Plan, load: Callable[[], Engine], folder: Path, report: Report
    ) -> None:
        self.study, self.plan, self._load = plan.study, plan, load
        self._features = folder if folder.is_dir() else results.cache_folder()
        self._report = report
        self._model = self._layers = ""
        self._base: Base | None = None
        self._drawn: dict[Run, TrainingSet] = {}
        """Training sets that were drawn for their digests, until they are trained on."""
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

    def digests(self, runs: Sequence[Run], known: Mapping[str, str]) -> dict[str, str]:
        """Digests of the items that runs are trained and evaluated on; not drawn where `known`."""
        items = self.plan.items
        items.digests |= known
        self._report(f"{runs[0].model}: preparing the items for {describe(runs)}", 0.0)
        made = {run.finished: self.plan.keys(run, "").training_set for run in runs}
        self._drawn = {run: drawn for run, drawn in made.items() if drawn is not None}
        for target in self.plan.targets:
            items.gold(target)
        return items.digests

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
            drawn = drawn or self._drawn.pop(run, None)
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

    def hello(self) -> tuple[str, dict[str, str]]:
        """Report readiness, with the hostname and the versions of libraries."""
        return socket.gethostname(), public_versions()

    def files(self, run: Run) -> Files:
        """The files of an adapter that was trained last."""
        with TemporaryDirectory() as place:
            self.save_adapter(run, folder := Path(place, "adapter"))
            return read_files(folder)

    def score_files(
        self, todo: Sequence[WorkItem], files: Mapping[Run, Files], rows: int | None
    ) -> ScoredFleet:
        """As `score`; adapters that were not trained last come as files."""
        with TemporaryDirectory() as place:
            folders = {run: Path(place, str(index)) for index, run in enumerate(files)}
            for run, folder in folders.items():
                write_files(folder, files[run])
            return self.score(todo, folders, rows)

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


def public_versions() -> dict[str, str]:
    """Versions without build tags: `2.13.0+cpu` is 2.13.0."""
    return {name: version.partition("+")[0] for name, version in versions().items()}


def write_files(folder: Path, files: Files) -> None:
    """Make a folder with these files."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def read_files(folder: Path) -> Files:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
