"""Which finetunes are safe: those without harm, those of which nobody can tell, those that harm.

A finetune is only as safe as the study is able to see. What a small study could not have seen is
said beside what it did not see, and where that is all that a target had, nothing is called safe.

In:   an `Analysis`.
Out:  sentences and rows of text. Nothing here is escaped: the template does that.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, ModelAnalysis, Power
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.labels import (
    MEASURES,
    UNKNOWN,
    Labels,
    counted,
    has_interval,
    labels,
    listed,
    model_labels,
)
from transferscope.plots.points import base_accuracy, of_effect, points
from transferscope.report.findings import Pair, measured
from transferscope.report.summary import Line
from transferscope.stats import simulate
from transferscope.stats.detection import power

LITTLE = 0.1
"""Of a target whose base is right more seldom, the loss of all of it is no great loss."""
SEEDS = 4
"""As many as the paper has."""

FINE, UNTOLD, HARMS = range(3)
TITLES = {
    FINE: "Safe{everywhere} as far as can be told",
    UNTOLD: "Cannot be told with these seeds and items{somewhere}",
    HARMS: "Harmful beyond noise{somewhere}",
}
SHORT = {FINE: "show no harm", UNTOLD: "cannot be told", HARMS: "harm beyond noise"}
WORDS = {
    FINE: "Nothing broke that can be told from noise. Beside each stands the largest loss that "
    "its intervals do not rule out, and where: a finetune is only as safe as the study can see.",
    UNTOLD: "Nothing was seen to break, but on some target even the loss of all that the base "
    "could do is not ruled out.",
    HARMS: "Each of these losses stands below.",
}


class Finetune(NamedTuple):
    """A finetune and how safe it is in each model."""

    source: str
    name: str
    """The source's name as it was given, for links."""
    models: list[Line]
    """For each model what loss is ruled out, or what may have broken, or what broke."""


class Group(NamedTuple):
    """The finetunes of which the same can be said."""

    title: str
    words: str
    finetunes: list[Finetune]
    """The most reassuring first."""


class Verdict(NamedTuple):
    """How safe a finetune is in one model."""

    kind: int
    said: Line
    loss: float
    """The largest that is left open: in points where they are known, else as it is measured."""
    open: list[str]
    """Targets on which all that the base could do may be lost."""


def by_model(analysis: Analysis) -> list[str]:
    """What is to be said of each model apart, where there are several or one has no intervals."""
    said = []
    for name, label in model_labels(analysis).items():
        kinds = Counter(verdict.kind for verdict in _verdicts(analysis, name).values())
        total = kinds.total()
        if not total:
            said.append(f"{label}: nobody can tell; the effects have no intervals.")
        elif len(analysis.models) > 1:
            parts = [f"{kinds[k]} {word}" for k, word in SHORT.items() if kinds[k]]
            said.append(f"{label}: of {counted(total, 'finetune')} {listed(parts)}.")
    return said


def safety(analysis: Analysis) -> list[Group]:
    """All finetunes with intervals, by the worst that is said of them in any model."""
    names = labels(analysis)
    verdicts = [_verdicts(analysis, name) for name in analysis.models]
    rows: dict[int, list[tuple[float, Finetune]]] = {FINE: [], UNTOLD: [], HARMS: []}
    for task in analysis.tasks:
        found = [each.get(task.name) for each in verdicts]
        known = [each for each in found if each is not None]
        if known:
            said = [Line(UNKNOWN) if each is None else each.said for each in found]
            finetune = Finetune(names.long[task.name], task.name, said)
            place = (max(each.loss for each in known), finetune)
            rows[max(each.kind for each in known)].append(place)
    total = sum(map(len, rows.values()))
    return [
        _group(analysis, kind, [row for _, row in sorted(its, key=lambda each: each[0])], total)
        for kind, its in rows.items()
        if its or (kind == FINE and total)
    ]


def _group(analysis: Analysis, kind: int, finetunes: list[Finetune], total: int) -> Group:
    several = len(analysis.models) > 1
    title = TITLES[kind].format(
        everywhere=" in every model" * several, somewhere=" in some model" * several
    )
    words = [WORDS[kind]] if finetunes else []
    if kind == UNTOLD:
        words += _would_take(analysis)
    return Group(f"{title}: {len(finetunes) or 'none'} of {total}", " ".join(words), finetunes)


def _verdicts(analysis: Analysis, name: str) -> dict[str, Verdict]:
    """For each source with intervals how safe it is in one model."""
    model, names = analysis.models[name], labels(analysis)
    pairs: dict[str, list[Pair]] = {}
    for pair in measured(model, own=True):
        if has_interval(pair.cell.ci):
            pairs.setdefault(pair.source, []).append(pair)
    return {source: _verdict(analysis, model, its, names) for source, its in pairs.items()}


def _verdict(analysis: Analysis, model: ModelAnalysis, pairs: list[Pair], names: Labels) -> Verdict:
    alpha = analysis.settings.alpha
    harmed = [p for p in pairs if p.cell.mean < 0 and beyond_noise(p.cell, alpha)]
    losses = {pair.target: max(0.0, -pair.cell.ci[0]) for pair in pairs}
    worst = max(losses, key=lambda target: losses[target])
    drops = dict(_drops(analysis, model, pairs))
    steepest = max(drops, key=lambda target: drops[target], default="")
    largest = drops.get(steepest, losses[worst])
    if harmed:
        harmed.sort(key=lambda pair: pair.cell.mean)
        said = Line(f"harms {_first([pair.target for pair in harmed], names)}")
        return Verdict(HARMS, said, largest, [])
    bases = {p.target: base_accuracy(model, p.target, p.cell) for p in pairs}
    had = {t: bases[t] for t, drop in drops.items() if drop == bases[t]}
    lost = sorted((t for t in had if had[t] >= LITTLE), key=lambda target: -had[target])
    if lost:
        said = Line(f"may have lost all on {_first(lost, names)}")
        return Verdict(UNTOLD, said, largest, lost)
    loss = f"{losses[worst]:.2f} {MEASURES[analysis.settings.measure]}"
    where = f" ({names.long[worst]})"
    if change := points(analysis, drops.get(steepest, math.nan), sign=False):
        said = Line(
            f"no loss above {change} ({names.long[steepest]})",
            f"or above {loss}{where if worst != steepest else ''}",
        )
    else:
        said = Line(f"no loss above {loss}{where}")
    return Verdict(FINE, said, largest, [])


def _drops(
    analysis: Analysis, model: ModelAnalysis, pairs: list[Pair]
) -> Iterator[tuple[str, float]]:
    """Losses in accuracy where that is known, at most all that the base had."""
    for _, target, cell in pairs:
        drop = of_effect(analysis, model, target, max(0.0, -cell.ci[0]), cell)
        if math.isfinite(drop):
            yield target, min(drop, base_accuracy(model, target, cell))


def _first(targets: list[str], names: Labels) -> str:
    rest = len(targets) - 1
    return names.long[targets[0]] + (f" and {rest} more" if rest else "")


def _would_take(analysis: Analysis) -> Iterator[str]:
    """For each model of which something cannot be told, what a larger study would show."""
    names, models = labels(analysis), model_labels(analysis)
    for name, label in models.items():
        often = Counter(t for verdict in _verdicts(analysis, name).values() for t in verdict.open)
        its = {each.target: each for each in analysis.power if each.model == name}
        target = next((target for target, _ in often.most_common() if target in its), None)
        if target is None:
            continue
        said = _larger(analysis, its[target], names.long[target])
        yield f"What it would take{f' with {label}' if len(models) > 1 else ''}: {said}"


def _larger(analysis: Analysis, record: Power, target: str) -> str:
    """What four seeds would show on a target, or where there are as many, four times the items."""
    few = record.seeds < SEEDS
    items, seeds = (record.items, SEEDS) if few else (4 * record.items, record.seeds)
    correlation = analysis.settings.item_correlation
    smallest = power(
        items,
        seeds,
        record.base_accuracy,
        alpha=analysis.settings.alpha,
        item_correlation=correlation,
        seed_correlation=max(correlation, simulate.SEED_CORRELATION),
        sources=len(analysis.models[record.model].pgf),
    )
    more = (
        f"{seeds} seeds instead of {record.seeds}" if few else f"{items:,} items, four times all,"
    )
    if math.isnan(smallest):
        return f"more than {more} (ts.power)."
    drop = points(
        analysis,
        of_effect(analysis, analysis.models[record.model], record.target, smallest),
        sign=False,
    )
    return (
        f"{more} would show a change of {smallest:.2f} PGF{f' or {drop}' if drop else ''} on "
        f"{target}, if seeds differ no more than usual (ts.power)."
    )
