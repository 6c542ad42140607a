"""What the page says first: what happened, and which finetunes break what.

Every sentence is made from the numbers and carries their uncertainty. "Beyond noise" follows the
one rule of `noise`.

In:   an `Analysis`.
Out:  sentences and rows of text. Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.noise import beyond_noise
from transferscope.plots.labels import (
    MEASURES,
    Labels,
    between,
    chance,
    clean,
    counted,
    has_interval,
    labels,
    link,
    model_labels,
    percent,
    same_task,
    signed,
)
from transferscope.plots.points import base_accuracy, beside, items
from transferscope.selection.evidence import FEWEST, matrix_prior, normal_with_test

BY_CHANCE = "; without any transfer up to about {count} would look so"


class Pair(NamedTuple):
    """The effect of one source on one target."""

    source: str
    target: str
    cell: Cell


class Account(NamedTuple):
    """What happened in one model."""

    model: str
    sentences: list[str]
    averages: str
    """That of them which says what the average source does."""
    pairs: dict[str, str]
    """`A → B`, as a sentence writes it, and its address in the explorer."""


class Harm(NamedTuple):
    """A loss beyond noise."""

    source: str
    target: str
    pair: tuple[str, str]
    """Both names as they were given."""
    link: str
    """The address of its cell in the explorer."""
    model: str
    effect: str
    interval: str
    change: str
    """In points of accuracy; empty where they are not known."""
    base: str
    """The target's accuracy without finetuning."""
    standing: str
    sure: bool
    """Whether it stands after correction for the number of tests."""


def happened(analysis: Analysis) -> list[Account]:
    """About each model: how many effects, how large, the two extremes and what to make of them."""
    names = labels(analysis)
    return [
        Account(
            label,
            list(_sentences(analysis, analysis.models[name], names)),
            _how_large(analysis.models[name], MEASURES[analysis.settings.measure]),
            {
                _arrow(pair, names): link(
                    model=label, source=names.long[pair.source], target=names.long[pair.target]
                )
                for pair in _ends(analysis.models[name], analysis.settings.alpha).values()
            },
        )
        for name, label in model_labels(analysis).items()
    ]


def measured(model: ModelAnalysis, *, own: bool = False) -> list[Pair]:
    """The measured effects of one model; `own` counts those of tasks on themselves too."""
    return [
        Pair(source, target, cell)
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if math.isfinite(cell.mean) and (own or not same_task(source, target))
    ]


def _nothing(model: ModelAnalysis) -> str:
    """Why there is no effect to speak of."""
    said = "No effect of one task on another is known"
    if model.gaps.undefined and model.gaps.undefined == model.gaps.cells - model.gaps.missing:
        return f"{said}: the base is at or above the ceiling of every target, which leaves no gap."
    return f"{said}."


def _sentences(analysis: Analysis, model: ModelAnalysis, names: Labels) -> Iterator[str]:
    pairs = measured(model)
    if not pairs:
        yield _nothing(model)
        return
    yield from _learned(model, analysis.settings.alpha, MEASURES[analysis.settings.measure], names)
    yield _how_many(pairs, analysis.settings.alpha)
    yield _how_large(model, MEASURES[analysis.settings.measure])
    alpha = analysis.settings.alpha
    ends = _ends(model, alpha)
    said = [_extreme(pair, sign, analysis, model, names) for sign, pair in ends.items()]
    yield "T" + "; ".join(said)[1:] + "." if said else "No effect differs from 0."
    # A collapse is no luck of the draw.
    lucky = {sign: pair for sign, pair in ends.items() if not _collapsed(pair, model)}
    if lucky and len(pairs) >= FEWEST:
        which = "it" if len(ends) == 1 else "the gain" if 1 in lucky else "the loss"
        yield _overstated(list(lucky.values()), which, len(pairs), model, alpha)


def _learned(model: ModelAnalysis, alpha: float, measure: str, names: Labels) -> Iterator[str]:
    """Whether finetunes learned their own task: of one that did not, what can transfer?"""
    own = [pair for pair in measured(model, own=True) if same_task(pair.source, pair.target)]
    if not own:
        return
    gained = [pair for pair in own if pair.cell.mean > 0]
    mean = signed(sum(pair.cell.mean for pair in own) / len(own))
    count = len(model.pgf)
    whose = "its" if 1 in (count, len(gained)) else "their"
    of_all = f"all {count}: " if count > 1 else ""
    if len(own) < count:
        of_all = f"the {len(own)} known: "
    average = " on average" if len(own) > 1 else ""
    said = f"Of {counted(count, 'finetune')}, {len(gained)} gained on {whose} own task"
    said += f" ({of_all}{mean} {measure}{average})"
    judged = [beyond_noise(pair.cell, alpha) for pair in gained]
    if gained and None not in judged:
        said += f", {sum(map(bool, judged))} beyond noise"
    idle = [names.long[pair.source] for pair in own if pair not in gained]
    yield said + (f"; not {', '.join(idle)}." if 0 < len(idle) <= 3 and gained else ".")


def _overstated(
    ends: list[Pair], which: str, count: int, model: ModelAnalysis, alpha: float
) -> str:
    """What to expect of the largest effects: they are so partly by luck. `which` names a single."""
    both = "both are" if len(ends) > 1 else f"{which} is"
    said = f"Picked from {count:,} for their size, {both} likely overstated"
    said = said if len(ends) > 1 else said.replace("their", "its")
    likely = matrix_prior(model.pgf, alpha)
    means = [likely.mean(normal_with_test(pair.cell, alpha)) for pair in ends] if likely else []
    if not means or not all(map(math.isfinite, means)):
        return said + "."
    return f"{said}: rather {' and '.join(map(signed, means))}, by what all effects are like."


def _how_many(pairs: list[Pair], alpha: float) -> str:
    judged = [pair for pair in pairs if beyond_noise(pair.cell, alpha) is not None]
    if not judged:
        were = f"{counted(len(pairs), 'effect')} of one task on another"
        return f"Measured: {were}. Nothing says how sure they are: no intervals could be made."
    clear = [pair.cell for pair in judged if beyond_noise(pair.cell, alpha)]
    helped = sum(cell.mean > 0 for cell in clear)
    sure = sum(cell.q_value <= alpha for cell in clear)
    said = (
        f"Of {counted(len(judged), 'effect')} of one task on another, {helped} helped and "
        f"{len(clear) - helped} harmed beyond noise"
    )
    if not clear:
        return said + "."
    by_chance = BY_CHANCE.format(count=max(1, round(alpha * len(judged))))
    holds = "none holds" if not sure else f"{sure} {'holds' if sure == 1 else 'hold'}"
    return f"{said}{by_chance}, and {holds} after correction for {counted(len(judged), 'test')}."


def _how_large(model: ModelAnalysis, measure: str) -> str:
    """The averages, with what no transfer would give and what is left beyond a placebo."""
    average = model.average.transferability
    floor = model.noise_floor.transferability if model.noise_floor else None
    parts = []
    for sign, word in (("positive", "helped"), ("negative", "harmed")):
        value, ranges = getattr(average, sign), {"in another such study": getattr(average.ci, sign)}
        by_chance = getattr(floor.ci, sign) if floor else (math.nan, math.nan)
        ranges["without any transfer"] = by_chance
        known = [f"{where} {between(ci, 3)}" for where, ci in ranges.items() if has_interval(ci)]
        said = f"{word} by {signed(value, 3)} {measure}"
        said += f" ({'; '.join(known)})" if known else ""
        if by_chance[0] <= value <= by_chance[1]:
            said += ", no more than chance gives"
        parts.append(said)
    said = f"The average source {parts[0]}, and {parts[1]}"
    if (adjusted := model.adjusted) is not None:
        control = model.controls[adjusted.placebo].mean
        said += (
            f"; a placebo with nothing to teach ({clean(adjusted.placebo)}) moved a target by "
            f"{signed(control.mean, 3)}{_bracket(control.ci, 3)} on average"
            f"{_fallen(model, adjusted.placebo)}, and the mean effect beyond it is "
            f"{signed(adjusted.mean.mean, 3)}{_bracket(adjusted.mean.ci, 3)}"
        )
    return said + "."


def _fallen(model: ModelAnalysis, placebo: str) -> str:
    """How often the placebo itself answers one letter, which is no yardstick."""
    row = model.behaviour.controls.get(placebo, {}) if model.behaviour else {}
    fallen = sum(bool(answers.collapsed) for answers in row.values())
    return f" (collapsed to one letter on {fallen} of {len(row)} targets)" if fallen else ""


def _ends(model: ModelAnalysis, alpha: float) -> dict[int, Pair]:
    """By sign the largest gain and loss that hold after correction, or else are beyond noise, or
    else were seen."""
    found = {}
    for sign in (1, -1):
        side = [pair for pair in measured(model) if sign * pair.cell.mean > 0]
        clear = [pair for pair in side if beyond_noise(pair.cell, alpha)]
        sure = [pair for pair in clear if pair.cell.q_value <= alpha]
        if side:
            found[sign] = max(sure or clear or side, key=lambda pair: sign * pair.cell.mean)
    return found


def _collapsed(pair: Pair, model: ModelAnalysis) -> bool:
    answers = model.behaviour.sources if model.behaviour else {}
    found = answers.get(pair.source, {}).get(pair.target)
    return found is not None and bool(found.collapsed)


def _arrow(pair: Pair, names: Labels) -> str:
    return f"{names.long[pair.source]} → {names.long[pair.target]}"


def _extreme(pair: Pair, sign: int, analysis: Analysis, model: ModelAnalysis, names: Labels) -> str:
    alpha = analysis.settings.alpha
    clear = bool(beyond_noise(pair.cell, alpha))
    word = "gain" if sign > 0 else "loss"
    told = "seen"
    if clear:
        told = "that holds" if pair.cell.q_value <= alpha else "beyond noise"
    head = f"largest {word} {told}"
    said = f"the {head} is {_arrow(pair, names)}, {signed(pair.cell.mean)}{_bracket(pair.cell.ci)}"
    if change := beside(analysis, model, pair.target, pair.cell):
        said += f" or {change}"
    said += items(model, pair.target, pair.cell)
    return f"{said}{_doubt(pair, clear, model, alpha)}"


def _doubt(pair: Pair, clear: bool, model: ModelAnalysis, alpha: float) -> str:
    """What speaks against an extreme effect."""
    if _collapsed(pair, model):
        return ", where the answers collapsed to one letter: no transfer"
    if beyond_noise(pair.cell, alpha) is None:
        return ""
    if not clear:
        return ", which noise can explain"
    if pair.cell.q_value <= alpha:
        return ""
    return f", not sure among so many (q {chance(pair.cell.q_value)})"


def _bracket(ci: tuple[float, float], digits: int = 2) -> str:
    return f" ({between(ci, digits)})" if has_interval(ci) else ""


def harms(analysis: Analysis) -> list[Harm]:
    """Every loss beyond noise in any model, those that stand after correction first."""
    names, alpha = labels(analysis), analysis.settings.alpha
    found: list[tuple[tuple[bool, float], Harm]] = []
    for name, label in model_labels(analysis).items():
        model = analysis.models[name]
        pairs = measured(model, own=True)
        for source, target, cell in pairs:
            if cell.mean >= 0 or not beyond_noise(cell, alpha):
                continue
            sure = cell.q_value <= alpha
            row = Harm(
                source=names.long[source],
                target=names.long[target]
                + (" (its own task)" if same_task(source, target) else ""),
                pair=(source, target),
                link=link(model=label, source=names.long[source], target=names.long[target]),
                model=label,
                effect=signed(cell.mean),
                interval=between(cell.ci),
                change=beside(analysis, model, target, cell),
                base=percent(base_accuracy(model, target, cell)) + items(model, target, cell),
                standing=_standing(Pair(source, target, cell), model, sure),
                sure=sure,
            )
            found.append(((not sure, cell.mean), row))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _standing(pair: Pair, model: ModelAnalysis, sure: bool) -> str:
    parts = []
    if _collapsed(pair, model):
        parts.append("answers collapsed to one letter")
    if math.isfinite(pair.cell.q_value):
        word = "holds after correction" if sure else "may be chance among so many tests"
        parts.append(f"{word} (q {chance(pair.cell.q_value)})")
    return "; ".join(parts)
