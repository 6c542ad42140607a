"""The start of the page: what happened, and which finetunes break what.

Every sentence comes from the numbers and carries their uncertainty; `noise` defines "beyond
noise". Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.accuracy_points import base_accuracy, beside, items, of_effect, points
from transferscope.plots.labels import (
    MEASURES,
    Labels,
    clean,
    counted,
    labels,
    link,
    same_task,
    spelled,
)
from transferscope.plots.numbers import between, bracketed, chance, has_interval, percent, signed
from transferscope.selection import Mixture, mixtures
from transferscope.selection.evidence import FEWEST, matrix_prior, normal_with_test

SOURCES = 4
"""Sources of a mixture that are named."""


class Pair(NamedTuple):
    """The effect of one source on one target."""

    source: str
    target: str
    cell: Cell


class Account(NamedTuple):
    """What happened in one model."""

    model: str
    sentences: list[str]
    """One or more sentences a paragraph."""
    averages: str
    """The paragraph on the average source."""
    pairs: dict[str, str]
    """{`A → B` as a sentence writes it: its address in the explorer}"""


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
    """In points of accuracy; empty where they are unknown."""
    base: str
    """The target's base accuracy."""
    evidence: str
    sure: bool
    """Whether it holds after correction for the number of tests."""


def happened(analysis: Analysis) -> list[Account]:
    """For each model: how many effects, how large, the two extremes and how certain they are."""
    names, accounts = labels(analysis), []
    for name, label in names.models.items():
        model = analysis.models[name]
        sentences = list(_sentences(analysis, model, names))
        pairs = {
            _arrow(pair, names): link(
                model=label, source=names.long[pair.source], target=names.long[pair.target]
            )
            for pair in _ends(model, analysis.settings.alpha).values()
        }
        averages = _averages(model, MEASURES[analysis.settings.measure])
        accounts.append(Account(label, sentences, averages, pairs))
    return accounts


def measured(model: ModelAnalysis, *, own: bool = False) -> list[Pair]:
    """The measured effects of one model; `own` includes those of tasks on themselves."""
    return [
        Pair(source, target, cell)
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if math.isfinite(cell.mean) and (own or not same_task(source, target))
    ]


def _sentences(analysis: Analysis, model: ModelAnalysis, names: Labels) -> Iterator[str]:
    pairs, alpha = measured(model), analysis.settings.alpha
    measure, gaps = MEASURES[analysis.settings.measure], model.gaps
    if not pairs:
        no_gap = gaps.undefined and gaps.undefined == gaps.cells - gaps.missing
        why = ": the base is at or above the ceiling of every target" if no_gap else ""
        yield f"No effect of one task on another is known{why}."
        return
    yield from _learned(model, alpha, measure, names)
    yield _how_many(pairs, alpha)
    yield _averages(model, measure)
    ends = _ends(model, alpha)
    extremes = [_extreme(pair, analysis, model, names) for pair in ends.values()]
    yield " ".join(extremes) or "No effect differs from 0."
    # A collapse is not luck, so it is not overstated.
    lucky = {sign: pair for sign, pair in ends.items() if not collapsed(pair, model)}
    if lucky and len(pairs) >= FEWEST:
        which = "both are" if len(lucky) > 1 else "it is"
        if len(lucky) < len(ends):
            which = "the gain is" if 1 in lucky else "the loss is"
        size = "their size" if len(lucky) > 1 else "its size"
        text = f"Picked from {len(pairs):,} for {size}, {which} likely overstated"
        prior = matrix_prior(model.pgf, alpha)
        cells = [pair.cell for pair in lucky.values()] if prior else []
        means = [prior.mean(normal_with_test(cell, alpha)) for cell in cells] if prior else []
        if means and all(map(math.isfinite, means)):
            word = "estimates" if len(means) > 1 else "estimate"
            text += f"; shrinkage {word}: {', '.join(map(signed, means))}"
        yield f"{text}."


def _learned(model: ModelAnalysis, alpha: float, measure: str, names: Labels) -> Iterator[str]:
    """Whether finetunes learned the task they were trained on; without that nothing transfers."""
    own = [pair for pair in measured(model, own=True) if same_task(pair.source, pair.target)]
    if not own:
        return
    gained, count = [pair for pair in own if pair.cell.mean > 0], len(model.pgf)
    mean = signed(sum(pair.cell.mean for pair in own) / len(own))
    of_all = f"{mean} {measure}"
    if len(own) > 1 or len(own) < count:
        of_all = f"mean of {'all' if len(own) == count else 'the known'} {len(own)}: {of_all}"
    text = f"Of {counted(count, 'finetune')}, {len(gained)} improved the trained task ({of_all})"
    judged = [beyond_noise(pair.cell, alpha) for pair in gained]
    if gained and None not in judged:
        text += f", {sum(map(bool, judged))} beyond noise"
    idle = [names.long[pair.source] for pair in own if pair not in gained]
    yield text + (f". No gain: {', '.join(idle)}." if 0 < len(idle) <= 3 and gained else ".")


def _how_many(pairs: list[Pair], alpha: float) -> str:
    judged = [pair for pair in pairs if beyond_noise(pair.cell, alpha) is not None]
    if not judged:
        count = counted(len(pairs), "effect")
        unknown = "Their uncertainty is unknown: no intervals."
        return f"{count} of one task on another measured. {unknown}"
    clear = [pair.cell for pair in judged if beyond_noise(pair.cell, alpha)]
    helped = sum(cell.mean > 0 for cell in clear)
    text = (
        f"Of {counted(len(judged), 'effect')} of one task on another, {helped} helped and "
        f"{len(clear) - helped} harmed beyond noise."
    )
    if not clear:
        return text
    held, tests = sum(cell.q_value <= alpha for cell in clear), counted(len(judged), "test")
    text += f" Without any transfer, up to about {max(1, round(alpha * len(judged)))} would."
    holds = f"{held or 'none'} hold{'s' if held < 2 else ''}"
    return f"{text} After FDR correction for {tests}, {holds}."


def _averages(model: ModelAnalysis, measure: str) -> str:
    """The average source, beside what no transfer would give and beyond a placebo."""
    average = model.average.transferability
    floor = model.noise_floor.transferability if model.noise_floor else None
    sentences = []
    for sign, start in (("positive", "The average source helped"), ("negative", "It harmed")):
        value = getattr(average, sign)
        by_chance = getattr(floor.ci, sign) if floor else (math.nan, math.nan)
        ranges = {"in another such study": getattr(average.ci, sign)}
        ranges["without any transfer"] = by_chance
        known = [f"{where} {between(ci, 3)}" for where, ci in ranges.items() if has_interval(ci)]
        text = f"{start} by {signed(value, 3)} {measure}"
        text += f" ({'; '.join(known)})" if known else ""
        text += ", within the chance range" if by_chance[0] <= value <= by_chance[1] else ""
        sentences.append(f"{text}.")
    if (adjusted := model.adjusted) is not None:
        control, mean = model.controls[adjusted.placebo].mean, adjusted.mean
        row = model.behaviour.controls.get(adjusted.placebo, {}) if model.behaviour else {}
        fallen = sum(bool(answers.collapsed) for answers in row.values())
        where = f" It collapsed to one option on {fallen} of {len(row)} targets." * (fallen > 0)
        sentences.append(
            f"The placebo {clean(adjusted.placebo)} moved a target by {signed(control.mean, 3)}"
            f"{bracketed(control.ci, 3)} on average.{where} The mean effect beyond it is "
            f"{signed(mean.mean, 3)}{bracketed(mean.ci, 3)}."
        )
    return " ".join(sentences)


def _ends(model: ModelAnalysis, alpha: float) -> dict[int, Pair]:
    """{sign: the largest gain or loss}: of those that hold, else beyond noise, else of all."""
    found = {}
    for sign in (1, -1):
        side = [pair for pair in measured(model) if sign * pair.cell.mean > 0]
        clear = [pair for pair in side if beyond_noise(pair.cell, alpha)]
        held = [pair for pair in clear if pair.cell.q_value <= alpha]
        if side:
            found[sign] = max(held or clear or side, key=lambda pair: sign * pair.cell.mean)
    return found


def collapsed(pair: Pair, model: ModelAnalysis) -> bool:
    """Whether the adapter's answers collapsed to one option."""
    answers = model.behaviour.sources if model.behaviour else {}
    found = answers.get(pair.source, {}).get(pair.target)
    return found is not None and bool(found.collapsed)


def _arrow(pair: Pair, names: Labels) -> str:
    return f"{names.long[pair.source]} → {names.long[pair.target]}"


def _extreme(pair: Pair, analysis: Analysis, model: ModelAnalysis, names: Labels) -> str:
    """One of the two largest effects, and what speaks against it."""
    alpha, cell = analysis.settings.alpha, pair.cell
    beyond, held = beyond_noise(cell, alpha), cell.q_value <= alpha
    word = "gain" if cell.mean > 0 else "loss"
    which = " that holds" if beyond and held else " beyond noise" if beyond else ""
    text = f"The largest {word}{which} is {_arrow(pair, names)}, {signed(cell.mean)}"
    text += bracketed(cell.ci)
    if change := beside(analysis, model, pair.target, cell):
        text += f" or {change}"
    text += items(model, pair.target, cell)
    if collapsed(pair, model):
        return f"{text}, but its answers collapsed to one option: no transfer."
    if beyond is False:
        return f"{text}, within noise."
    if beyond and not held:
        return f"{text}, not significant after FDR correction (q {chance(cell.q_value)})."
    return f"{text}."


def harms(analysis: Analysis) -> list[Harm]:
    """Every loss beyond noise in any model, those that hold after correction first."""
    names, alpha = labels(analysis), analysis.settings.alpha
    found: list[tuple[tuple[bool, float], Harm]] = []
    for name, label in names.models.items():
        model = analysis.models[name]
        for pair in measured(model, own=True):
            source, target, cell = pair
            if cell.mean >= 0 or not beyond_noise(cell, alpha):
                continue
            held = cell.q_value <= alpha
            evidence = ["answers collapsed to one option"] if collapsed(pair, model) else []
            if math.isfinite(cell.q_value):
                word = "holds after correction" if held else "not significant after FDR correction"
                evidence.append(f"{word} (q {chance(cell.q_value)})")
            long = (names.long[source], names.long[target])
            row = Harm(
                source=long[0],
                target=long[1] + " (self-transfer)" * same_task(source, target),
                pair=(source, target),
                link=link(model=label, source=long[0], target=long[1]),
                model=label,
                effect=signed(cell.mean),
                interval=between(cell.ci),
                change=beside(analysis, model, target, cell),
                base=percent(base_accuracy(model, target, cell)) + items(model, target, cell),
                evidence="; ".join(evidence),
                sure=held,
            )
            found.append(((not held, cell.mean), row))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


class Advice(NamedTuple):
    """What to train on for one target."""

    target: str
    name: str
    """The target's name as it was given."""
    sources: list[tuple[str, str, str]]
    """Label, share and address of the sources with the largest shares."""
    more: int
    """Number of other sources."""
    expected: str
    interval: str
    change: str
    """`expected` in points of accuracy; empty where they are unknown."""
    note: str
    """A caveat on this target, such as the effect of a placebo alone."""


class Training(NamedTuple):
    """What to train on, target by target."""

    model: str
    """The model whose matrix was read: the last, hence largest."""
    rows: list[Advice]
    """The most promising first."""
    helpless: list[str]
    """Targets that no source is known to help, not even at an earlier checkpoint."""
    earlier: list[str]
    """Verdicts on the targets that only an earlier checkpoint helps."""
    notes: list[str]
    """Caveats on all targets."""


def training(analysis: Analysis) -> Training:
    """For each target a mixture of other tasks to train on, by the default rule."""
    names, model = labels(analysis), list(analysis.models)[-1]
    label = names.models[model]
    found = list(mixtures(analysis, model).values())
    found.sort(key=lambda mix: -mix.expected.mean if mix.choices else math.inf)

    def is_about(note: str, mix: Mixture) -> bool:
        return mix.target in note or " tie: " in note

    rows, helpless, earlier, notes = [], [], [], []
    for mix in found:
        target = names.long[mix.target]
        notes += [note for note in mix.notes if not is_about(note, mix)]
        if mix.choices:
            sources = []
            for choice in mix.choices[:SOURCES]:
                source = names.long[choice.source]
                address = link(model=label, source=source, target=target)
                sources.append((source, percent(choice.share), address))
            mean = mix.expected.mean
            change = of_effect(analysis, analysis.models[model], mix.target, mean)
            note = spelled(" ".join(each for each in mix.notes if is_about(each, mix)), names)
            more = max(0, len(mix.choices) - SOURCES)
            numbers = (signed(mean), between(mix.expected.ci), points(analysis, change))
            rows.append(Advice(target, mix.target, sources, more, *numbers, note))
        elif any(each.reason == "an earlier checkpoint" for each in mix.left_out):
            earlier.append(spelled(mix.verdict, names))
        else:
            helpless.append(target)
    return Training(label, rows, helpless, earlier, list(dict.fromkeys(notes)))
