"""The paper's findings, each tried on the models at hand and under every defensible choice.

A finding is data: an id, a sentence, where the paper says it, and a function that decides it from
the tasks' transferability or malleability. The audit decides it as the paper does, again under
each alternative (self-transfer counted or not, N, seeds averaged first or last, test, tail), and
in every bootstrap draw.

In:   mu as an `xarray.DataArray` (model, seed, source, target), models in size order; the evidence.
Out:  a list of `analysis.Claim`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from transferscope import graph, measure
from transferscope.analysis import Claim, Sign
from transferscope.evidence import Evidence, Quantity
from transferscope.persona import TRAITS, Role, unpaired_t

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Choice:
    """One way to analyse; the defaults are the paper's."""

    include_self: bool = False
    all_tasks: bool = False
    mean_first: bool = False
    welch: bool = False
    two_sided: bool = False
    every_seed: bool = False


WORDS: dict[str, tuple[str, str]] = {
    "include_self": ("self-transfer left out", "self-transfer counted"),
    "all_tasks": ("N = tasks considered", "N = all tasks"),
    "mean_first": ("seeds averaged last", "seeds averaged first"),
    "welch": ("Student's t-test", "Welch's t-test"),
    "two_sided": ("one-sided test", "two-sided test"),
    "every_seed": ("sign of the seed mean", "sign of every seed"),
}
"""What each choice means when it is False, and when it is True."""


@dataclass(frozen=True)
class Panel:
    """Every task's value in every model, and what is known about the tasks."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    values: list[np.ndarray]
    """For each model (task, draw); one draw for the estimate."""
    categories: dict[str, np.ndarray]
    """level and granularity of each task, "" where unknown."""

    def means(self, by: str, category: str) -> list[np.ndarray]:
        """Mean over a category's tasks, for each model."""
        member = self.categories[by] == category
        return [graph.seed_mean(values[member]) for values in self.values]


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
    """What the models at hand lack to decide it; empty where nothing."""
    include_self: bool = False
    test: tuple[str, float, tuple[str, ...]] | None = None
    """Also significant: the task, the level, the models it names (none: all)."""


class Study:
    """The matrix, with what the findings ask of it computed once."""

    def __init__(self, mu: xr.DataArray, evidence: dict[str, Evidence]) -> None:
        self.mu = mu
        self.models = tuple(mu["model"].values.tolist())
        self.evidence = evidence
        self.values = lru_cache(maxsize=None)(self._values)
        self.tests = lru_cache(maxsize=None)(self._tests)

    def _values(
        self, quantity: Quantity, include_self: bool, all_tasks: bool, mean_first: bool
    ) -> xr.Dataset:
        mu = self.mu.mean("seed", keepdims=True) if mean_first else self.mu
        other = "target" if quantity == "transferability" else "source"
        considered = self.mu.sizes[other] if all_tasks else None
        effect = getattr(measure, quantity)(mu, include_self=include_self, considered=considered)
        return effect.transpose("model", "seed", ...)

    def panel(self, finding: Finding, choice: Choice) -> Panel:
        """The finding's values under a choice."""
        effect = self.values(
            finding.quantity, choice.include_self, choice.all_tasks, choice.mean_first
        )[finding.sign]
        return self._panel(finding, [row[:, None] for row in effect.mean("seed").values])

    def drawn(self, finding: Finding) -> Panel | None:
        """The finding's values in every bootstrap draw."""
        draws = [
            e.drawn(finding.quantity, finding.sign, include_self=finding.include_self)
            for e in self.evidence.values()
        ]
        known = [values for values in draws if values is not None]
        return self._panel(finding, known) if len(known) == len(draws) else None

    def _panel(self, finding: Finding, values: list[np.ndarray]) -> Panel:
        dim, prefix = ("source", "source_")
        if finding.quantity == "malleability":
            dim, prefix = ("target", "")
        return Panel(
            models=self.models,
            tasks=tuple(self.mu[dim].values.tolist()),
            values=values,
            categories={by: self.mu[prefix + by].values for by in ("level", "granularity")},
        )

    def p_values(self, finding: Finding, choice: Choice) -> dict[str, float]:
        """The tested task's p-value in each model."""
        assert finding.test is not None
        p_values = self.tests(finding.quantity, finding.sign, replace(choice, mean_first=False))
        tasks = self.mu["source" if finding.quantity == "transferability" else "target"]
        column = p_values[:, tasks.values.tolist().index(finding.test[0])]
        return dict(zip(self.models, column.tolist(), strict=True))

    def _tests(self, quantity: Quantity, sign: Sign, choice: Choice) -> np.ndarray:
        """The p-value of every task in every model, (model, task)."""
        effect = self.values(quantity, choice.include_self, choice.all_tasks, False)[sign]
        task_dim = str(effect.dims[-1])
        return unpaired_t(
            effect.values,
            effect.mean(task_dim).values[..., None],
            1 if sign == "positive" else -1,
            pooled=not choice.welch,
            sides=2 if choice.two_sided else 1,
        )


def named(models: Iterable[str], size: str) -> str | None:
    """The model whose name holds the size as a word of its own, such as `32B`; None if none."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(size)}(?![A-Za-z0-9])", re.IGNORECASE)
    return next((model for model in models if pattern.search(model)), None)


def audit(mu: xr.DataArray, evidence: dict[str, Evidence]) -> list[Claim]:
    """Every finding, decided.

    Returns:
        One claim for each finding: `holds` under the paper's choices, `sensitive_to` the choices
        that reverse it, `support` the share of bootstrap draws in which it holds (NaN without
        draws, and for findings that rest on a test).
    """
    study = Study(mu, evidence)
    return [_decide(finding, study) for finding in FINDINGS] + [
        _decide_clique(finding, study) for finding in CLIQUES
    ]


def _decide(finding: Finding, study: Study) -> Claim:
    paper = Choice(include_self=finding.include_self)
    panel = study.panel(finding, paper)
    if gap := finding.missing(panel):
        return _claim(finding, None, gap)

    def holds(choice: Choice) -> bool:
        right = bool(finding.holds(study.panel(finding, choice))[0])
        if finding.test is None:
            return right
        _, level, sizes = finding.test
        p_values = study.p_values(finding, choice)
        asked = [named(study.models, size) for size in sizes] if sizes else list(study.models)
        return right and all(p_values[model] < level for model in asked if model)

    options = ["include_self", "all_tasks", "mean_first"]
    if finding.test:
        options += ["welch", "two_sided"]
    text, support = finding.evidence(panel), np.nan
    if finding.test:
        p_values = study.p_values(finding, paper)
        text += "; " + ", ".join(f"p = {p:.2g} ({model})" for model, p in p_values.items())
    elif drawn := study.drawn(finding):
        support = float(np.mean(finding.holds(drawn)))
    return _claim(finding, paper, text, support, holds, options)


def _claim(
    finding: Finding | CliqueFinding,
    paper: Choice | None,
    text: str,
    support: float = np.nan,
    holds: Callable[[Choice], bool] | None = None,
    options: Iterable[str] = (),
) -> Claim:
    """The claim, with the paper's choice and all combinations of the alternatives tried."""
    outcome, sensitive, tried = None, [], []
    if paper is not None and holds is not None:
        outcome = holds(paper)
        for name in options:
            flipped = replace(paper, **{name: not getattr(paper, name)})
            if holds(flipped) != outcome:
                sensitive.append(WORDS[name][getattr(flipped, name)])
        combinations = product([False, True], repeat=len(list(options)))
        tried = [holds(Choice(**dict(zip(options, c, strict=True)))) for c in combinations]
    return Claim(
        id=finding.id,
        statement=finding.statement,
        source=finding.source,
        holds=outcome,
        evidence=text,
        support=support,
        sensitive_to=sensitive,
        held=sum(tried),
        tried=len(tried),
    )


def _everywhere(conditions: Iterable[np.ndarray]) -> np.ndarray:
    return np.logical_and.reduce(list(conditions))


def _number(values: np.ndarray) -> str:
    return f"{float(values[0]):.3f}"


def _averages(panel: Panel) -> list[np.ndarray]:
    return [graph.seed_mean(values) for values in panel.values]


def _steps(panel: Panel) -> list[np.ndarray]:
    means = _averages(panel)
    return [b - a for a, b in pairwise(means)]


def _scale(
    id: str, statement: str, source: str, quantity: Quantity, sign: Sign, *, trend: bool
) -> Finding:
    """`trend`: the average rises with size; else: it neither rises nor falls throughout."""

    def holds(panel: Panel) -> np.ndarray:
        rises = _everywhere(step > 0 for step in _steps(panel))
        falls = _everywhere(step < 0 for step in _steps(panel))
        return rises if trend else ~(rises | falls)

    def evidence(panel: Panel) -> str:
        means = zip(panel.models, _averages(panel), strict=True)
        return f"average {sign} {quantity}: " + ", ".join(f"{_number(v)} ({m})" for m, v in means)

    def missing(panel: Panel) -> str:
        least = 2 if trend else 3
        short = len(panel.models) < least
        return f"needs at least {least} models, and {len(panel.models)} given" if short else ""

    return Finding(id, statement, source, quantity, sign, holds, evidence, missing)


def _category(
    id: str, statement: str, quantity: Quantity, by: str, above: tuple[str, ...], *below: str
) -> Finding:
    """Each category in `above` lies over each one in `below`, in every model."""

    def holds(panel: Panel) -> np.ndarray:
        pairs = [(panel.means(by, high), panel.means(by, low)) for high in above for low in below]
        return _everywhere(h > v for high, low in pairs for h, v in zip(high, low, strict=True))

    def evidence(panel: Panel) -> str:
        means = {category: panel.means(by, category) for category in (*above, *below)}
        return "; ".join(
            f"{model}: " + ", ".join(f"{c} {_number(means[c][m])}" for c in means)
            for m, model in enumerate(panel.models)
        )

    def missing(panel: Panel) -> str:
        absent = [c for c in (*above, *below) if c not in panel.categories[by]]
        return f"needs tasks of {by} {', '.join(absent)}" if absent else ""

    return Finding(
        id, statement, "section 4.1", quantity, "positive", holds, evidence, missing, True
    )


def _role(
    role: Role, task: str, level: float | None = None, sizes: tuple[str, ...] = ()
) -> Finding:
    """The task plays the role in every model; with `level`, significantly in those of `sizes`."""
    trait = TRAITS[role]
    name, where = task.replace("_", " "), ", ".join(sizes) if sizes else "every model"

    def ahead(panel: Panel) -> list[np.ndarray]:
        index, means = panel.tasks.index(task), _averages(panel)
        apart = [v[index] - m for v, m in zip(panel.values, means, strict=True)]
        if not (level and sizes):
            return apart
        asked = {named(panel.models, size) for size in sizes}
        return [a for a, model in zip(apart, panel.models, strict=True) if model in asked]

    def evidence(panel: Panel) -> str:
        index = panel.tasks.index(task)
        return "; ".join(
            f"{model}: {_number(values[index])} against an average of {_number(mean)}"
            for model, values, mean in zip(
                panel.models, panel.values, _averages(panel), strict=True
            )
        )

    def missing(panel: Panel) -> str:
        absent = [size for size in sizes if named(panel.models, size) is None]
        if task not in panel.tasks:
            return f"needs the task {task}"
        return f"needs a model named {' and '.join(absent)}" if absent else ""

    kind = f"a significant {role} (p < {level:g}, {where})" if level else f"a {role}"
    return Finding(
        id=f"{role}-{name.lower().replace(' ', '-')}" + ("-significant" if level else ""),
        statement=f"{name} is {kind}",
        source="section 5.2",
        quantity=trait.quantity,
        sign=trait.sign,
        holds=lambda panel: _everywhere(trait.direction * a > 0 for a in ahead(panel)),
        evidence=evidence,
        missing=missing,
        test=(task, level, sizes) if level else None,
    )


FINDINGS: tuple[Finding, ...] = (
    _scale(
        "scale-positive-transferability",
        "Average positive transferability increases with model size",
        "section 4.2, figure 5a",
        "transferability",
        "positive",
        trend=True,
    ),
    _scale(
        "scale-positive-malleability",
        "Average positive malleability increases with model size",
        "section 4.2",
        "malleability",
        "positive",
        trend=True,
    ),
    _scale(
        "scale-negative-transferability",
        "Average negative transferability has no consistent trend with model size",
        "section 4.2, figure 5b",
        "transferability",
        "negative",
        trend=False,
    ),
    _category(
        "low-level-transferable",
        "Low-level tasks have the highest positive transferability in every model",
        "transferability",
        "level",
        ("low",),
        "mid",
        "high",
    ),
    _category(
        "low-level-malleable",
        "Low-level tasks have the highest positive malleability in every model",
        "malleability",
        "level",
        ("low",),
        "mid",
        "high",
    ),
    _category(
        "image-level-transferable",
        "Image-level tasks have higher positive transferability than pixel- and crop-level ones",
        "transferability",
        "granularity",
        ("image",),
        "pixel",
        "crop",
    ),
    _category(
        "crop-level-least-transferable",
        "Image- and pixel-level tasks have higher positive transferability than crop-level ones",
        "transferability",
        "granularity",
        ("image", "pixel"),
        "crop",
    ),
    _category(
        "crop-level-least-malleable",
        "Image- and pixel-level tasks have higher positive malleability than crop-level ones",
        "malleability",
        "granularity",
        ("image", "pixel"),
        "crop",
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


CLIQUES: tuple[CliqueFinding, ...] = (
    CliqueFinding("clique-3b", "3B's largest clique has 3 or 4 tasks", "3B", "positive", (3, 4)),
    CliqueFinding("clique-7b", "7B's largest clique has 3 or 4 tasks", "7B", "positive", (3, 4)),
    CliqueFinding(
        "clique-32b", "32B's largest positive clique has 9 tasks", "32B", "positive", (9,)
    ),
    CliqueFinding(
        "clique-32b-negative",
        "32B has a negative clique of 4 tasks",
        "32B",
        "negative",
        (4,),
        "figure 10",
    ),
)


def _decide_clique(finding: CliqueFinding, study: Study) -> Claim:
    model = named(study.models, finding.size)
    if model is None:
        return _claim(finding, None, f"needs a model named {finding.size}")
    found = graph.cliques(study.mu.sel(model=[model]), sign=finding.sign)[model]

    def largest(choice: Choice) -> int:
        level = 0.05 / (2 if choice.two_sided else 1)
        kept = [c for c in found if c.p_value < level and (c.every_seed or not choice.every_seed)]
        return max((c.size for c in kept), default=0)

    text = f"the largest significant {finding.sign} one has {largest(Choice())} tasks"
    if found and (text_sizes := sum(c.size == found[0].size for c in found)) > 1:
        text += f" ({text_sizes} of that size)"
    return _claim(
        finding,
        Choice(),
        text,
        holds=lambda choice: largest(choice) in finding.tasks,
        options=("two_sided", "every_seed"),
    )
