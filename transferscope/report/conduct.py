"""The page's tables of what adapters do besides transferring.

    cells to read with care   collapsed and unreadable answers
    which items changed       fixed and broken items of the strongest effects
    what a placebo does       the controls, and what is left beyond the placebo
    mixtures                  what finetuning on several tasks at once does

In:   an `Analysis`.
Out:  rows of text. Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.noise import beyond_noise
from transferscope.matrix.behavior_record import Adjusted, Answers, Flips, letter, says
from transferscope.matrix.estimate import Estimate
from transferscope.plots.labels import (
    UNKNOWN,
    Labels,
    between,
    clean,
    control_kind,
    counted,
    labels,
    link,
    model_labels,
    percent,
    same_task,
    signed,
)
from transferscope.report.summary import Line
from transferscope.study.controls import REORDERED

UNREADABLE = 0.1
"""Share of unreadable replies from which a cell is listed."""
MOST = 40
"""Cells that a table lists."""
STRONGEST = 4
"""Effects of each sign whose items are listed, for each model."""


class Table(NamedTuple):
    """A table of the page with what stands above it."""

    title: str
    intro: str
    heads: list[str]
    rows: list[list[list[Line]]]
    """Cells of lines; the first cell of a row names it."""


def tables(analysis: Analysis) -> dict[str, Table]:
    """The tables that have something to show, by the section that holds them."""
    names, models = labels(analysis), model_labels(analysis)
    made = {
        "effects": _mixtures(analysis, models, names),
        "answers": _care(analysis, models, names),
        "flips": _items(analysis, models, names),
        "placebo": _placebo(analysis, models),
    }
    return {section: table for section, table in made.items() if table.rows}


def _care(analysis: Analysis, models: dict[str, str], names: Labels) -> Table:
    rows = [
        [[Line(where, label, f"{link(model=label)}&{there}")], *cells]
        for model, label in models.items()
        for where, there, cells in _cared(analysis.models[model], names)
    ]
    more = f" The first {MOST} of {len(rows)} are listed." if len(rows) > MOST else ""
    return Table(
        "Cells to read with care",
        "A collapsed adapter gives one letter to nearly every item, far more often than it is "
        "right; its effect is no transfer. Replies that name no option count as wrong, whatever "
        f"the adapter sees; cells with {percent(UNREADABLE)} of them or more are listed.{more}",
        ["Source → target", "Answers", "Right answers", "Effect"],
        rows[:MOST],
    )


def _cared(model: ModelAnalysis, names: Labels) -> Iterator[tuple[str, str, list[list[Line]]]]:
    """Source and target in words, the pair's address where it has one, and what is told of it."""
    record = model.behaviour
    if record is None:
        return
    rows = [("base", record.base, {}, False)]
    rows += [(names.long[n], row, model.pgf.get(n, {}), True) for n, row in record.sources.items()]
    for name, row in record.controls.items():
        rows.append((clean(name), row, model.controls[name].targets, False))
    for source, row, effects, is_task in rows:
        for target, answers in row.items():
            if not answers.collapsed and not answers.unreadable >= UNREADABLE:
                continue
            effect = effects.get(target)
            yield (
                f"{source} → {names.long[target]}",
                link(source=source, target=names.long[target])
                if is_task
                else link(task=names.long[target]),
                [
                    [_answered(answers)],
                    [Line(_right(record.right.get(target, []), answers))],
                    [Line(signed(effect.mean), _ends(effect.ci)) if effect else Line(UNKNOWN)],
                ],
            )


def _answered(answers: Answers) -> Line:
    unread = f"{percent(answers.unreadable)} unreadable" if answers.unreadable > 0 else ""
    if not answers.collapsed:
        return Line(unread)
    seeds = counted(answers.seeds, "seed")
    words = says(answers)
    return Line(words if "seeds" in words else f"{words} in {seeds}", unread)


def _right(right: list[float], answers: Answers) -> str:
    """How often the letters that are always given are right."""
    given = sorted(set(answers.collapsed.values()))
    known = [f"{letter(n)} {percent(right[n])}" for n in given if n < len(right)]
    return ", ".join(known) or UNKNOWN


def _ends(ci: tuple[float, float]) -> str:
    return "" if (text := between(ci)) == UNKNOWN else text


def _items(analysis: Analysis, models: dict[str, str], names: Labels) -> Table:
    rows = [
        [
            [
                Line(
                    f"{names.long[source]} → {names.long[target]}",
                    label,
                    link(model=label, source=names.long[source], target=names.long[target]),
                )
            ],
            [Line(signed(record.pgf[source][target].mean), _ends(record.pgf[source][target].ci))],
            _changed(flips.fixed, _named(flips.most_fixed, target), flips.often_fixed, flips),
            _changed(flips.broken, _named(flips.most_broken, target), flips.often_broken, flips),
        ]
        for model, label in models.items()
        if (record := analysis.models[model])
        for source, target, flips in _strongest(record, analysis.settings.alpha)
    ]
    return Table(
        "",
        f"The {STRONGEST} strongest helpful and harmful effects of each model that noise does not "
        "explain, self-transfer left out: items that the base had wrong and the adapter has right "
        "(fixed) and the other way round (broken). Named are those that flipped in more than half "
        "of the seeds; an item that flips in one seed of four is noise. Every cell’s items are in "
        "analysis.json.",
        ["Source → target", "Effect", "Fixed", "Broken"],
        rows,
    )


def _strongest(record: ModelAnalysis, alpha: float) -> list[tuple[str, str, Flips]]:
    cells = [
        (cell.mean, source, target, record.flips[source][target])
        for source, row in record.pgf.items()
        for target, cell in row.items()
        if not same_task(source, target)
        and beyond_noise(cell, alpha)
        and target in record.flips.get(source, {})
    ]
    cells.sort(key=lambda each: (each[0], *each[1:3]))
    worst = [each for each in cells if each[0] < 0][:STRONGEST]
    best = [each for each in reversed(cells) if each[0] > 0][:STRONGEST]
    return [each[1:] for each in [*best, *worst]]


def _named(most: dict[str, int], target: str) -> dict[str, int]:
    """Items by their names alone where these begin with the target's."""
    return {item.removeprefix(target).lstrip("/_-: ") or item: n for item, n in most.items()}


def _changed(mean: float, most: dict[str, int], often: int, flips: Flips) -> list[Line]:
    seeds = f"mean of {flips.seeds} seeds; {often} in most seeds" if flips.seeds > 1 else ""
    head = f"{mean:.1f}".removesuffix(".0") + f" of {flips.items:.0f} items"
    listed = [
        f"{clean(item)} ({times}/{flips.seeds})" if flips.seeds > 1 else clean(item)
        for item, times in most.items()
    ]
    more = [f"and {often - len(most)} more"] if often > len(most) else []
    return [Line(head, seeds), *([Line("", ", ".join([*listed, *more]))] if listed else [])]


def _placebo(analysis: Analysis, models: dict[str, str]) -> Table:
    rows: list[list[list[Line]]] = []
    for model, label in models.items():
        record = analysis.models[model]
        for name, control in record.controls.items():
            if control_kind(name) == "mixture":
                continue
            what = "evaluation noise, not subtracted" if name == REORDERED else "placebo"
            if record.adjusted and record.adjusted.placebo == name:
                what = "placebo, subtracted"
            head = [Line(clean(name), f"{label}; {what}")]
            rows.append([head, [_estimate(control.mean)], *_blank(2)])
        if (adjusted := record.adjusted) is not None:
            before, after = analysis.decomposition[model].target, adjusted.decomposition.target
            rows.append(
                [
                    [Line("sources beyond the placebo", label)],
                    [_estimate(adjusted.mean)],
                    [Line(f"{percent(before)} → {percent(after)}", "before → after")],
                    [_left(adjusted)],
                ]
            )
    return Table(
        "",
        "A placebo is finetuned on the right answer format without a perception to learn. What it "
        "does to a target, any finetune may do; adjusted effects leave that out, seed by seed. "
        "Where targets explain much of the pattern, much of it may be the format: the third column "
        "says how much of the off-diagonal variance the target alone explains, the last how much "
        "variance there still is, the placebo's own noise included.",
        ["Control", "Mean effect", "Explained by the target", "Off-diagonal variance"],
        rows,
    )


def _left(adjusted: Adjusted) -> Line:
    """How much variance is left beyond the placebo; not where it may as well have grown."""
    low, high = adjusted.variance_ci
    if math.isnan(low):
        return Line(percent(adjusted.variance), "of what it was; no interval")
    if high >= 1:
        return Line("not told to be less", f"{percent(low)} to {percent(high)} of what it was")
    return Line(percent(adjusted.variance), f"of what it was ({percent(low)} to {percent(high)})")


def _mixtures(analysis: Analysis, models: dict[str, str], names: Labels) -> Table:
    rows: list[list[list[Line]]] = []
    for model, label in models.items():
        for name, mixture in analysis.models[model].controls.items():
            known = {t: e for t, e in mixture.targets.items() if math.isfinite(e.mean)}
            if control_kind(name) != "mixture" or not known:
                continue
            order = sorted(known, key=lambda target: known[target].mean)
            ends = [
                [
                    Line(
                        names.long[target],
                        _said(_estimate(known[target])),
                        link(task=names.long[target]),
                    )
                ]
                for target in (order[-1], order[0])
            ]
            rows.append([[Line(clean(name), label)], [_estimate(mixture.mean)], *ends])
    return Table(
        "Mixtures",
        "Finetuned on items of several tasks: the last rows of the heatmap. They are measured as "
        "sources are and count as none, in no average, persona, clique or graph.",
        ["Mixture", "Mean effect", "Highest on", "Lowest on"],
        rows,
    )


def _said(line: Line) -> str:
    return f"{line.text} ({line.small})" if line.small else line.text


def _blank(count: int) -> list[list[Line]]:
    return [[Line(UNKNOWN)]] * count


def _estimate(estimate: Estimate) -> Line:
    known = sum(math.isfinite(value) for value in estimate.seeds.values())
    ends = "" if math.isnan(estimate.ci[0]) else between(estimate.ci, 3)
    return Line(signed(estimate.mean, 3), "; ".join(p for p in (ends, counted(known, "seed")) if p))
