"""A study as runs, shards, training sets and keys: what there is to do, computed once and carried.

A run is a base, one (model, seed, source), or a control; its answers to one target are a cell. Runs
are grouped into shards: one base and a fleet of adapters over it. A cell's key is a hash over
everything that can change its numbers, so a cell whose key is known is never computed again.

In:   a `Study`.
Out:  a `Plan`, which has the study, its items, runs and shards, and makes training sets and keys.

Draws items, opens no file, needs no torch.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from transferscope.errors import StudyError
from transferscope.study import Recipe, Study, apportioned
from transferscope.study.controls import CONTROLS
from transferscope.study.items import StudyItems, hashed
from transferscope.tasks import GrayImage, Item
from transferscope.tasks.checkpoints import Checkpoint, Strength, checkpoint, strength, task_of
from transferscope.tasks.choices import with_style
from transferscope.tasks.open_answers import Label

Kind = Literal["base", "rerun", "source", "mixture", "control", "external", "snapshot", "strength"]

ENGINE = 2
"""Part of every key; raise it when the same study gives other numbers than before."""

TRAINING = 3.0
"""Work of training on an item, in evaluations of an item: one pass forward, two back."""


@dataclass(frozen=True)
class Run:
    """One adapter, or a base."""

    model: str
    kind: Kind
    """A base; a rerun of it with reordered options; an adapter trained on a source, a mixture or a
    placebo; an external adapter; a source's adapter before its last step, or at another strength.
    """
    source: str | None = None
    """The source, or the name of the mixture or control; None for the base. `Jigsaw @ 40` is a
    snapshot, `Jigsaw x 0.5` a strength (`tasks.checkpoints`)."""
    seed: int | None = None
    """None for the base, which serves all seeds."""

    @property
    def trained(self) -> bool:
        """Whether the study trains an adapter for it."""
        return self.kind in ("source", "mixture", "control")

    @property
    def auxiliary(self) -> bool:
        """Whether it stands beside the matrix, as controls and mixtures do."""
        return self.kind in ("mixture", "control", "rerun", "snapshot", "strength")

    @property
    def finished(self) -> "Run":
        """The finished adapter that a snapshot or a strength is made of; any other run itself."""
        if self.kind not in ("snapshot", "strength"):
            return self
        return replace(self, kind="source", source=task_of(self.source or ""))

    @property
    def adapter(self) -> "Run":
        """The run whose adapter it uses."""
        return self.finished if self.kind == "strength" else self

    @property
    def step(self) -> int | None:
        """The step after which a snapshot was taken; None for any other run."""
        return checkpoint(self.source or "").step if self.kind == "snapshot" else None

    @property
    def strength(self) -> float:
        """What LoRA's alpha is multiplied by."""
        scaled = strength(self.source or "") if self.kind == "strength" else None
        return scaled.factor if scaled else 1.0

    def __str__(self) -> str:
        if self.kind == "base":
            return f"{self.model}, base"
        return f"{self.model}, {self.source}, seed {self.seed}"


class Shard(NamedTuple):
    """Runs that are trained and scored together over one base."""

    model: str
    runs: tuple[Run, ...]


class TrainingSet(NamedTuple):
    """The items of a run, in the order of the first epoch."""

    items: Sequence[Item]
    answers: Sequence[Label] | None
    """A placebo's labels; None for the right answers."""
    digest: str
    """SHA-256 of all items and labels."""


class RunKeys(NamedTuple):
    """The keys of a run's adapter and of its cells."""

    training: str
    cells: dict[str, str]
    """{target: key}"""
    training_set: TrainingSet | None
    """The training set, if it had to be made for the key."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a study will do."""

    study: Study
    items: StudyItems
    bases: tuple[Run, ...]
    shards: tuple[Shard, ...]
    targets: dict[str, int]
    """{target: number of evaluation items}"""
    parts: dict[str, dict[str, int]]
    """{source, mixture or placebo: {task: number of training items}}; empty inside for a source
    whose adapters are all external."""
    assumed: tuple[str, ...] = ()
    """Tasks without training items so far, assumed to have `recipe.items` each."""
    runs: tuple[Run, ...] = field(init=False)
    """Bases first, then the adapters."""

    def __post_init__(self) -> None:
        runs = (*self.bases, *(run for shard in self.shards for run in shard.runs))
        object.__setattr__(self, "runs", runs)

    @property
    def recipe(self) -> Recipe:
        """The study's recipe, which gives the number of steps for every model."""
        return self.study.recipe

    @property
    def training_counts(self) -> dict[str, int]:
        """{source, mixture or placebo: number of training items}"""
        return {name: sum(parts.values()) for name, parts in self.parts.items()}

    @property
    def cells(self) -> int:
        """Number of (run, target), placebos and bases included."""
        return len(self.runs) * len(self.targets)

    @property
    def eval_count(self) -> int:
        """Number of evaluation items of all targets."""
        return sum(self.targets.values())

    @property
    def notes(self) -> list[str]:
        """What a reader of the plan must know of its training items."""
        wanted, notes = self.recipe.items, []
        if self.assumed:
            notes.append(
                f"{_listed(self.assumed)}: no training items yet; assumed {wanted:,} items each, "
                "of the size of the evaluation items"
            )
        fewer: dict[int, list[str]] = {}
        for name, count in self.training_counts.items():
            if 0 < count < wanted:
                fewer.setdefault(count, []).append(name)
        for count, names in fewer.items():
            notes.append(
                f"recipe.items is {wanted:,}, but there are {count:,} for {_listed(names)}"
            )
        return notes

    def summary(self) -> dict[str, int]:
        """The amounts of work."""
        kinds = Counter(run.kind for run in self.runs)
        states = {"snapshots": kinds["snapshot"], "adapters at other strengths": kinds["strength"]}
        return {
            "bases": kinds["base"],
            f"{self.recipe.product}s to train": sum(run.trained for run in self.runs),
            **{name: count for name, count in states.items() if count},
            "external adapters": kinds["external"],
            "bases with reordered options": kinds["rerun"],
            "fleets": len(self.shards),
            "training steps": sum(self.steps_of(run) for run in self.runs),
            "answers": len(self.runs) * self.eval_count,
            "cells": self.cells,
        }

    def steps_of(self, run: Run) -> int:
        """Optimizer steps of one adapter."""
        return self.recipe.steps_for(self.training_counts[run.source or ""]) if run.trained else 0

    def training_work(self, run: Run) -> float:
        """Work of training a run, in evaluations of an item."""
        if not run.trained:
            return 0.0
        return TRAINING * self.recipe.passes_for(self.training_counts[run.source or ""])

    def training_items(self, run: Run) -> list[Item]:
        """The items that a run is trained on, drawn by its seed, in the first epoch's order."""
        if run.source is None or run.seed is None:
            raise ValueError(f"{run} is not trained")
        wanted, prompt = self.recipe.items, self.study.evaluation.prompt
        mixed = run.kind in ("control", "mixture")
        shares = _shares(self.study, run.kind, run.source) if mixed else {run.source: 1.0}
        found: list[Item] = []
        for task, count in apportioned(shares, wanted).items():
            seed = derived_seed(run.seed, "items", f"{run.source}/{task}" if mixed else task)
            items = self.items.split(task, "train")
            chosen = np.random.default_rng(seed).permutation(len(items))[:count]
            # In the suite's order, so that files are read from front to back.
            found += [with_style(items[index], prompt) for index in sorted(chosen.tolist())]
        order = np.random.default_rng(derived_seed(run.seed, "first epoch", run.source))
        return [found[index] for index in order.permutation(len(found)).tolist()]

    def training_set(self, run: Run) -> TrainingSet:
        """The items that a run is trained on, with a placebo's labels and images."""
        items, answers = self.training_items(run), None
        control = CONTROLS[run.source or ""] if run.kind == "control" else None
        if control and control.labels is not None:
            rng = np.random.default_rng(derived_seed(run.seed or 0, "labels", run.source or ""))
            answers = control.labels(items, rng)
        if control and control.blank:
            items = [replace(one, images=tuple(map(GrayImage, one.images))) for one in items]
        given = [item.label for item in items] if answers is None else answers
        labels = [one if isinstance(one, int) else one.key() for one in given]
        return TrainingSet(items, answers, hashed([[item.digest() for item in items], labels]))

    def keys(self, run: Run, base: str, external: str = "") -> RunKeys:
        """Hashes over all that can change a run's adapter and each of its cells.

        Args:
            base: hash of the base's weights.
            external: hash of the external adapter, for a run that has one.
        """
        state, run = run, run.finished
        study, recipe, made = self.study, self.study.recipe_of(run.model), None
        parts: dict[str, object] = {"engine": ENGINE, "base": base, "adapter": external}
        if quantization := study.models[run.model].quantization:
            parts["quantization"] = quantization
        if run.trained:
            name = self._training_source(run)
            if name not in self.items.digests:
                made = self.training_set(run)
                self.items.digests[name] = made.digest
            parts |= {"recipe": recipe.key_parts(), "items": self.items.digests[name]}
            parts |= {"seed": run.seed, "source": run.source, "control": run.kind == "control"}
            if run.kind == "mixture":
                parts["mixture"] = study.mixtures[run.source or ""]
        else:
            parts |= {"precision": recipe.precision, "max_pixels": recipe.max_pixels}
            parts |= {"again": run.seed if run.kind == "rerun" else None}
        training, how = hashed(parts), study.evaluation
        if state.step is not None:
            training = hashed({"finished": training, "step": state.step})
        scoring: dict[str, object] = {"scoring": how.scoring, "order": how.choice_order}
        if how.scoring == "generate":  # before, the checkpoint's generation settings were ignored
            scoring["replies"] = 2
        if state.kind == "strength":
            scoring["strength"] = state.strength
        if how.reply_tokens is not None:
            scoring["reply_tokens"] = how.reply_tokens
        cells = {
            target: hashed(
                {"training": training, "items": self.items.eval_digest(target), **scoring}
            )
            for target in self.targets
        }
        return RunKeys(training, cells, made)

    def _training_source(self, run: Run) -> str:
        """All that determines a training set, if the suite's version determines its items."""
        study, suite = self.study, self.items.suite
        parts = [ENGINE, suite.name, suite.version, study.evaluation.prompt]
        parts += [run.kind, run.source, run.seed, study.recipe.items]
        control = run.kind == "control"
        parts += [(study.sources, CONTROLS[run.source or ""].version) if control else ()]
        parts += [study.mixtures[run.source or ""]] if run.kind == "mixture" else []
        return f"train {hashed(parts)}"


def plan_study(study: Study, items: StudyItems | None = None, *, assume: bool = False) -> Plan:
    """The study's runs, grouped: adapters with equally many items, evenly, up to `budget.fleet`.

    Args:
        items: of the study; None opens them.
        assume: plan as if tasks without training items had `recipe.items` each.

    Raises:
        StudyError: a task has no evaluation items, or no training items unless those are assumed.
    """
    items, assumed = items or StudyItems(study), list[str]()

    def available(task: str) -> int:
        try:
            return len(items.split(task, "train"))
        except StudyError:
            if not assume:
                raise
            assumed.append(task)
            return study.recipe.items

    sources: dict[str, Kind] = dict.fromkeys(study.sources or (), "source")
    others: dict[str, Kind] = dict.fromkeys(study.mixtures, "mixture")
    others |= {name: "control" for name in study.controls if CONTROLS[name].labels}
    parts: dict[str, dict[str, int]] = {}
    for name, kind in (sources | others).items():
        wanted = apportioned(_shares(study, kind, name), study.recipe.items)
        external = kind == "source" and all(
            seed in model.adapters.get(name, {})
            for model in study.models.values()
            for seed in study.seeds
        )
        parts[name] = {} if external else {t: min(n, available(t)) for t, n in wanted.items()}
    shards = [
        shard for model in study.models for shard in _shards(study, model, sources, others, parts)
    ]
    return Plan(
        study,
        items,
        bases=tuple(Run(model, "base") for model in study.models),
        shards=tuple(shards),
        targets={name: items.eval_count(name) for name in study.targets or ()},
        parts=parts,
        assumed=tuple(dict.fromkeys(assumed)),
    )


def _shards(
    study: Study,
    model: str,
    sources: dict[str, Kind],
    others: dict[str, Kind],
    parts: dict[str, dict[str, int]],
) -> list[Shard]:
    """One model's adapters and reruns in shards."""
    groups: dict[int, list[Run]] = {}
    for seed in study.seeds:
        for name, kind in (sources | others).items():
            if seed not in study.mixture_seeds.get(name, study.seeds):
                continue
            external = kind == "source" and seed in study.models[model].adapters.get(name, {})
            run = Run(model, "external" if external else kind, name, seed)
            groups.setdefault(0 if external else sum(parts[name].values()), []).append(run)
    shards = [
        Shard(model, (Run(model, "rerun", name, seed),))
        for name in study.controls
        if CONTROLS[name].labels is None
        for seed in study.seeds
    ]
    for runs in groups.values():
        number = -(-len(runs) // (1 if study.recipe.method == "full" else study.budget.fleet))
        cuts = [round(k * len(runs) / number) for k in range(number + 1)]
        for a, b in pairwise(cuts):
            states = (state for run in runs[a:b] for state in _states(study, run, parts))
            shards.append(Shard(model, tuple(states)))
    return shards


def _states(study: Study, run: Run, parts: dict[str, dict[str, int]]) -> Iterator[Run]:
    """A run, and if it is a source that is trained, its snapshots and its other strengths."""
    yield run
    if run.kind == "source":
        task, how = run.source or "", study.evaluation
        steps = study.recipe.steps_for(sum(parts[task].values()))
        for step in sorted({max(1, round(share * steps)) for share in how.at} - {steps}):
            yield replace(run, kind="snapshot", source=Checkpoint(task, step).name)
        for factor in how.strengths:
            if factor != 1:
                yield replace(run, kind="strength", source=Strength(task, factor).name)


def derived_seed(seed: int, purpose: str, source: str) -> int:
    """A separate seed for each purpose and source, below 2**48."""
    text = f"{seed}/{purpose}/{source}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6])


def _shares(study: Study, kind: Kind, name: str) -> dict[str, float]:
    """The share of each task in the training set of a source, mixture or placebo."""
    if kind == "mixture":
        return study.mixtures[name]
    mixed = (study.sources or ()) if kind == "control" else (name,)
    return {task: 1 / len(mixed) for task in mixed}


def _listed(names: Sequence[str]) -> str:
    """The first three names, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
