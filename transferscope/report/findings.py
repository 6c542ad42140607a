"""What each finetune breaks, and what to train on.

Everything is decided in points of accuracy, with PGF beside. Every sentence comes from the numbers
and carries their uncertainty. Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterator

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy
from transferscope.analysis.headline import TaskPair, pairs
from transferscope.analysis.verdict import MEAN, beyond_noise
from transferscope.matrix.collapse import describe_answers
from transferscope.plots.labels import labels, link, spelled
from transferscope.plots.numbers import (
    UNKNOWN,
    chance,
    items,
    percent,
    points,
    points_between,
    worded,
)
from transferscope.report.tables import CellLine, PageTable, Row, effect_line, task_line
from transferscope.selection import mixtures
from transferscope.selection.wording import probability


def one_answer(pair: TaskPair, model: ModelAnalysis) -> str:
    """`always A in 2 of 4 seeds` where answers collapsed to one option, else empty."""
    answers = model.behaviour.sources if model.behaviour else {}
    found = answers.get(pair.source, {}).get(pair.target)
    return describe_answers(found) if found is not None and found.collapsed else ""


def harms(analysis: Analysis, most: int | None = None) -> PageTable:
    """Every loss beyond noise and every collapse to one answer, the sure ones first.

    Args:
        most: losses that are listed; a note has the number of the others.
    """
    found: list[tuple[tuple[bool, float], Row]] = []
    for name in analysis.models:
        for pair in pairs(analysis, name):
            if (harm := _harm(analysis, name, pair)) is not None:
                sure, row = harm
                found.append(((not sure, pair.size), row))
        found += [((False, change), row) for change, row in _mean_harms(analysis, name)]
    found.sort(key=lambda each: each[0])
    heads, rows = (
        ["Finetuned on", "Loses", "Change", "From", "Evidence"],
        [r for _, r in found[:most]],
    )
    if len(analysis.models) > 1:
        heads.insert(2, "Model")
    else:
        rows = [[*row[:2], *row[3:]] for row in rows]
    rest = len(found) - len(rows)
    intro = f"The {rest} smallest losses are in the table of accuracies only." * bool(rest)
    sure = sum(not unsure for (unsure, _), _ in found[:most])
    return PageTable("wide stack", "", intro, heads, rows, sure)


def _harm(analysis: Analysis, name: str, pair: TaskPair) -> tuple[bool, Row] | None:
    """Whether it holds after correction for the number of tests, and its row."""
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
    names, label = labels(analysis).long, labels(analysis).models[name]
    address = link(model=label, source=names[source], target=names[target])
    base = percent(base_accuracy(analysis, model, target, cell)) + items(model, target, cell)
    row = [
        [task_line(names[source])],
        [CellLine(names[target] + " (self-transfer)" * pair.own, "", address)],
        [CellLine(label)],
        [effect_line(analysis, cell)],
        *([CellLine(text)] for text in (base, "; ".join(evidence))),
    ]
    return worse or fallen or held, row


def _mean_harms(analysis: Analysis, name: str) -> Iterator[tuple[float, Row]]:
    """The finetunes that are worse on average over the other targets."""
    names, label = labels(analysis).long, labels(analysis).models[name]
    for source, verdict in analysis.models[name].verdicts.items():
        if MEAN in verdict.harmed:
            address = link(model=label, task=names[source])
            change = points(verdict.mean), points_between(verdict.mean_ci, verdict.mean)
            rest = (CellLine(label), CellLine(*change), CellLine(UNKNOWN))
            yield (
                verdict.mean,
                [
                    [task_line(names[source])],
                    [CellLine("on average", "", address)],
                    *([line] for line in rest),
                    [CellLine("holds after Bonferroni’s correction")],
                ],
            )


def training(analysis: Analysis) -> tuple[PageTable, list[str]]:
    """For each target the other task to train on, by the default rule, the most promising first;
    and the targets to which no source is likely to add a point.

    The matrix is that of the last, hence largest model.
    """
    names, model = labels(analysis).long, list(analysis.models)[-1]
    label = labels(analysis).models[model]
    found = list(mixtures(analysis, model).values())
    found.sort(key=lambda mix: -mix.expected if mix.choices else math.inf)
    rows: list[Row] = []
    for mix in found:
        if mix.choices:
            (choice,) = mix.choices  # the default rule names one source
            source, target = names[choice.source], names[mix.target]
            address = link(model=label, source=source, target=target)
            note = " ".join(note for note in mix.notes if mix.target in note)
            measured = worded(analysis, analysis.models[model].pgf[choice.source][mix.target]).text
            rows.append(
                [
                    [task_line(target)],
                    [CellLine(source, spelled(note, labels(analysis)), address)],
                    [CellLine(points(choice.expected), f"measured {measured}")],
                    [CellLine(probability(choice.helps))],
                ]
            )
    notes = dict.fromkeys(note for mix in found for note in mix.notes if mix.target not in note)
    intro = (
        "For a target without training data: the source with the highest expected gain, if it is "
        "likely to add more than a point"
        + f"; from the matrix of {label}" * (len(analysis.models) > 1)
        + f". {' '.join(notes)}"
    )
    heads = ["Target", "Train on", "Expected", "P(more than a point)"]
    helpless = [names[mix.target] for mix in found if not mix.choices]
    return PageTable("wide stack", "", intro.strip(), heads, rows), helpless
