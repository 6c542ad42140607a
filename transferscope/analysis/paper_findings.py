"""The paper's findings as data: an id, a sentence, its place in the paper, and what decides it.

To add a finding, add a line to `FINDINGS`.

In:   a `Panel`: every task's transferability or malleability in every model, in size order.
Out:  for each finding whether it holds, and the numbers behind that. `claims` decides them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from transferscope.analysis import Quantity, Sign
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.persona import TRAITS, Role
from transferscope.tasks import LEVELS


@dataclass(frozen=True)
class Panel:
    """Every task's value in every model, and the categories of the tasks."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    values: list[np.ndarray]
    """For each model (task, draw); one draw for the estimate."""
    categories: dict[str, np.ndarray]
    """level and granularity of each task, "" where unknown."""

    def means(self, by: str = "", category: str = "") -> list[np.ndarray]:
        """Mean over tasks, or over a category's tasks, for each model."""
        member = self.categories[by] == category if by else slice(None)
        return [seed_mean(values[member]) for values in self.values]

    def unknown(self, values: Iterable[np.ndarray], what: str) -> str:
        """What is missing where a value is not known in every model; empty where nothing is."""
        pairs = zip(self.models, values, strict=True)
        models = [model for model, value in pairs if np.isnan(value[0])]
        return f"needs known effects {what} in {' and '.join(models)}" if models else ""


@dataclass(frozen=True)
class Finding:
    """A sentence of the paper that the analysis can decide."""

    id: str
    statement: str
    source: str
    quantity: Quantity
    sign: Sign
    holds: Callable[[Panel], np.ndarray]
    """Whether it holds, for each draw."""
    evidence: Callable[[Panel], str]
    missing: Callable[[Panel], str]
    """What the given models lack to decide it; empty where nothing."""
    include_self: bool = False
    test: tuple[str, float, tuple[str, ...]] | None = None
    """Also significant: the task, the level, the models it names (none: all)."""


def named(models: Iterable[str], size: str) -> str | None:
    """The model whose name contains the size as a separate word, such as `32B`, or None."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(size)}(?![A-Za-z0-9])", re.IGNORECASE)
    return next((model for model in models if pattern.search(model)), None)


def _everywhere(conditions: Iterable[np.ndarray]) -> np.ndarray:
    return np.logical_and.reduce(list(conditions))


def _number(values: np.ndarray) -> str:
    return f"{float(values[0]):.3f}".replace("-", "−")


def _scale(quantity: Quantity, sign: Sign, where: str) -> Finding:
    """The positive average rises with size; the negative one neither rises nor falls throughout."""
    trend = sign == "positive"
    course = "increases" if trend else "has no consistent trend"
    statement = f"Average {sign} {quantity} {course} with model size"

    def holds(panel: Panel) -> np.ndarray:
        steps = [b - a for a, b in pairwise(panel.means())]
        rises, falls = _everywhere(s > 0 for s in steps), _everywhere(s < 0 for s in steps)
        return rises if trend else ~(rises | falls)

    def evidence(panel: Panel) -> str:
        means = zip(panel.models, panel.means(), strict=True)
        return f"average {sign} {quantity}: " + ", ".join(f"{_number(v)} ({m})" for m, v in means)

    def missing(panel: Panel) -> str:
        least = 2 if trend else 3
        if len(panel.models) < least:
            return f"needs at least {least} models, and {len(panel.models)} given"
        return panel.unknown(panel.means(), "of one task on another")

    id = f"scale-{sign}-{quantity}"
    return Finding(id, statement, where, quantity, sign, holds, evidence, missing)


def _category(
    id: str, statement: str, quantity: Quantity, above: tuple[str, ...], *below: str
) -> Finding:
    """Each category in `above` is above each one in `below`, in every model."""
    both, by = (*above, *below), "level" if above[0] in LEVELS else "granularity"

    def holds(panel: Panel) -> np.ndarray:
        pairs = [(panel.means(by, high), panel.means(by, low)) for high in above for low in below]
        return _everywhere(h > v for high, low in pairs for h, v in zip(high, low, strict=True))

    def evidence(panel: Panel) -> str:
        means = {category: panel.means(by, category) for category in both}
        return "; ".join(
            f"{model}: " + ", ".join(f"{c} {_number(means[c][m])}" for c in means)
            for m, model in enumerate(panel.models)
        )

    def missing(panel: Panel) -> str:
        if absent := [c for c in both if c not in panel.categories[by]]:
            return f"needs tasks of {by} {', '.join(absent)}"
        lost = (panel.unknown(panel.means(by, c), f"of {c}-level tasks") for c in both)
        return next(filter(None, lost), "")

    return Finding(
        id, statement, "section 4.1", quantity, "positive", holds, evidence, missing, True
    )


def _role(
    role: Role, task: str, level: float | None = None, sizes: tuple[str, ...] = ()
) -> Finding:
    """The task plays the role in every model; with `level`, significantly in those of `sizes`."""
    trait = TRAITS[role]
    name, where = task.replace("_", " "), ", ".join(sizes) if sizes else "every model"

    def of_task(panel: Panel) -> list[np.ndarray]:
        return [values[panel.tasks.index(task)] for values in panel.values]

    def holds(panel: Panel) -> np.ndarray:
        wanted = set(panel.models)
        if level and sizes:
            wanted = {named(panel.models, size) for size in sizes}
        return _everywhere(
            trait.direction * (value - mean) > 0
            for model, value, mean in zip(panel.models, of_task(panel), panel.means(), strict=True)
            if model in wanted
        )

    def evidence(panel: Panel) -> str:
        return "; ".join(
            f"{model}: {_number(value)} against an average of {_number(mean)}"
            for model, value, mean in zip(panel.models, of_task(panel), panel.means(), strict=True)
        )

    def missing(panel: Panel) -> str:
        if task not in panel.tasks:
            return f"needs the task {task}"
        if absent := [size for size in sizes if named(panel.models, size) is None]:
            return f"needs a model named {' and '.join(absent)}"
        side = "of" if trait.quantity == "transferability" else "on"
        return panel.unknown(of_task(panel), f"{side} {name}")

    kind = f"a significant {role} (p < {level:g}, {where})" if level else f"a {role}"
    return Finding(
        id=f"{role}-{name.lower().replace(' ', '-')}" + ("-significant" if level else ""),
        statement=f"{name} is {kind}",
        source="section 5.2",
        quantity=trait.quantity,
        sign=trait.sign,
        holds=holds,
        evidence=evidence,
        missing=missing,
        test=(task, level, sizes) if level else None,
    )


@dataclass(frozen=True)
class CliqueFinding:
    """The published size of a model's largest significant clique."""

    id: str
    statement: str
    size: str
    """The model's size, as in its name."""
    sign: Sign
    tasks: tuple[int, ...]
    """The published numbers of tasks."""
    source: str = "section 5.1"


FINDINGS: tuple[Finding | CliqueFinding, ...] = (
    _scale("transferability", "positive", "section 4.2, figure 5a"),
    _scale("malleability", "positive", "section 4.2"),
    _scale("transferability", "negative", "section 4.2, figure 5b"),
    _category(
        "low-level-transferable",
        "Low-level tasks have the highest positive transferability in every model",
        *("transferability", ("low",), "mid", "high"),
    ),
    _category(
        "low-level-malleable",
        "Low-level tasks have the highest positive malleability in every model",
        *("malleability", ("low",), "mid", "high"),
    ),
    _category(
        "image-level-transferable",
        "Image-level tasks have higher positive transferability than pixel- and crop-level ones",
        *("transferability", ("image",), "pixel", "crop"),
    ),
    _category(
        "crop-level-least-transferable",
        "Image- and pixel-level tasks have higher positive transferability than crop-level ones",
        *("transferability", ("image", "pixel"), "crop"),
    ),
    _category(
        "crop-level-least-malleable",
        "Image- and pixel-level tasks have higher positive malleability than crop-level ones",
        *("malleability", ("image", "pixel"), "crop"),
    ),
    _role("donor", "Semantic_Correspondence"),
    _role("donor", "Semantic_Correspondence", 0.01),
    _role("pirate", "Functional_Correspondence"),
    _role("pirate", "Functional_Correspondence", 0.05, ("3B", "7B")),
    _role("sponge", "Visual_Similarity"),
    _role("sponge", "Visual_Similarity", 0.001),
    _role("sponge", "Relative_Depth"),
    _role("sponge", "Relative_Depth", 0.001),
    _role("sponge", "Relative_Reflectance"),
    _role("sieve", "Forensic_Detection"),
    _role("sieve", "Forensic_Detection", 0.005, ("3B", "32B")),
    CliqueFinding("clique-3b", "3B's largest clique has 3 or 4 tasks", "3B", "positive", (3, 4)),
    CliqueFinding("clique-7b", "7B's largest clique has 3 or 4 tasks", "7B", "positive", (3, 4)),
    CliqueFinding(
        "clique-32b", "32B's largest positive clique has 9 tasks", "32B", "positive", (9,)
    ),
    CliqueFinding(
        "clique-32b-negative",
        "32B has a negative clique of 4 tasks",
        *("32B", "negative", (4,), "figure 10"),
    ),
)
