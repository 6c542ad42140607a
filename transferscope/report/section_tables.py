"""Tables of the page's sections: collapsed answers, flipped items, controls and mixtures.

Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from transferscope.analysis import Analysis
from transferscope.analysis.parts import STRATEGIES, Adjusted, Course, Estimate, Trajectory
from transferscope.analysis.twins import Moved, twin_pairs
from transferscope.matrix.collapse import Answers, describe_answers, letter
from transferscope.matrix.measure import known_mean
from transferscope.plots.curves import number
from transferscope.plots.labels import MEASURES, clean, control_kind, counted, labels, link
from transferscope.plots.numbers import UNKNOWN, has_interval, percent, signed, worded
from transferscope.plots.training_strategies import NAMES, in_points, trained
from transferscope.predictions import MOST_UNREADABLE
from transferscope.report.tables import (
    CellLine,
    PageTable,
    Row,
    effect_line,
    estimate_line,
    joined,
    task_line,
)
from transferscope.study.controls import REORDERED
from transferscope.tasks.checkpoints import same_task

UNREADABLE = 0.1
"""Share of unreadable replies from which a cell is listed."""
MOST = 40
"""Cells that the table of collapsed and unreadable answers lists."""
LARGE, ROUNDING = 0.1, 1e-9
"""A loss of accuracy beyond which cells are counted, and the error of a difference of fractions."""
MOVED: tuple[Moved | None, ...] = (
    *("both", "opposite", "choice only", "open only", "neither"),
    None,
)
"""In the order of the table of skill and format."""


def section_tables(analysis: Analysis) -> dict[str, PageTable]:
    """{section: table}, for tables with rows."""
    made = {
        "effects": _mixtures(analysis),
        "answers": _careful(analysis),
        "placebo": _placebos(analysis),
        "steps": steps_table(analysis),
        "twins": _twins(analysis),
    }
    return {section: table for section, table in made.items() if table.rows}


def _careful(analysis: Analysis) -> PageTable:
    models = labels(analysis).models
    rows = [row for model, label in models.items() for row in _careful_rows(analysis, model, label)]
    more = f" The first {MOST} of {len(rows)} are listed." if len(rows) > MOST else ""
    return PageTable(
        "behavior stack",
        "Cells to read with care",
        "A collapsed adapter gives one option for nearly every item, far more often than it is "
        "correct; those that collapse in most seeds are among the losses above. Replies that name "
        f"no option count as wrong. Cells with {percent(UNREADABLE)} of them or more are listed."
        f"{more}",
        ["Source → target", "Replies", "Correct answers", "Effect"],
        rows[:MOST],
    )


def _careful_rows(analysis: Analysis, name: str, label: str) -> Iterator[Row]:
    names, model = labels(analysis).long, analysis.models[name]
    if (record := model.behaviour) is None:
        return
    groups = [("base", record.base, {}, False)]
    groups += [(n, row, model.pgf.get(n, {}), True) for n, row in record.sources.items()]
    for control, row in record.controls.items():
        groups.append((clean(control), row, model.controls[control].targets, False))
    for source, row, effects, is_task in groups:
        for target, answers in row.items():
            verdict = model.verdicts.get(source) if is_task else None
            if verdict is not None and target in verdict.collapsed:
                answers = replace(answers, collapsed={})  # among the losses already
            if not answers.collapsed and not answers.unreadable >= UNREADABLE:
                continue
            onto, effect, correct = names[target], effects.get(target), record.right.get(target, [])
            address = {"source": names[source], "target": onto} if is_task else {"task": onto}
            options = [n for n in sorted(set(answers.collapsed.values())) if n < len(correct)]
            shares = ", ".join(f"{letter(n)} {percent(correct[n])}" for n in options)
            number = effect_line(analysis, effect) if effect else CellLine(UNKNOWN)
            start = names[source] if is_task else source
            head = CellLine(f"{start} → {onto}", label, link(model=label, **address))
            yield [[head], [_replies(answers)], [CellLine(shares or UNKNOWN)], [number]]


def _replies(answers: Answers) -> CellLine:
    share = f"{percent(answers.unreadable)} unreadable" if answers.unreadable > 0 else ""
    if not answers.collapsed:
        return CellLine(share)
    words, seeds = describe_answers(answers), counted(answers.seeds, "seed")
    return CellLine(words if "seeds" in words else f"{words} in {seeds}", share)


def _placebos(analysis: Analysis) -> PageTable:
    rows: list[Row] = []
    for model, label in labels(analysis).models.items():
        record, unknown = analysis.models[model], [CellLine(UNKNOWN)]
        for name, control in record.controls.items():
            if control_kind(name) == "mixture":
                continue
            what = "evaluation noise, not subtracted" if name == REORDERED else "placebo"
            if record.adjusted and record.adjusted.placebo == name:
                what = "placebo, subtracted"
            head = [CellLine(clean(name), f"{label}; {what}")]
            rows.append([head, [_estimate(control.mean)], unknown, unknown])
        if (adjusted := record.adjusted) is not None:
            before, after = analysis.decomposition[model].target, adjusted.decomposition.target
            shares = CellLine(f"{percent(before)} → {percent(after)}", "before → after")
            head = [CellLine("sources beyond the placebo", label)]
            left = remaining_variance(adjusted)
            rows.append([head, [_estimate(adjusted.mean)], [shares], [left]])
    intro = (
        "A placebo learns the answer format without a perception task. Any finetune may do to a "
        "target what a placebo does; adjusted effects leave that out, seed by seed. Where targets "
        "explain much of the pattern, much of it may be the format. The third column is the share "
        "of the off-diagonal variance that the target explains. The last is the variance that "
        "remains, including the placebo’s noise."
    )
    heads = ["Control", "Mean effect", "Explained by the target", "Off-diagonal variance"]
    return PageTable("behavior stack", "", intro, heads, rows)


def remaining_variance(adjusted: Adjusted) -> CellLine:
    """The share of variance beyond the placebo, where its interval shows that it is less."""
    low, high = adjusted.variance_ci
    if math.isnan(low):
        return CellLine(percent(adjusted.variance), "of the unadjusted variance; no interval")
    ends = f"{percent(low)} to {percent(high)}"
    if high >= 1:
        return CellLine("no clear reduction", f"{ends} of the unadjusted variance")
    return CellLine(percent(adjusted.variance), f"of the unadjusted variance ({ends})")


def _twins(analysis: Analysis) -> PageTable:
    (names, _, models), found = labels(analysis), []
    for model, label in models.items():
        for one in sorted(twin_pairs(analysis, model), key=lambda each: MOVED.index(each.moved)):
            source = names[one.choice.source]
            row = [[task_line(source, label * (len(models) > 1))]]
            row.append([CellLine(names[one.choice.target])])
            for pair in (one.choice, one.open):
                at = link(model=label, source=source, target=names[pair.target])
                words, tested = worded(analysis, pair.cell), math.isfinite(pair.cell.p_value)
                row.append([CellLine(words.value, words.interval * tested, at)])
            found.append([*row, [CellLine(one.moved or "not tested")]])
    intro = (
        "The same items as multiple choice and with an open answer. A change in both forms is one "
        "of skill; a change in one may be one of format. A form moved if its effect is significant "
        "after FDR correction, which leaves out effects of a source on itself; that the other did "
        "not move is shown only by its interval. Not tested are cells with over "
        f"{percent(MOST_UNREADABLE)} unreadable replies, as where a base names no place. Averages "
        "count the forms as two tasks."
    )
    heads = ["Finetuned on", "Evaluated on", "Multiple choice", "Open answer", "Moved"]
    return PageTable("behavior stack", "Skill or format", intro, heads, found)


def _mixtures(analysis: Analysis) -> PageTable:
    (names, _, models), rows = labels(analysis), []
    for model, label in models.items():
        for name, mixture in analysis.models[model].controls.items():
            known = {t: e for t, e in mixture.targets.items() if math.isfinite(e.mean)}
            if control_kind(name) != "mixture" or not known:
                continue
            order = sorted(known, key=lambda target: known[target].mean)
            row = [[CellLine(clean(name), label)], [_estimate(mixture.mean)]]
            for target in (order[-1], order[0]):
                row.append([task_line(names[target], _estimate(known[target]).words)])
            rows.append(row)
    intro = (
        "Finetuned on items of several tasks: the last rows of the heatmap. They are measured like "
        "sources but have no part in averages, personas, cliques and the graph."
    )
    heads = ["Mixture", "Mean effect", "Highest on", "Lowest on"]
    return PageTable("behavior stack", "Mixtures", intro, heads, rows)


def steps_table(analysis: Analysis) -> PageTable:
    """Finetunes with equal steps or strengths, over which the effects are averaged."""
    models, groups = labels(analysis).models, dict[tuple[Any, ...], list[Trajectory]]()
    for one in analysis.trajectories:
        if len(one.steps) > 1:
            groups.setdefault((one.model, one.axis, *one.steps), []).append(one)
    rows: list[Row] = []
    for (model, axis, *steps), finetunes in groups.items():
        own: list[Course] = []
        other: list[Course] = []
        for each in finetunes:
            for target, course in each.targets.items():
                (own if same_task(each.sources[0], target) else other).append(course)
        for place, step in enumerate(steps):
            means = (
                known_mean(np.array([c.effects[place] for c in part])) for part in (own, other)
            )
            known = [c.points[place] for c in other if math.isfinite(c.points[place])]
            lost = sum(change < -LARGE - ROUNDING for change in known)
            words = (*(signed(float(mean)) for mean in means), f"{lost} of {len(known)}")
            first = CellLine(f"{axis} {number(step)}", counted(len(finetunes), "finetune"))
            rows.append([[first], *([CellLine(word)] for word in (models[model], *words))])
    intro = "Means over finetunes."
    if not {task.name for task in analysis.tasks if task.source} & {
        source for one in analysis.trajectories for source in one.sources
    }:
        intro += " None of these has a part in averages, personas, cliques and the graph."
    measured = [
        f"{tasks}, {MEASURES[analysis.settings.measure]}" for tasks in ("Own task", "Other tasks")
    ]
    heads = ["At", "Model", *measured, f"Lose over {100 * LARGE:.0f} points"]
    return PageTable("behavior stack", "All finetunes", intro, heads, rows)


def strategy_table(analysis: Analysis, model: str) -> PageTable:
    """The experiment on one model, target by target: the informed mixture, and the accuracy after
    each strategy with its interval, or why it is missing."""
    experiment, names, rows = analysis.experiment, labels(analysis), []
    trials = experiment.models[model].targets if experiment and model in experiment.models else {}
    for target, trial in trials.items():
        informed, expected = trial.arms["informed"], ""
        if math.isfinite(reached := informed.effect.mean):
            expected = f"{in_points(trial.expected)} points expected, {in_points(reached)} reached"
        mixture = CellLine(informed.why or trained(informed.mixtures, names), expected)
        row = [[task_line(names.long.get(target, target))], [mixture]]
        for name in STRATEGIES:
            accuracy, why = trial.arms[name].accuracy, trial.arms[name].why
            if math.isfinite(accuracy.mean) and has_interval(accuracy.ci):
                why = joined(" to ".join(map(percent, accuracy.ci)), why)
            row.append([CellLine(percent(accuracy.mean), why)])
        rows.append(row)
    heads = ["Target", "Mixture from the matrix", *(NAMES[name] for name in STRATEGIES)]
    return PageTable("wide stack", "", "", heads, rows)


def _estimate(estimate: Estimate) -> CellLine:
    seeds = counted(sum(math.isfinite(value) for value in estimate.seeds.values()), "seed")
    return estimate_line(estimate, seeds)
