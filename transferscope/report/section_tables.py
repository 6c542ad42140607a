"""Tables of the page's sections: collapsed answers, flipped items, controls and mixtures.

What holds for every study stands in the template; here are the rows, and what is of this
study. Nothing is escaped: the template does that.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from transferscope.analysis import Analysis
from transferscope.analysis.accuracies import Effect
from transferscope.analysis.headline import Moved, twin_pairs
from transferscope.analysis.parts import STRATEGIES, Adjusted, Course, Estimate, Trajectory
from transferscope.matrix.collapse import Answers, describe_answers, letter
from transferscope.matrix.measure import known_mean
from transferscope.plots.curves import number
from transferscope.plots.labels import MEASURES, clean, control_kind, counted, labels, link
from transferscope.plots.numbers import UNKNOWN, has_interval, percent, signed, worded
from transferscope.plots.training_strategies import NAMES, in_points, trained
from transferscope.report import tables
from transferscope.report.tables import Line, PageTable, Row, table, task_line
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
HEADS = {
    "effects": ["Mixture", "Mean effect", "Highest on", "Lowest on"],
    "answers": ["Source → target", "Replies", "Correct answers", "Effect"],
    "placebo": ["Control", "Mean effect", "Explained by the target", "Off-diagonal variance"],
    "twins": ["Finetuned on", "Evaluated on", "Multiple choice", "Open answer", "Moved"],
}


def section_tables(analysis: Analysis) -> dict[str, PageTable]:
    """{section: table}, for tables with rows."""
    careful, behavior = list(_careful(analysis)), partial(table, "behavior stack")
    more = f"The first {MOST} of {len(careful)} are listed." * (len(careful) > MOST)
    made = {
        "effects": behavior("Mixtures", HEADS["effects"], _mixtures(analysis)),
        "answers": behavior("Cells to read with care", HEADS["answers"], careful[:MOST], more),
        "placebo": behavior("", HEADS["placebo"], _placebos(analysis)),
        "steps": steps_table(analysis),
        "twins": behavior("Skill or format", HEADS["twins"], _twins(analysis)),
    }
    return {section: each for section, each in made.items() if each.rows}


def _careful(analysis: Analysis) -> Iterator[Row]:
    """Cells of collapsed and of unreadable answers, of the bases and controls too."""
    names = labels(analysis).long
    for name, label in labels(analysis).models.items():
        model = analysis.models[name]
        if (record := model.behaviour) is None:
            continue
        groups: list[tuple[str, str, Mapping[str, Answers], Mapping[str, Effect]]]
        groups = [("", "base", record.base, {})]
        groups += [(n, names[n], row, model.pgf.get(n, {})) for n, row in record.sources.items()]
        for control, row in record.controls.items():
            groups.append(("", clean(control), row, model.controls[control].targets))
        for source, start, row, effects in groups:
            verdict = model.verdicts.get(source)
            for target, answers in row.items():
                if verdict is not None and target in verdict.collapsed:
                    answers = replace(answers, collapsed={})  # among the losses already
                if not answers.collapsed and not answers.unreadable >= UNREADABLE:
                    continue
                onto, correct = names[target], record.right.get(target, [])
                address = {"source": start, "target": onto} if source else {"task": onto}
                options = [n for n in sorted(set(answers.collapsed.values())) if n < len(correct)]
                shares = ", ".join(f"{letter(n)} {percent(correct[n])}" for n in options)
                unread = answers.unreadable
                share, effect = f"{percent(unread)} unreadable" * (unread > 0), effects.get(target)
                words = describe_answers(answers) if answers.collapsed else ""
                words += f" in {counted(answers.seeds, 'seed')}" * bool(
                    words and "seeds" not in words
                )
                yield [
                    Line(f"{start} → {onto}", label, link(model=label, **address)),
                    Line(words, share) if words else share,
                    shares or UNKNOWN,
                    tables.effect_line(analysis, effect) if effect else UNKNOWN,
                ]


def _placebos(analysis: Analysis) -> Iterator[Row]:
    """What finetuning without a perception task does, and what remains beyond it."""
    for model, label in labels(analysis).models.items():
        record = analysis.models[model]
        adjusted = record.adjusted
        for name, control in record.controls.items():
            if control_kind(name) == "mixture":
                continue
            what = "evaluation noise, not subtracted" if name == REORDERED else "placebo"
            if adjusted and adjusted.placebo == name:
                what = "placebo, subtracted"
            yield [Line(clean(name), f"{label}; {what}"), _mean(control.mean), UNKNOWN, UNKNOWN]
        if adjusted is not None:
            before, after = analysis.decomposition[model].target, adjusted.decomposition.target
            yield [
                Line("sources beyond the placebo", label),
                _mean(adjusted.mean),
                Line(f"{percent(before)} → {percent(after)}", "before → after"),
                remaining_variance(adjusted),
            ]


def remaining_variance(adjusted: Adjusted) -> Line:
    """The share of variance beyond the placebo, where its interval shows that it is less."""
    low, high = adjusted.variance_ci
    if math.isnan(low):
        return Line(percent(adjusted.variance), "of the unadjusted variance; no interval")
    ends = f"{percent(low)} to {percent(high)}"
    if high >= 1:
        return Line("no clear reduction", f"{ends} of the unadjusted variance")
    return Line(percent(adjusted.variance), f"of the unadjusted variance ({ends})")


def _twins(analysis: Analysis) -> Iterator[Row]:
    """What a source changed in both forms of a task; first what moved in both."""
    names, _, models = labels(analysis)
    for model, label in models.items():
        for one in sorted(twin_pairs(analysis, model), key=lambda each: MOVED.index(each.moved)):
            source = names[one.choice.source]
            row: list[str | Line] = [task_line(source, label * (len(models) > 1))]
            row.append(names[one.choice.target])
            for pair in (one.choice, one.open):
                at = link(model=label, source=source, target=names[pair.target])
                words, tested = worded(analysis, pair.cell), math.isfinite(pair.cell.p_value)
                row.append(Line(words.value, words.interval * tested, at))
            yield [*row, one.moved or "not tested"]


def _mixtures(analysis: Analysis) -> Iterator[Row]:
    """Finetunes on items of several tasks."""
    names, _, models = labels(analysis)
    for model, label in models.items():
        for name, mixture in analysis.models[model].controls.items():
            known = {t: e for t, e in mixture.targets.items() if math.isfinite(e.mean)}
            if control_kind(name) == "mixture" and known:
                order = sorted(known, key=lambda target: known[target].mean)
                ends = (task_line(names[t], _mean(known[t]).words) for t in (order[-1], order[0]))
                yield [Line(clean(name), label), _mean(mixture.mean), *ends]


def _mean(estimate: Estimate) -> Line:
    seeds = counted(sum(math.isfinite(value) for value in estimate.seeds.values()), "seed")
    return tables.estimate_line(estimate, seeds)


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
                signed(float(known_mean(np.array([course.effects[place] for course in part]))))
                for part in (own, other)
            )
            known = [c.points[place] for c in other if math.isfinite(c.points[place])]
            lost = f"{sum(change < -LARGE - ROUNDING for change in known)} of {len(known)}"
            first = Line(f"{axis} {number(step)}", counted(len(finetunes), "finetune"))
            rows.append([first, models[model], *means, lost])
    intro = "Means over finetunes."
    if not {task.name for task in analysis.tasks if task.source} & {
        source for one in analysis.trajectories for source in one.sources
    }:
        intro += " None of these has a part in averages, personas, cliques and the graph."
    measure = MEASURES[analysis.settings.measure]
    heads = ["At", "Model", f"Own task, {measure}", f"Other tasks, {measure}"]
    heads.append(f"Lose over {100 * LARGE:.0f} points")
    return table("behavior stack", "All finetunes", heads, rows, intro)


def strategy_table(analysis: Analysis, model: str) -> PageTable:
    """The experiment on one model, target by target: the informed mixture, and the accuracy after
    each strategy with its interval, or why it is missing."""
    experiment, names = analysis.experiment, labels(analysis)
    rows: list[Row] = []
    trials = experiment.models[model].targets if experiment and model in experiment.models else {}
    for target, trial in trials.items():
        informed, expected = trial.arms["informed"], ""
        if math.isfinite(reached := informed.effect.mean):
            expected = f"{in_points(trial.expected)} points expected, {in_points(reached)} reached"
        mixture = informed.why or trained(informed.mixtures, names)
        row = [task_line(names.long.get(target, target)), Line(mixture, expected)]
        for name in STRATEGIES:
            accuracy, why = trial.arms[name].accuracy, trial.arms[name].why
            if math.isfinite(accuracy.mean) and has_interval(accuracy.ci):
                why = tables.joined(" to ".join(map(percent, accuracy.ci)), why)
            row.append(Line(percent(accuracy.mean), why))
        rows.append(row)
    heads = ["Target", "Mixture from the matrix", *(NAMES[name] for name in STRATEGIES)]
    return table("wide stack", "", heads, rows)
