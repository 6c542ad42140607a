"""Decide the paper's findings for the given models, under every defensible choice.

Each is decided as the paper does, again under each alternative (self-transfer counted or not, N,
seeds averaged first or last, test, tail), and in every bootstrap draw.

In:   mu as an `xarray.DataArray` (model, seed, source, target), models in size order; the models'
      effects.
Out:  a list of `analysis.Claim`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from transferscope.analysis import Claim, Quantity, Sign, graph
from transferscope.analysis.model_effects import ModelEffects
from transferscope.analysis.paper_findings import FINDINGS, CliqueFinding, Finding, Panel, named
from transferscope.matrix import task_effects
from transferscope.stats.significance import unpaired_t

if TYPE_CHECKING:
    import xarray as xr

PAPERS_TASKS = 13


@dataclass(frozen=True)
class Variant:
    """One way to analyze; the defaults are the paper's."""

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
"""The meaning of each choice when it is False, and when it is True."""


class _Study:
    """The matrix, with the values and tests of each choice computed once."""

    def __init__(self, mu: xr.DataArray, effects: dict[str, ModelEffects]) -> None:
        self.mu, self.effects = mu, effects
        self.models = tuple(mu["model"].values.tolist())
        self.values = cache(self._values)
        self.means = cache(self._means)
        self.tests = cache(self._tests)

    def _values(self, quantity: Quantity, choice: Variant) -> xr.Dataset:
        mu = self.mu.mean("seed", keepdims=True) if choice.mean_first else self.mu
        other = "target" if quantity == "transferability" else "source"
        considered = self.mu.sizes[other] if choice.all_tasks else None
        effect = getattr(task_effects, quantity)(
            mu, include_self=choice.include_self, considered=considered
        )
        return effect.transpose("model", "seed", ...)

    def _means(self, quantity: Quantity, sign: Sign, choice: Variant) -> Panel:
        means = self.values(quantity, choice)[sign].mean("seed").values
        return self._panel(quantity, [row[:, None] for row in means])

    def _panel(self, quantity: Quantity, values: list[np.ndarray]) -> Panel:
        dim, prefix = ("source", "source_") if quantity == "transferability" else ("target", "")
        categories = {by: self.mu[prefix + by].values for by in ("level", "granularity")}
        return Panel(self.models, tuple(self.mu[dim].values.tolist()), values, categories)

    def panel(self, finding: Finding, choice: Variant) -> Panel:
        """The finding's values under a choice."""
        plain = replace(choice, welch=False, two_sided=False)  # values need no test
        return self.means(finding.quantity, finding.sign, plain)

    def drawn(self, finding: Finding) -> Panel | None:
        """The finding's values in every bootstrap draw."""
        draws = [
            one.of_tasks(finding.quantity, finding.sign, include_self=finding.include_self)
            for one in self.effects.values()
        ]
        known = [values for values in draws if values is not None]
        complete = len(known) == len(self.models)
        return self._panel(finding.quantity, known) if complete else None

    def _tests(self, quantity: Quantity, sign: Sign, choice: Variant) -> np.ndarray:
        """The p-value of every task in every model, (model, task)."""
        plain = replace(choice, welch=False, two_sided=False)
        effect = self.values(quantity, plain)[sign]
        return unpaired_t(
            effect.values,
            effect.mean(str(effect.dims[-1])).values[..., None],
            1 if sign == "positive" else -1,
            pooled=not choice.welch,
            sides=2 if choice.two_sided else 1,
        )

    def p_values(self, finding: Finding, choice: Variant) -> dict[str, float]:
        """The tested task's p-value in each model."""
        assert finding.test is not None
        # A test over seeds cannot use their mean.
        p_values = self.tests(finding.quantity, finding.sign, replace(choice, mean_first=False))
        column = p_values[:, self.panel(finding, choice).tasks.index(finding.test[0])]
        return dict(zip(self.models, column.tolist(), strict=True))


def decide_claims(mu: xr.DataArray, effects: dict[str, ModelEffects]) -> list[Claim]:
    """Every finding, decided.

    Returns:
        One claim for each finding: `holds` under the paper's choices, `sensitive_to` the choices
        that reverse it, `support` the share of bootstrap draws in which it holds (NaN without
        draws, and for findings that rest on a test).
    """
    study = _Study(mu, effects)
    return [
        _decide(each, study) if isinstance(each, Finding) else _decide_clique(each, study)
        for each in FINDINGS
    ]


def _decide(finding: Finding, study: _Study) -> Claim:
    paper = Variant(include_self=finding.include_self)
    panel = study.panel(finding, paper)
    gap = finding.missing(panel)
    if finding.test and study.mu.sizes["seed"] < 2:
        gap = gap or "needs more than one seed"
    if gap:
        return _claim(finding, gap)

    def holds(choice: Variant) -> bool:
        right = bool(finding.holds(study.panel(finding, choice))[0])
        if finding.test is None:
            return right
        _, level, sizes = finding.test
        p_values = study.p_values(finding, choice)
        models = [named(study.models, size) for size in sizes] if sizes else study.models
        return right and all(p_values[model] < level for model in models if model)

    options = ["include_self", "all_tasks", "mean_first"]
    text, support = finding.evidence(panel), np.nan
    if finding.test:
        options += ["welch", "two_sided"]
        for model, p in study.p_values(finding, paper).items():
            known = "no p-value, as no seed differs" if np.isnan(p) else f"p = {p:.2g}"
            text += f"; {known} ({model})"
    elif drawn := study.drawn(finding):
        support = float(np.mean(finding.holds(drawn)))
    return _claim(finding, text, support, (paper, holds, options))


def _decide_clique(finding: CliqueFinding, study: _Study) -> Claim:
    model = named(study.models, finding.size)
    if model is None:
        return _claim(finding, f"needs a model named {finding.size}")
    given = len({*study.mu["source"].values} & {*study.mu["target"].values})
    if given < PAPERS_TASKS:  # fewer tasks have smaller cliques
        return _claim(finding, f"needs {PAPERS_TASKS} tasks, and {given} given")
    found = graph.cliques(study.mu.sel(model=[model]), sign=finding.sign)[model]

    def sizes(choice: Variant) -> list[int]:
        level = 0.05 / (2 if choice.two_sided else 1)
        kept = [c for c in found if c.p_value < level and (c.every_seed or not choice.every_seed)]
        return [c.size for c in kept]

    def holds(choice: Variant) -> bool:
        return max(sizes(choice), default=0) in finding.tasks

    significant = sizes(Variant())
    text = f"no {finding.sign} one is significant"
    if significant:
        text = f"the largest significant {finding.sign} one has {max(significant)} tasks"
        if (same := significant.count(max(significant))) > 1:
            text += f" ({same} of that size)"
    return _claim(finding, text, np.nan, (Variant(), holds, ["two_sided", "every_seed"]))


def _claim(
    finding: Finding | CliqueFinding,
    text: str,
    support: float = np.nan,
    decision: tuple[Variant, Callable[[Variant], bool], list[str]] | None = None,
) -> Claim:
    """The claim, with the paper's choice and all combinations of the alternatives tried."""
    outcome, sensitive, tried = None, [], []
    if decision:
        paper, holds, options = decision
        holds = cache(holds)
        outcome = holds(paper)
        for name in options:
            flipped = replace(paper, **{name: not getattr(paper, name)})
            if holds(flipped) != outcome:
                sensitive.append(WORDS[name][getattr(flipped, name)])
        combinations = product([False, True], repeat=len(options))
        tried = [holds(Variant(**dict(zip(options, c, strict=True)))) for c in combinations]
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
