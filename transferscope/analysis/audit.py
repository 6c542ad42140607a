"""The paper's findings, each tried on the models at hand and under every defensible choice.

Each is decided as the paper does, again under each alternative (self-transfer counted or not, N,
seeds averaged first or last, test, tail), and in every bootstrap draw.

In:   mu as an `xarray.DataArray` (model, seed, source, target), models in size order; the evidence.
Out:  a list of `analysis.Claim`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from transferscope.analysis import Claim, Sign, graph
from transferscope.analysis.bootstrap import Evidence, Quantity
from transferscope.analysis.claims import CLIQUES, FINDINGS, CliqueFinding, Finding, Panel, named
from transferscope.analysis.persona import unpaired_t
from transferscope.matrix import measure

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


ENDS: dict[Quantity, tuple[str, str]] = {
    "transferability": ("source", "source_"),
    "malleability": ("target", ""),
}
"""The dimension of a quantity's tasks, and what stands before the names of their categories."""


class Study:
    """The matrix, with what the findings ask of it computed once."""

    def __init__(self, mu: xr.DataArray, evidence: dict[str, Evidence]) -> None:
        self.mu = mu
        self.models = tuple(mu["model"].values.tolist())
        self.evidence = evidence
        self.tasks = {q: tuple(mu[dim].values.tolist()) for q, (dim, _) in ENDS.items()}
        self.categories = {
            q: {by: mu[prefix + by].values for by in ("level", "granularity")}
            for q, (_, prefix) in ENDS.items()
        }
        self.values = lru_cache(maxsize=None)(self._values)
        self.panels = lru_cache(maxsize=None)(self._panels)
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
        plain = replace(choice, welch=False, two_sided=False)  # no test is asked here
        return self.panels(finding.quantity, finding.sign, plain)

    def _panels(self, quantity: Quantity, sign: Sign, choice: Choice) -> Panel:
        effect = self.values(quantity, choice.include_self, choice.all_tasks, choice.mean_first)
        means = effect[sign].mean("seed").values
        return self._panel(quantity, [row[:, None] for row in means])

    def drawn(self, finding: Finding) -> Panel | None:
        """The finding's values in every bootstrap draw."""
        draws = [
            e.drawn(finding.quantity, finding.sign, include_self=finding.include_self)
            for e in self.evidence.values()
        ]
        known = [values for values in draws if values is not None]
        return self._panel(finding.quantity, known) if len(known) == len(draws) else None

    def _panel(self, quantity: Quantity, values: list[np.ndarray]) -> Panel:
        return Panel(self.models, self.tasks[quantity], values, self.categories[quantity])

    def p_values(self, finding: Finding, choice: Choice) -> dict[str, float]:
        """The tested task's p-value in each model."""
        assert finding.test is not None
        p_values = self.tests(finding.quantity, finding.sign, replace(choice, mean_first=False))
        column = p_values[:, self.tasks[finding.quantity].index(finding.test[0])]
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
    gap = finding.missing(panel)
    if finding.test and study.mu.sizes["seed"] < 2:
        gap = gap or "needs more than one seed"
    if gap:
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
        text += "".join(f"; {_p_value(p)} ({model})" for model, p in p_values.items())
    elif drawn := study.drawn(finding):
        support = float(np.mean(finding.holds(drawn)))
    return _claim(finding, paper, text, support, holds, options)


def _p_value(p: float) -> str:
    return "no p-value, as no seed differs" if np.isnan(p) else f"p = {p:.2g}"


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


def _decide_clique(finding: CliqueFinding, study: Study) -> Claim:
    model = named(study.models, finding.size)
    if model is None:
        return _claim(finding, None, f"needs a model named {finding.size}")
    found = graph.cliques(study.mu.sel(model=[model]), sign=finding.sign)[model]

    def sizes(choice: Choice) -> list[int]:
        level = 0.05 / (2 if choice.two_sided else 1)
        kept = [c for c in found if c.p_value < level and (c.every_seed or not choice.every_seed)]
        return [c.size for c in kept]

    def largest(choice: Choice) -> int:
        return max(sizes(choice), default=0)

    significant = sizes(Choice())
    text = f"no {finding.sign} one is significant"
    if significant:
        text = f"the largest significant {finding.sign} one has {max(significant)} tasks"
        if (same := significant.count(max(significant))) > 1:
            text += f" ({same} of that size)"
    return _claim(
        finding,
        Choice(),
        text,
        holds=lambda choice: largest(choice) in finding.tasks,
        options=("two_sided", "every_seed"),
    )
