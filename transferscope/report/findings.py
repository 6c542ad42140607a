"""The start of the page: what happened, what each finetune breaks, and what to train on.

Everything is decided in points of accuracy, with PGF beside. Every sentence comes from the numbers
and carries their uncertainty. Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.verdict import MEAN, beyond_noise
from transferscope.matrix.collapse import describe_answers
from transferscope.plots.accuracy_points import (
    base_accuracy,
    items,
    points,
    points_between,
    size,
    with_measure,
    worded,
)
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
from transferscope.plots.numbers import (
    UNKNOWN,
    between,
    bracketed,
    chance,
    has_interval,
    percent,
    signed,
)
from transferscope.selection import mixtures
from transferscope.selection.wording import probability


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
    """A loss beyond noise, or collapsed answers."""

    source: str
    target: str
    pair: tuple[str, str]
    """Both names as they were given."""
    link: str
    """The address of its cell in the explorer."""
    model: str
    change: str
    """In points of accuracy where they are known."""
    interval: str
    beside: str
    """In the analysis's measure."""
    base: str
    """The target's base accuracy; empty where it is unknown."""
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
            for pair in extremes(model, analysis.settings.alpha).values()
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
        if math.isfinite(size(cell)) and (own or not same_task(source, target))
    ]


def _sentences(analysis: Analysis, model: ModelAnalysis, names: Labels) -> Iterator[str]:
    pairs, alpha = measured(model), analysis.settings.alpha
    if not pairs:
        yield "No effect of one task on another is known."
        return
    yield from _learned(analysis, model, names)
    yield _how_many(pairs, alpha)
    yield _averages(model, MEASURES[analysis.settings.measure])
    ends = extremes(model, alpha).values()
    yield " ".join(_extreme(p, analysis, model, names) for p in ends) or "No effect differs from 0."


def _learned(analysis: Analysis, model: ModelAnalysis, names: Labels) -> Iterator[str]:
    """Whether finetunes learned the task they were trained on; without that nothing transfers."""
    own = [pair for pair in measured(model, own=True) if same_task(pair.source, pair.target)]
    if not own:
        return
    gained, count = [pair for pair in own if size(pair.cell) > 0], len(model.pgf)

    def mean(name: str) -> float:
        values = [value for p in own if math.isfinite(value := getattr(p.cell, name))]
        return sum(values) / len(values) if values else math.nan

    parts = with_measure(analysis, mean("change"), mean("mean"))
    of_all = ", ".join(filter(None, parts))
    if len(own) > 1 or len(own) < count:
        of_all = f"mean of {'all' if len(own) == count else 'the known'} {len(own)}: {of_all}"
    text = f"Of {counted(count, 'finetune')}, {len(gained)} improved the trained task ({of_all})"
    judged = [beyond_noise(pair.cell, analysis.settings.alpha) for pair in gained]
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
    helped = sum(size(cell) > 0 for cell in clear)
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


def extremes(model: ModelAnalysis, alpha: float) -> dict[int, Pair]:
    """{sign: the largest gain or loss}: of those that hold, else beyond noise, else of all."""
    found, pairs = {}, measured(model)
    # Points and PGF do not compare: PGF decides only where no accuracy is known.
    pairs = [pair for pair in pairs if math.isfinite(pair.cell.change)] or pairs
    for sign in (1, -1):
        side = [pair for pair in pairs if sign * size(pair.cell) > 0]
        clear = [pair for pair in side if beyond_noise(pair.cell, alpha)]
        held = [pair for pair in clear if pair.cell.q_value <= alpha]
        if side:
            found[sign] = max(held or clear or side, key=lambda pair: sign * size(pair.cell))
    return found


def one_answer(pair: Pair, model: ModelAnalysis) -> str:
    """`always A in 2 of 4 seeds` where answers collapsed to one option, else empty."""
    answers = model.behaviour.sources if model.behaviour else {}
    found = answers.get(pair.source, {}).get(pair.target)
    return describe_answers(found) if found is not None and found.collapsed else ""


def _arrow(pair: Pair, names: Labels) -> str:
    return f"{names.long[pair.source]} → {names.long[pair.target]}"


def _extreme(pair: Pair, analysis: Analysis, model: ModelAnalysis, names: Labels) -> str:
    """One of the two largest effects, what speaks against it, and what to expect instead."""
    alpha, cell = analysis.settings.alpha, pair.cell
    beyond, held = beyond_noise(cell, alpha), cell.q_value <= alpha
    word = "gain" if size(cell) > 0 else "loss"
    which = " that holds" if beyond and held else " beyond noise" if beyond else ""
    text = f"The largest {word}{which} is {_arrow(pair, names)}, {worded(analysis, cell).text}"
    text += items(model, pair.target, cell)
    if one_answer(pair, model):
        return f"{text}, but its answers collapsed to one option: no transfer."
    if beyond is False:
        text += ", within noise"
    elif beyond and not held:
        text += f", not significant after FDR correction (q {chance(cell.q_value)})"
    # The largest of many effects are mostly overstated.
    if expected := points(cell.expected):
        text += f"; on new items and with new seeds expect {expected}"
    return f"{text}."


def harms(analysis: Analysis) -> list[Harm]:
    """Every loss beyond noise and every collapse to one answer, the sure ones first."""
    found: list[tuple[tuple[bool, float], Harm]] = []
    for name in analysis.models:
        for pair in measured(analysis.models[name], own=True):
            if row := _harm(analysis, name, pair):
                found.append(((not row.sure, size(pair.cell)), row))
        found += [((False, change), row) for change, row in _mean_harms(analysis, name)]
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _harm(analysis: Analysis, name: str, pair: Pair) -> Harm | None:
    names, model, alpha = labels(analysis), analysis.models[name], analysis.settings.alpha
    source, target, cell = pair
    verdict = model.verdicts.get(source)
    worse = verdict is not None and target in verdict.harmed
    fallen = verdict is not None and target in verdict.collapsed
    loss = size(cell) < 0 and bool(beyond_noise(cell, alpha))
    if not (worse or fallen or loss):
        return None
    held, q = loss and cell.q_value <= alpha, f" (q {chance(cell.q_value)})"
    evidence = [words] if (words := one_answer(pair, model)) else []
    evidence += ["holds after Bonferroni’s correction"] * worse
    if held:
        alone = bool(model.verdicts) and not worse
        evidence.append(f"holds after FDR correction{q}" + ", not after Bonferroni’s" * alone)
    if not (worse or fallen or held):
        among = f"all effects{q}" if math.isfinite(cell.q_value) else "the targets of this finetune"
        evidence.append(f"may be noise among {among}")
    long, change = (names.long[source], names.long[target]), worded(analysis, cell)
    base = percent(base_accuracy(model, target, cell))
    return Harm(
        source=long[0],
        target=long[1] + " (self-transfer)" * same_task(source, target),
        pair=(source, target),
        link=link(model=names.models[name], source=long[0], target=long[1]),
        model=names.models[name],
        change=change.value,
        interval=change.interval,
        beside=change.beside,
        base=base + items(model, target, cell),
        evidence="; ".join(evidence),
        sure=worse or fallen or held,
    )


def _mean_harms(analysis: Analysis, name: str) -> Iterator[tuple[float, Harm]]:
    """The finetunes that are worse on average over the other targets."""
    names, model = labels(analysis), analysis.models[name]
    for source, verdict in model.verdicts.items():
        if MEAN in verdict.harmed:
            yield (
                verdict.mean,
                Harm(
                    source=names.long[source],
                    target="on average",
                    pair=(source, MEAN),
                    link=link(model=names.models[name], task=names.long[source]),
                    model=names.models[name],
                    change=points(verdict.mean),
                    interval=points_between(verdict.mean_ci, verdict.mean),
                    beside="",
                    base=UNKNOWN,
                    evidence="holds after Bonferroni’s correction",
                    sure=True,
                ),
            )


class Advice(NamedTuple):
    """What to train on for one target."""

    target: str
    name: str
    """The target's name as it was given."""
    source: str
    link: str
    """The address of the source's effect on it."""
    expected: str
    """Change of accuracy to expect on new items and with new seeds."""
    measured: str
    helps: str
    """Probability of a gain of more than a point."""
    note: str
    """A caveat on this target, such as the effect of a placebo alone."""


class Training(NamedTuple):
    """What to train on, target by target."""

    model: str
    """The model whose matrix was read: the last, hence largest."""
    rows: list[Advice]
    """The most promising first."""
    helpless: list[str]
    """Targets to which no source is likely to add a point."""
    notes: list[str]
    """Caveats on all targets."""


def training(analysis: Analysis) -> Training:
    """For each target the other task to train on, by the default rule."""
    names, model = labels(analysis), list(analysis.models)[-1]
    found = list(mixtures(analysis, model).values())
    found.sort(key=lambda mix: -mix.expected if mix.choices else math.inf)
    rows, helpless, notes = [], [], []
    for mix in found:
        target = names.long[mix.target]
        notes += [note for note in mix.notes if mix.target not in note]
        if not mix.choices:
            helpless.append(target)
            continue
        (choice,) = mix.choices  # the default rule names one source
        source, cell = names.long[choice.source], analysis.models[model].pgf[choice.source]
        row = Advice(
            target=target,
            name=mix.target,
            source=source,
            link=link(model=names.models[model], source=source, target=target),
            expected=points(choice.expected),
            measured=worded(analysis, cell[mix.target]).text,
            helps=probability(choice.helps),
            note=spelled(" ".join(note for note in mix.notes if mix.target in note), names),
        )
        rows.append(row)
    return Training(names.models[model], rows, helpless, list(dict.fromkeys(notes)))
