"""Where a shard is worked on: one base, loaded once and kept, and a study's items beside it.

A bench trains and scores what it is handed and answers with what came of it. It stands in the
process that holds the folder, or in a worker anywhere: it reads models and items, never the
results folder, and writes nothing but vision features that do not fit in memory.

In:   runs and what they lack.
Out:  adapters with their records; tables of answers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transferscope.engine import Lab
from transferscope.engine.bases import brought, is_whole, open_base
from transferscope.errors import DataError
from transferscope.execution.run_state import Todo, described
from transferscope.store.cells import as_table, versions
from transferscope.study import Recipe, Study
from transferscope.study.plan import Plan, Run, derived_seed
from transferscope.tasks import Item
from transferscope.tasks.choices import (
    combine_orders,
    derangement,
    fixed_choices,
    reordered,
    rotations,
)

Say = Callable[[str, float], None]
"""Told what is being done, and how much of it is done, in evaluations of an item."""


class Trained(NamedTuple):
    """A fleet after training."""

    adapters: list[Any]
    records: list[dict[str, Any]]
    """How each was made."""
    took: dict[str, Any]
    """What it took, as the log has it."""
    curves: list[Any]
    """How each learned, and whether it failed."""


class Scored(NamedTuple):
    """A fleet's answers."""

    fresh: dict[Run, dict[str, pl.DataFrame]]
    """Of each run to each target that it lacked."""
    took: list[tuple[list[Run], dict[str, Any]]]
    """What it took, as the log has it: together for those scored together."""


class Stopwatch:
    """Measures a fleet's training or scoring from its creation on, for the log."""

    def __init__(self, base: Any) -> None:
        self._profile: Any = None
        if hasattr(base, "model"):  # a base of torch; a simulated base has only seconds
            from transferscope.engine.profiling import Profile

            self._profile = Profile(base)
        self._begun = time.perf_counter()

    def trained(self, jobs: Sequence[Any], recipe: Recipe) -> dict[str, Any]:
        """The log's fields after training."""
        fields = self._fields(sum(recipe.passes_for(len(job.items)) for job in jobs))
        return fields | (self._profile.trained(jobs, recipe) if self._profile else {})

    def scored(
        self, adapters: int, items: Sequence[Item], recipe: Recipe, scoring: str
    ) -> dict[str, Any]:
        """The log's fields after so many adapters, or the base, answered some items."""
        fields = self._fields(adapters * len(items))
        profile = self._profile
        return fields | (profile.scored(adapters, items, recipe, scoring) if profile else {})

    def _fields(self, items: int) -> dict[str, Any]:
        seconds = time.perf_counter() - self._begun
        rate = round(items / seconds, 2) if seconds else None
        return {"items": items, "seconds": round(seconds, 3), "items_per_second": rate}


class Bench:
    """A study's items and the base at hand.

    Args:
        features: the results folder, which vision features may be kept in.
    """

    def __init__(self, plan: Plan, lab: Lab, features: Path) -> None:
        self.study, self.plan, self.lab = plan.study, plan, lab
        self._features = features
        self._model = self._adapted = ""
        self.base: Any = None
        """The base that was opened last."""

    def open(self, model: str) -> str:
        """Have a model's base at hand; answers with the hash of its weights.

        Raises:
            StudyError: the study trains it, and its recipe cannot.
        """
        if model != self._model:
            self.base, self._model = None, ""  # the memory of one before that of the next
            self.base = open_base(self.study, self.lab, model, self._features)
            if any(run.trained and run.model == model for run in self.plan.runs):
                self._adapted = self.lab.check_training(self.base, self.study.recipe_of(model))
            self._model = model
        return self.base.weights_hash

    def train(self, todo: Sequence[Todo], say: Say, rows: int | None = None) -> Trained:
        """Train the adapters of runs, together.

        Args:
            rows: most rows of an adapter in a forward; None: as many as fit.
        """
        jobs, records, runs = [], [], [one.run for one in todo]
        model = runs[0].model
        recipe = self.study.recipe_of(model)
        for one in todo:
            source, seed = one.run.source or "", one.run.seed or 0
            taught = one.training_set or self.plan.training_set(one.run)
            seeds = {
                f"{k}_seed": derived_seed(seed, k, source) for k in ("init", "order", "dropout")
            }
            jobs.append(self.lab.Job(source, seed, taught.items, answers=taught.answers, **seeds))
            made_of = {"run": asdict(one.run), "items": taught.digest, **seeds}
            record = {"key": one.wanted.training, **made_of, "versions": versions()}
            records.append(record | {"recipe": asdict(recipe)})
        amount = sum(map(self.plan.training_work, runs))
        doing, watch = f"{model}: training {described(runs)}", Stopwatch(self.base)
        say(doing, 0.0)
        adapters = self.lab.train_fleet(
            self.base,
            jobs,
            recipe,
            rows=rows,
            progress=lambda n, of: say(doing, amount * n / max(of, 1)),
        )
        took = watch.trained(jobs, recipe) | {"layers": self._adapted}
        return Trained(adapters, records, took, [one.curve for one in adapters])

    def read(self, run: Run, folder: Path) -> Any:
        """The adapter of a run for `score`: from its folder, or None for the base itself."""
        if run.kind in ("base", "rerun") or is_whole(self.study, run):
            return None
        with _damage_fails_a_shard():
            own = run.kind != "external"
            return self.lab.load_adapter(self.base, folder if own else brought(self.study, run))

    def score(
        self, todo: Sequence[Todo], adapters: Sequence[Any], say: Say, rows: int | None = None
    ) -> Scored:
        """The answers that runs lack.

        Args:
            adapters: of each run; None for the base, and for a whole model.
            rows: most rows of an adapter in a forward; None: as the study says.
        """
        fresh: dict[Run, dict[str, pl.DataFrame]] = {}
        took, done = [], 0.0
        alone = [(one, None) for one in todo if is_whole(self.study, one.run)]
        pairs = list(zip(todo, adapters, strict=True))
        stacked = [(one, its) for one, its in pairs if not is_whole(self.study, one.run)]
        for part in [stacked, *([pair] for pair in alone)]:
            if not part:
                continue
            own, begun = [one for one, _ in part], done
            whole = is_whole(self.study, own[0].run)
            base = self.base
            if whole:
                with _damage_fails_a_shard():
                    base = self.lab.load_tuned(base, brought(self.study, own[0].run))

            def tell(doing: str, its: float, begun: float = begun) -> None:
                say(doing, begun + its)

            answers, fields = self._score(base, own, [its for _, its in part], tell, rows)
            fresh |= answers
            took.append(([one.run for one in own], fields))
            done += _amount(self.plan, own)
        return Scored(fresh, took)

    def _score(
        self,
        base: Any,
        todo: Sequence[Todo],
        adapters: Sequence[Any],
        say: Say,
        rows: int | None,
    ) -> tuple[dict[Run, dict[str, pl.DataFrame]], dict[str, Any]]:
        """The answers of runs over one base, and what they took."""
        runs = [one.run for one in todo]
        asked_how = self.study.evaluation
        scoring = asked_how.scoring
        wanted = {name for one in todo for name in one.missing}
        items = [
            item
            for name in self.plan.targets
            if name in wanted
            for item in self.plan.items.eval_items(name)
        ]
        fixed = fixed_choices(items)
        orders = [_orders(self.study, runs[0], item, fixed=item.task in fixed) for item in items]
        asked = [
            reordered(item, order) for item, its in zip(items, orders, strict=True) for order in its
        ]
        amount = _amount(self.plan, todo)
        doing, watch = f"{runs[0].model}: scoring {described(runs)}", Stopwatch(base)
        say(doing, 0.0)
        found = self.lab.score_fleet(
            base,
            adapters,
            asked,
            scoring=scoring,
            reply_tokens=asked_how.reply_tokens,
            batch_size=min(asked_how.batch_size, rows or asked_how.batch_size),
            progress=lambda n, of: say(doing, amount * n / max(of, 1)),
        )
        took = watch.scored(len(runs), asked, self.study.recipe_of(runs[0].model), scoring)
        fresh: dict[Run, dict[str, pl.DataFrame]] = {}
        for one, own in zip(todo, found, strict=True):
            given = iter(own)
            answers = [
                combine_orders([next(given) for _ in its], its, by_reply=scoring == "generate")
                for its in orders
            ]
            frame = as_table(one.run, items, answers)
            fresh[one.run] = {name: frame.filter(pl.col("target") == name) for name in one.missing}
        return fresh, took


@contextmanager
def _damage_fails_a_shard() -> Iterator[None]:
    """An adapter or model that is damaged concerns who needs it, while the others go on."""
    try:
        yield
    except DataError as error:
        raise RuntimeError(str(error)) from error


def _amount(plan: Plan, todo: Sequence[Todo]) -> int:
    """Answers that runs lack."""
    return sum(plan.targets[name] for one in todo for name in one.missing)


def _orders(study: Study, run: Run, item: Item, *, fixed: bool) -> list[tuple[int, ...]]:
    """The orders of its choices in which a run is asked an item."""
    first = tuple(range(len(item.choices)))
    if fixed:
        return [first]
    if run.kind == "rerun":
        first = derangement(item, run.seed or 0)
    if study.evaluation.choice_order == "given":
        return [first]
    return [tuple(first[place] for place in turned) for turned in rotations(item)]
