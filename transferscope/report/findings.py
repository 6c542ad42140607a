"""What each finetune breaks, and what to train on.

Everything is decided in points of accuracy, with PGF beside. Every sentence comes from the numbers
and carries their uncertainty. Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy
from transferscope.analysis.headline import TaskPair, pairs
from transferscope.analysis.verdict import MEAN, beyond_noise
from transferscope.matrix.collapse import describe_answers
from transferscope.plots.accuracy_points import items, points, points_between, worded
from transferscope.plots.labels import labels, link, spelled
from transferscope.plots.numbers import UNKNOWN, chance, percent
from transferscope.selection import mixtures
from transferscope.selection.wording import probability


class Harm(NamedTuple):
    """A loss beyond noise, or collapsed answers."""

    source: str
    target: str
    pair: tuple[str, str]
    """Both names as they were given."""
    link: str
    """The address of its cell on the page."""
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


def one_answer(pair: TaskPair, model: ModelAnalysis) -> str:
    """`always A in 2 of 4 seeds` where answers collapsed to one option, else empty."""
    answers = model.behaviour.sources if model.behaviour else {}
    found = answers.get(pair.source, {}).get(pair.target)
    return describe_answers(found) if found is not None and found.collapsed else ""


def harms(analysis: Analysis) -> list[Harm]:
    """Every loss beyond noise and every collapse to one answer, the sure ones first."""
    found: list[tuple[tuple[bool, float], Harm]] = []
    for name in analysis.models:
        for pair in pairs(analysis, name):
            if row := _harm(analysis, name, pair):
                found.append(((not row.sure, pair.size), row))
        found += [((False, change), row) for change, row in _mean_harms(analysis, name)]
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _harm(analysis: Analysis, name: str, pair: TaskPair) -> Harm | None:
    model, alpha = analysis.models[name], analysis.settings.alpha
    source, target, cell = pair
    verdict = model.verdicts.get(source)
    worse = verdict is not None and target in verdict.harmed
    fallen = verdict is not None and target in verdict.collapsed
    loss = pair.size < 0 and bool(beyond_noise(cell, alpha))
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
    names, change = labels(analysis), worded(analysis, cell)
    long = (names.long[source], names.long[target])
    base = percent(base_accuracy(analysis, model, target, cell))
    return Harm(
        source=long[0],
        target=long[1] + " (self-transfer)" * pair.own,
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
