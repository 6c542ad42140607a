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
from jaxtyping import Float

from transferscope.analysis import Claim, Quantity, Sign, graph
from transferscope.analysis.model_effects import AXES, ModelEffects
from transferscope.analysis.paper_findings import FINDINGS, CliqueFinding, Finding, Panel, named
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import averaged
from transferscope.matrix.task_effects import same_task, signed_parts
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
    """The effects of all models, with the values of each choice computed once."""

    def __init__(self, mu: xr.DataArray, effects: dict[str, ModelEffects]) -> None:
        self.mu, self.effects = averaged(mu).transpose("model", "seed", "source", "target"), effects
        self.itself = same_task(mu["source"].values.tolist(), mu["target"].values.tolist())
        self.models: tuple[str, ...] = tuple(mu["model"].values.tolist())
        self.values = cache(self._values)
        known = self.mu.notnull().any(("seed", "target"))
        self._lacking = (known.any("model") & ~known).any("source").values

    def gap(self, *models: str) -> str:
        """A model that lacks a source of another, as of a study that was stopped: its averages are
        over other sources."""
        lacking = np.array(self.models)[self._lacking].tolist()
        found = [model for model in lacking if model in models]
        return f"needs effects of every source in {found[0]}" if found else ""

    def _values(
        self, quantity: Quantity, sign: Sign, choice: Variant
    ) -> Float[np.ndarray, "model seed task"]:
        measured, axis = self.mu.values.astype(float), AXES[quantity]
        if choice.mean_first:
            measured = known_mean(measured, axis=1)[:, None]
        if not choice.include_self:
            measured = np.where(self.itself, np.nan, measured)
        considered = measured.shape[axis] if choice.all_tasks else None
        return getattr(signed_parts(measured, axis=axis, considered=considered), sign)

    def panel(
        self, finding: Finding, choice: Variant, values: list[np.ndarray] | None = None
    ) -> Panel:
        """The finding's values under a choice, or the given ones."""
        if values is None:
            plain = replace(choice, welch=False, two_sided=False)  # values need no test
            means = known_mean(self.values(finding.quantity, finding.sign, plain), axis=1)
            values = list(means[..., None])
        transferred = finding.quantity == "transferability"
        dim, prefix = ("source", "source_") if transferred else ("target", "")
        categories = {by: self.mu[prefix + by].values for by in ("level", "granularity")}
        return Panel(self.models, tuple(self.mu[dim].values.tolist()), values, categories)

    def drawn(self, finding: Finding, choice: Variant) -> Panel | None:
        """The finding's values in every bootstrap draw."""
        draws = [
            one.of_tasks(finding.quantity, finding.sign, include_self=choice.include_self)
            for one in self.effects.values()
            if one.has_intervals
        ]
        return self.panel(finding, choice, draws) if len(draws) == len(self.models) else None

    def p_values(self, finding: Finding, choice: Variant) -> dict[str, float]:
        """The tested task's p-value in each model."""
        assert finding.test is not None
        # A test over seeds cannot use their mean.
        plain = replace(choice, mean_first=False, welch=False, two_sided=False)
        values = self.values(finding.quantity, finding.sign, plain)
        found = unpaired_t(
            values[..., self.panel(finding, choice).tasks.index(finding.test[0])],
            known_mean(values, axis=-1),
            1 if finding.sign == "positive" else -1,
            pooled=not choice.welch,
            sides=2 if choice.two_sided else 1,
        )
        return dict(zip(self.models, found.tolist(), strict=True))


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
    gap = finding.missing(panel) or study.gap(*study.models)
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
    elif drawn := study.drawn(finding, paper):
        support = float(np.mean(finding.holds(drawn)))
    return _claim(finding, text, support, (paper, holds, options))


def _decide_clique(finding: CliqueFinding, study: _Study) -> Claim:
    model = named(study.models, finding.size)
    if model is None:
        return _claim(finding, f"needs a model named {finding.size}")
    given = len({*study.mu["source"].values} & {*study.mu["target"].values})
    if given < PAPERS_TASKS:  # fewer tasks have smaller cliques
        return _claim(finding, f"needs {PAPERS_TASKS} tasks, and {given} given")
    if gap := study.gap(model):
        return _claim(finding, gap)
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
