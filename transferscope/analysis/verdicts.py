"""Whether each finetune harms, in points of accuracy, and what would settle it.

In:   one model's `ModelEffects`, its cells, how its adapters answer.
Out:  a `Verdict` for each source, and whether more seeds or items would help more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from transferscope.analysis import Cell
from transferscope.analysis.model_effects import ModelEffects
from transferscope.analysis.verdict import MEAN, Kind, Verdict, worse
from transferscope.matrix.collapse import NEARLY, Behaviour
from transferscope.stats import over_targets, stacked
from transferscope.tasks.untrusted import shown

MOST_ITEMS = 100_000
"""No number of items above this is suggested."""
NAMED = 3
"""Targets that a sentence names."""
SEEDS_HELP_MORE = 0.5
"""Above this `ModelAnalysis.seed_share`, one more seed narrows intervals more than more items."""


def verdicts(
    one: ModelEffects, cells: Mapping[str, Mapping[str, Cell]], behavior: Behaviour | None
) -> dict[str, Verdict]:
    """Every source's verdict; empty where accuracies or intervals are unknown."""
    if not (one.has_intervals and one.in_accuracy):
        return {}
    alpha, tolerance = one.alpha, one.settings.tolerance
    effect = stacked([target.effect for target in one.runs.counted])
    known = np.array([[math.isfinite(c.p_value) for c in cells[s].values()] for s in one.sources])
    p = np.where(known, effect.p, np.nan)
    losses = np.where(np.isfinite(p), -effect.lower(alpha), np.nan)
    times = effect.times_needed(tolerance)
    others = np.where(one.runs.left_out | one.itself, np.nan, one.runs.changes)
    mean = over_targets(one.runs.counted, others)
    ends, names = np.stack(mean.interval(alpha), axis=-1).tolist(), [*one.targets, MEAN]
    changes = np.column_stack([effect.change, mean.change])
    # The mean over one other target is no second question.
    several = np.isfinite(others).any(axis=0).sum(axis=-1) > 1
    every_p = np.column_stack([p, np.where(several, mean.p, np.nan)])
    found: dict[str, Verdict] = {}
    for i, source in enumerate(one.sources):
        lost = worse(changes[i], every_p[i], alpha)
        harmed = [names[j] for j in np.argsort(changes[i]) if lost[j]]
        collapsed = _collapsed(behavior, source, one.targets)
        tested = np.isfinite(p[i])
        where = int(np.nanargmax(losses[i])) if tested.any() else None
        kind: Kind = "not settled"
        if harmed or collapsed:
            kind = "harms"
        elif where is None:
            kind = "nothing to test"
        elif tested.all() and losses[i, where] <= tolerance:
            kind = "safe"
        needed = math.inf
        if where is not None and kind == "not settled" and losses[i, where] > tolerance:
            needed = times[i, where] * (cells[source][one.targets[where]].n or math.nan)
        found[source] = Verdict(
            kind=kind,
            harmed=harmed,
            collapsed=collapsed,
            loss=math.nan if where is None else float(losses[i, where]),
            where="" if where is None else one.targets[where],
            needed=math.ceil(needed) if needed <= MOST_ITEMS else None,
            mean=float(mean.change[i]),
            mean_ci=tuple(ends[i]),
            untested=[t for t, known in zip(one.targets, tested, strict=True) if not known],
        )
    return found


def _collapsed(behavior: Behaviour | None, source: str, targets: tuple[str, ...]) -> list[str]:
    """Targets to which most of the source's seeds give one answer, and the base does not nearly."""
    if behavior is None:
        return []
    tuned, base = behavior.sources.get(source, {}), behavior.base
    return [
        target
        for target in targets
        if target in tuned
        and 2 * len(tuned[target].collapsed) > tuned[target].seeds
        and (target not in base or max(base[target].letters, default=0) < NEARLY)
    ]


def seed_share(one: ModelEffects) -> dict[str, float]:
    """How much of the squared reach of a target's intervals is due to seeds, mean over sources."""
    effect = stacked([each.effect for each in one.runs.counted])
    with np.errstate(invalid="ignore", divide="ignore"):
        of_items = replace(effect, seeds=np.zeros_like(effect.seeds)).reach(one.alpha) ** 2
        items = of_items / effect.reach(one.alpha) ** 2
    share = np.where(np.isfinite(items) & one.repeated, 1 - items, np.nan)
    known = np.isfinite(share).sum(axis=0)
    mean = np.nansum(share, axis=0) / np.where(known > 0, known, np.nan)
    return dict(zip(one.targets, mean.tolist(), strict=True))


def seeds_or_items(seeds: int, shares: Mapping[str, float | None]) -> str:
    """Whether one more seed or more items would make intervals narrower, in a sentence.

    A rule that looks at widths alone, never at signs, so that following it biases nothing.

    Args:
        shares: `ModelAnalysis.seed_share`.
    """
    known = {name: share for name, share in shares.items() if share is not None}
    known = {name: share for name, share in known.items() if math.isfinite(share)}
    if seeds == 1:
        return "A second seed would help most: with one, how far seeds differ is unknown."
    if not known:
        return ""
    by_seeds = [shown(name) for name, share in known.items() if share > SEEDS_HELP_MORE]
    if not by_seeds:
        return "More items would help more than one more seed, on every target."
    if len(by_seeds) == len(known):
        return "One more seed would help more than more items, on every target."
    some = ", ".join(by_seeds[:NAMED]) + ", .." * (len(by_seeds) > NAMED)
    of = f"{len(by_seeds)} of {len(known)} targets ({some})"
    return f"One more seed would help more than more items on {of}, more items on the others."
