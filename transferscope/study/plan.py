"""A study as runs, shards, lessons and keys: what there is to do, and what makes each part itself.

A run is one (model, seed, source), a base, or a placebo; its answers to one target are a cell. Runs
are grouped into shards: one base and a fleet of adapters over it. A cell's key is a hash over
everything that can change its numbers, so what has a key already is never done again.

In:   a `Study` and its `Suite`.
Out:  a `Plan`; the items a run learns from; keys.

Draws items, opens no file, knows no torch.

What it will cost, before anything is loaded: `shapes` (a model's, from its config.json), `cost`
(tokens, FLOPs, bytes), `machine` and `sampling`, `bill` (the record), `study_cost` (fills it),
`placement` (what fits on which GPU), `schedule` (several workers).
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from transferscope.study import Recipe, Study, apportioned
from transferscope.study.items import Stock, hashed
from transferscope.tasks import Item
from transferscope.tasks.choices import with_style

Kind = Literal["base", "again", "source", "mixture", "control", "brought"]

ENGINE = 2
"""Part of every key; raise it when the same study gives other numbers than before."""

TRAINING = 3.0
"""Work of training on an item, in evaluations of it: one pass forward, two back."""


@dataclass(frozen=True)
class Run:
    """One adapter, or a base."""

    model: str
    kind: Kind
    """A base, a base asked in another order, an adapter to train on a source, a mixture or a
    placebo, or one brought from elsewhere."""
    source: str | None = None
    """The source, or the name of the mixture or control; None for the base."""
    seed: int | None = None
    """None for the base, which serves all seeds."""

    @property
    def trained(self) -> bool:
        """Whether the study trains its adapter."""
        return self.kind in ("source", "mixture", "control")

    @property
    def beside(self) -> bool:
        """Whether it stands beside the matrix, as what is no source does."""
        return self.kind in ("mixture", "control", "again")

    def __str__(self) -> str:
        if self.kind == "base":
            return f"{self.model}, base"
        return f"{self.model}, {self.source}, seed {self.seed}"


class Shard(NamedTuple):
    """Runs that are trained and scored together over one base."""

    model: str
    runs: tuple[Run, ...]


class Lesson(NamedTuple):
    """What a run learns from."""

    items: Sequence[Item]
    answers: Sequence[int] | None
    """A placebo's labels; None for the items' own answers."""
    digest: str
    """SHA-256 of all items and labels."""


class Plan(NamedTuple):
    """All that a study asks for."""

    bases: tuple[Run, ...]
    shards: tuple[Shard, ...]
    targets: dict[str, int]
    """Evaluation items of each target."""
    parts: dict[str, dict[str, int]]
    """Training items of each task in each source, mixture and placebo; none where all adapters are
    brought."""
    recipe: Recipe
    """For how long adapters are trained."""

    @property
    def lessons(self) -> dict[str, int]:
        """Training items of each source, mixture and placebo."""
        return {name: sum(its.values()) for name, its in self.parts.items()}

    @property
    def shortfalls(self) -> list[str]:
        """A note for each number of training items that is smaller than the recipe asks for."""
        fewer: dict[int, list[str]] = {}
        for name, count in self.lessons.items():
            if count < self.recipe.items:
                fewer.setdefault(count, []).append(name)
        notes = []
        for count, names in fewer.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            notes.append(
                f"recipe.items is {self.recipe.items:,}, but there are {count:,} for "
                f"{', '.join(names[:3])}{more}"
            )
        return notes

    @property
    def runs(self) -> tuple[Run, ...]:
        """Bases first, then the adapters."""
        return (*self.bases, *(run for shard in self.shards for run in shard.runs))

    @property
    def cells(self) -> int:
        """(model, seed, source, target), placebos and bases included."""
        return len(self.runs) * len(self.targets)

    @property
    def questions(self) -> int:
        """Evaluation items of all targets."""
        return sum(self.targets.values())

    @property
    def steps(self) -> int:
        """Optimiser steps of all adapters."""
        return sum(self.steps_of(run) for run in self.runs)

    def summary(self) -> dict[str, int]:
        """What there is to do, in numbers."""
        kinds = Counter(run.kind for run in self.runs)
        return {
            "bases": kinds["base"],
            "adapters to train": sum(run.trained for run in self.runs),
            "adapters brought": kinds["brought"],
            "bases asked again": kinds["again"],
            "fleets": len(self.shards),
            "training steps": self.steps,
            "answers": len(self.runs) * self.questions,
            "cells": self.cells,
        }

    def steps_of(self, run: Run) -> int:
        """Optimiser steps of one adapter."""
        return self.recipe.steps_for(self.lessons[run.source or ""]) if run.trained else 0

    def training_work(self, run: Run) -> float:
        """Work of training a run, in evaluations of an item."""
        if not run.trained:
            return 0.0
        return TRAINING * self.recipe.passes_for(self.lessons[run.source or ""])


def plan_study(study: Study, stock: Stock) -> Plan:
    """The study's runs, grouped: adapters with equally many items, evenly, up to `budget.fleet`."""
    sources, targets = study.sources or (), study.targets or ()
    placebos = [name for name in study.controls if name != "reordered"]
    beside: dict[str, Kind] = dict.fromkeys(study.mixtures, "mixture")
    beside |= dict.fromkeys(placebos, "control")
    parts = {name: _parts(study, stock, "source", name) for name in sources}
    parts |= {name: _parts(study, stock, kind, name) for name, kind in beside.items()}
    lessons = {name: sum(its.values()) for name, its in parts.items()}
    counts = {}
    for name in targets:
        counts[name] = stock.asked(name, study.evaluation.items)
    shards: list[Shard] = []
    for model, described in study.models.items():
        groups: dict[int, list[Run]] = {}
        for seed in study.seeds:
            for name in sources:
                brought = seed in described.adapters.get(name, {})
                run = Run(model, "brought" if brought else "source", name, seed)
                groups.setdefault(0 if brought else lessons[name], []).append(run)
            for name, kind in beside.items():
                if seed not in study.mixture_seeds.get(name, study.seeds):
                    continue
                groups.setdefault(lessons[name], []).append(Run(model, kind, name, seed))
        if "reordered" in study.controls:
            shards += [Shard(model, (Run(model, "again", "reordered", s),)) for s in study.seeds]
        for runs in groups.values():
            number = -(-len(runs) // study.budget.fleet)
            cuts = [round(k * len(runs) / number) for k in range(number + 1)]
            shards += [Shard(model, tuple(runs[a:b])) for a, b in pairwise(cuts)]
    return Plan(
        bases=tuple(Run(model, "base") for model in study.models),
        shards=tuple(shards),
        targets=counts,
        parts=parts,
        recipe=study.recipe,
    )


def _parts(study: Study, stock: Stock, kind: Kind, name: str) -> dict[str, int]:
    """Items of each task that a source, mixture or placebo learns from; all that a task has."""
    if kind == "source" and not _is_trained(study, name):
        return {}
    counts = apportioned(_shares(study, kind, name), study.recipe.items)
    return {task: min(count, len(stock.split(task, "train"))) for task, count in counts.items()}


def _is_trained(study: Study, source: str) -> bool:
    """Whether any adapter of a source has to be trained: not every one is brought."""
    return any(
        seed not in model.adapters.get(source, {})
        for model in study.models.values()
        for seed in study.seeds
    )


def derived_seed(seed: int, purpose: str, source: str) -> int:
    """A seed of its own for each purpose and source, below 2**48."""
    text = f"{seed}/{purpose}/{source}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6])


def learned(study: Study, stock: Stock, run: Run) -> list[Item]:
    """The items that a run learns from, chosen by its seed, in the order of the first epoch."""
    if run.source is None or run.seed is None:
        raise ValueError(f"{run} learns nothing")
    wanted = study.recipe.items
    if run.kind not in ("control", "mixture"):
        seed = derived_seed(run.seed, "items", run.source)
        return _ordered(_choice(stock, run.source, wanted, seed), run)
    items = []
    for name, count in apportioned(_shares(study, run.kind, run.source), wanted).items():
        seed = derived_seed(run.seed, "items", f"{run.source}/{name}")
        items += _choice(stock, name, count, seed)
    return _ordered(items, run)


def lesson(study: Study, stock: Stock, run: Run) -> Lesson:
    """What a run learns from; a placebo's items have labels of its own."""
    items = learned(study, stock, run)
    if run.kind != "control":
        return Lesson(items, None, _digest(items, None))
    rng = np.random.default_rng(derived_seed(run.seed or 0, "labels", run.source or ""))
    answers = _random_letters(items, rng) if run.source == "format-only" else _shuffled(items, rng)
    return Lesson(items, answers, _digest(items, answers))


def run_keys(
    study: Study, stock: Stock, plan: Plan, run: Run, hashes: tuple[str, str]
) -> tuple[str, dict[str, str], Lesson | None]:
    """What makes a run's adapter itself, and what makes each of its cells so.

    Args:
        hashes: of the base's weights, and of the adapter where the run brings one.

    Returns:
        The training key; target to the cell's key; the lesson, if it had to be made for that.
    """
    recipe, made = study.recipe_of(run.model), None
    parts: dict[str, object] = {"engine": ENGINE, "base": hashes[0], "adapter": hashes[1]}
    if stored := study.models[run.model].quantization:
        parts["quantization"] = stored
    if run.trained:
        name = _lesson_name(study, stock, run)
        if name not in stock.digests:
            made = lesson(study, stock, run)
            stock.digests[name] = made.digest
        parts |= {"recipe": recipe.model_dump(mode="json"), "items": stock.digests[name]}
        parts |= {"seed": run.seed, "source": run.source, "control": run.kind == "control"}
        if run.kind == "mixture":
            parts["mixture"] = study.mixtures[run.source or ""]
    else:
        parts |= {"precision": recipe.precision, "max_pixels": recipe.max_pixels}
        parts |= {"again": run.seed if run.kind == "again" else None}
    training, asked = hashed(parts), study.evaluation
    how: dict[str, object] = {"scoring": asked.scoring, "order": asked.choice_order}
    if asked.reply_tokens is not None:
        how["reply_tokens"] = asked.reply_tokens
    cells = {}
    for target, count in plan.targets.items():
        items = _questions_digest(stock, target, count)
        cells[target] = hashed({"training": training, "items": items, **how})
    return training, cells, made


def _lesson_name(study: Study, stock: Stock, run: Run) -> str:
    """All that determines a run's lesson, where the suite's version determines its items."""
    suite = (stock.suite.name, stock.suite.version, stock.prompt)
    parts = [ENGINE, *suite, run.kind, run.source, run.seed]
    parts += [study.recipe.items, study.sources if run.kind == "control" else ()]
    parts += [study.mixtures[run.source or ""]] if run.kind == "mixture" else []
    return f"train {hashed(parts)}"


def _questions_digest(stock: Stock, target: str, count: int) -> str:
    """SHA-256 of evaluation items, ids included: predictions name items by them."""
    name = f"eval {hashed([*stock.asked_of, stock.prompt, target, count])}"
    if name not in stock.digests:
        items = stock.questions(target, count)
        stock.digests[name] = hashed(
            [[item.id, item.digest(), len(item.choices)] for item in items]
        )
    return stock.digests[name]


def _digest(items: Sequence[Item], answers: Sequence[int] | None) -> str:
    labels = [item.answer for item in items] if answers is None else list(answers)
    return hashed([[item.digest() for item in items], labels])


def _shares(study: Study, kind: Kind, name: str) -> dict[str, float]:
    """What share of its items a source, mixture or placebo takes from each task."""
    if kind == "mixture":
        return study.mixtures[name]
    mixed = (study.sources or ()) if kind == "control" else (name,)
    return {task: 1 / len(mixed) for task in mixed}


def _choice(stock: Stock, task: str, count: int, seed: int) -> list[Item]:
    """`count` training items of a task, or all of them, in the suite's order."""
    items = stock.split(task, "train")
    chosen = np.random.default_rng(seed).permutation(len(items))[:count]
    return [with_style(items[index], stock.prompt) for index in sorted(chosen.tolist())]


def _ordered(items: Sequence[Item], run: Run) -> list[Item]:
    """In the order of the first epoch, by a seed of its own."""
    seed = derived_seed(run.seed or 0, "first epoch", run.source or "")
    return [items[k] for k in np.random.default_rng(seed).permutation(len(items)).tolist()]


def _random_letters(items: Sequence[Item], rng: np.random.Generator) -> list[int]:
    """Any of each item's own letters, whatever is asked."""
    return [int(rng.integers(len(item.choices))) for item in items]


def _shuffled(items: Sequence[Item], rng: np.random.Generator) -> list[int]:
    """The items' answers exchanged among those of one task with equally many choices."""
    answers = [item.answer for item in items]
    groups: dict[tuple[str, int], list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault((item.task, len(item.choices)), []).append(index)
    for places in groups.values():
        for place, other in zip(places, rng.permutation(places).tolist(), strict=True):
            answers[place] = items[other].answer
    return answers
