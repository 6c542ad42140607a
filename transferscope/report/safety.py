"""Which finetunes are safe: those without harm, the unclear ones, and those that harm.

A finetune is only as safe as the study can see. The largest loss that the study leaves open
stands beside each; where that is a target's whole base accuracy, the finetune is unclear.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, ModelAnalysis, Power
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.accuracy_points import base_accuracy, of_effect, points
from transferscope.plots.labels import MEASURES, Labels, counted, labels, listed
from transferscope.plots.numbers import UNKNOWN, has_interval
from transferscope.report.findings import Pair, measured
from transferscope.report.tables import CellLine
from transferscope.stats import simulate
from transferscope.stats.detection import power

LITTLE = 0.1
"""Base accuracy of a target below which the loss of all of it counts little."""
SEEDS = 4
"""The paper's number of seeds."""

FINE, UNCLEAR, HARMS = range(3)
TITLES = {
    FINE: "Safe as far as this study can tell{everywhere}",
    UNCLEAR: "Unclear with these seeds and items{somewhere}",
    HARMS: "Harmful beyond noise{somewhere}",
}
SHORT = {FINE: "safe as far as known", UNCLEAR: "unclear", HARMS: "harmful beyond noise"}
WORDS = {
    FINE: "No loss beyond noise. Beside each: the largest loss that its intervals do not rule out, "
    "and on which target.",
    UNCLEAR: "No loss beyond noise. On some target, losing all base accuracy is not ruled out.",
    HARMS: "The next section lists each of these losses.",
}


class SafetyRow(NamedTuple):
    """A finetune and how safe it is in each model."""

    source: str
    name: str
    """The source's name as it was given."""
    models: list[CellLine]
    """For each model the loss that is ruled out, or what may have broken, or what broke."""


class SafetyGroup(NamedTuple):
    """The finetunes with the same verdict, the most reassuring first."""

    title: str
    words: str
    finetunes: list[SafetyRow]


class _Verdict(NamedTuple):
    """How safe a finetune is in one model."""

    kind: int
    line: CellLine
    loss: float
    """The largest loss left open: in points where they are known, else in the measure."""
    open: list[str]
    """Targets on which all base accuracy may be lost."""


def by_model(analysis: Analysis) -> list[str]:
    """A sentence for each model, where there are several or one has no intervals."""
    sentences = []
    for name, label in labels(analysis).models.items():
        kinds = Counter(verdict.kind for verdict in _verdicts(analysis, name).values())
        if not kinds:
            sentences.append(f"{label}: cannot tell, because the effects have no intervals.")
        elif len(analysis.models) > 1:
            parts = [f"{kinds[kind]} {word}" for kind, word in SHORT.items() if kinds[kind]]
            sentences.append(f"{label}: of {counted(kinds.total(), 'finetune')} {listed(parts)}.")
    return sentences


def safety(analysis: Analysis) -> list[SafetyGroup]:
    """All finetunes with intervals, grouped by the worst verdict in any model."""
    names = labels(analysis)
    verdicts = [_verdicts(analysis, name) for name in analysis.models]
    rows: dict[int, list[tuple[float, SafetyRow]]] = {FINE: [], UNCLEAR: [], HARMS: []}
    for task in analysis.tasks:
        found = [each.get(task.name) for each in verdicts]
        if known := [each for each in found if each is not None]:
            lines = [CellLine(UNKNOWN) if each is None else each.line for each in found]
            row = SafetyRow(names.long[task.name], task.name, lines)
            worst = max(each.kind for each in known)
            rows[worst].append((max(each.loss for each in known), row))
    total, several = sum(map(len, rows.values())), len(analysis.models) > 1
    groups = []
    for kind, found in rows.items():
        if found or (kind == FINE and total):
            where = {"everywhere": " in every model", "somewhere": " in some model"}
            title = TITLES[kind].format(**{key: word * several for key, word in where.items()})
            words = [WORDS[kind]] if found else []
            words += _larger_study(analysis) if kind == UNCLEAR else []
            ordered = [row for _, row in sorted(found, key=lambda each: each[0])]
            count = f"{len(found) or 'none'} of {total}"
            groups.append(SafetyGroup(f"{title}: {count}", " ".join(words), ordered))
    return groups


def _verdicts(analysis: Analysis, name: str) -> dict[str, _Verdict]:
    """{source: verdict in one model}, for sources with intervals."""
    model, names = analysis.models[name], labels(analysis)
    pairs: dict[str, list[Pair]] = {}
    for pair in measured(model, own=True):
        if has_interval(pair.cell.ci):
            pairs.setdefault(pair.source, []).append(pair)
    return {source: _verdict(analysis, model, each, names) for source, each in pairs.items()}


def _verdict(
    analysis: Analysis, model: ModelAnalysis, pairs: list[Pair], names: Labels
) -> _Verdict:
    alpha = analysis.settings.alpha
    losses = {pair.target: max(0.0, -pair.cell.ci[0]) for pair in pairs}
    worst = max(losses, key=lambda target: losses[target])
    bases = {pair.target: base_accuracy(model, pair.target, pair.cell) for pair in pairs}
    # In accuracy, where that is known; a target cannot lose more than its base accuracy.
    drops = {}
    for _, target, cell in pairs:
        drop = of_effect(analysis, model, target, losses[target], cell)
        if math.isfinite(drop):
            drops[target] = min(drop, bases[target])
    steepest = max(drops, key=lambda target: drops[target], default="")
    largest = drops.get(steepest, losses[worst])

    def first(targets: list[str]) -> str:
        more = f" and {len(targets) - 1} more" if len(targets) > 1 else ""
        return names.long[targets[0]] + more

    harmed = [p for p in pairs if p.cell.mean < 0 and beyond_noise(p.cell, alpha)]
    if harmed:
        harmed.sort(key=lambda pair: pair.cell.mean)
        return _Verdict(HARMS, CellLine(f"harms {first([p.target for p in harmed])}"), largest, [])
    lost = [t for t, drop in drops.items() if drop == bases[t] and bases[t] >= LITTLE]
    if lost:
        lost.sort(key=lambda target: -bases[target])
        line = CellLine(f"may have lost everything on {first(lost)}")
        return _Verdict(UNCLEAR, line, largest, lost)
    loss, where = f"{losses[worst]:.2f} {MEASURES[analysis.settings.measure]}", names.long[worst]
    line = CellLine(f"no loss above {loss} ({where})")
    if change := points(analysis, drops.get(steepest, math.nan), sign=False):
        small = f"or above {loss}" + (f" ({where})" if worst != steepest else "")
        line = CellLine(f"no loss above {change} ({names.long[steepest]})", small)
    return _Verdict(FINE, line, largest, [])


def _larger_study(analysis: Analysis) -> Iterator[str]:
    """For each model with an unclear finetune, what more seeds or items would show."""
    names = labels(analysis)
    for name, label in names.models.items():
        often = Counter(t for verdict in _verdicts(analysis, name).values() for t in verdict.open)
        records = {each.target: each for each in analysis.power if each.model == name}
        target = next((target for target, _ in often.most_common() if target in records), None)
        if target is not None:
            which = f" with {label}" if len(names.models) > 1 else ""
            yield f"A larger study{which}: {_would_show(analysis, records[target], names)}"


def _would_show(analysis: Analysis, record: Power, names: Labels) -> str:
    """What four seeds would show on a target, or four times the items where there are as many."""
    few, correlation = record.seeds < SEEDS, analysis.settings.item_correlation
    items, seeds = (record.items, SEEDS) if few else (4 * record.items, record.seeds)
    smallest = power(
        items,
        seeds,
        record.base_accuracy,
        alpha=analysis.settings.alpha,
        item_correlation=correlation,
        seed_correlation=max(correlation, simulate.SEED_CORRELATION),
        sources=len(analysis.models[record.model].pgf),
    )
    more = f"{seeds} seeds instead of {record.seeds}"
    more = more if few else f"{items:,} items instead of {record.items:,}"
    if math.isnan(smallest):
        return f"needs more than {more} (ts.power)."
    model = analysis.models[record.model]
    drop = points(analysis, of_effect(analysis, model, record.target, smallest), sign=False)
    change = f"{smallest:.2f} PGF{f' or {drop}' if drop else ''}"
    return (
        f"{more} would show a change of {change} on {names.long[record.target]}, if seeds vary as "
        "usual (ts.power)."
    )
