"""Which finetunes are safe, not settled or harmful: each `Verdict` in words."""

import math
from collections import Counter

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.verdict import MEAN, Kind, Verdict
from transferscope.analysis.verdicts import SEEDS_HELP_MORE
from transferscope.plots.labels import Labels, counted, labels
from transferscope.plots.numbers import UNKNOWN, points
from transferscope.report.tables import CellLine, PageTable, Row, joined, task_line
from transferscope.selection.wording import listed

NAMED = 3
"""Harmed targets that are named."""
SHORT: dict[Kind, str] = {"safe": "safe", "not settled": "not settled", "harms": "harmful"}
"""The best first; what cannot be tested is not settled."""
TITLES: dict[Kind, tuple[str, str]] = {
    "safe": (
        "Safe: a loss above {tolerance} is ruled out on every task",
        "Beside each: the largest loss that is not ruled out, and where.",
    ),
    "not settled": (
        "Not settled",
        "Beside each: the largest loss that is not ruled out, where, and what would show that it "
        "is below {tolerance}, if it is.",
    ),
    "harms": ("Harmful", "The next section has each loss."),
}
"""{verdict: title and explanation}"""
SECOND = " {which}: run a second seed first. One seed does not show how far seeds differ."


def by_model(analysis: Analysis) -> list[str]:
    """A sentence for each model, where there are several or one has no verdicts."""
    sentences = []
    for name, label in labels(analysis).models.items():
        model = analysis.models[name]
        kinds = Counter(_kind(verdict) for verdict in model.verdicts.values())
        if not kinds:
            known = any(math.isfinite(c.change) for row in model.pgf.values() for c in row.values())
            why = "its effects have no intervals" if known else "its accuracies are unknown"
            sentences.append(f"{label}: cannot tell, because {why}.")
        elif len(analysis.models) > 1:
            parts = [f"{kinds[kind]} {word}" for kind, word in SHORT.items() if kinds[kind]]
            sentences.append(f"{label}: of {counted(kinds.total(), 'finetune')} {listed(parts)}.")
    return sentences


def safety(analysis: Analysis) -> list[PageTable]:
    """All finetunes with a verdict, a table for each: the worst verdict in any model."""
    names, models = labels(analysis), analysis.models.values()
    rows: dict[Kind, list[tuple[float, Row]]] = {kind: [] for kind in SHORT}
    for task in analysis.tasks:
        found = [model.verdicts.get(task.name) for model in models]
        if known := [verdict for verdict in found if verdict is not None]:
            cells = [[_line(analysis, model, task.name, names)] for model in models]
            worst = sorted(known, key=lambda each: list(SHORT).index(_kind(each)))[-1]
            loss = max(0.0 if math.isnan(each.loss) else each.loss for each in known)
            rows[_kind(worst)].append((loss, [[task_line(names.long[task.name])], *cells]))
    total, groups = sum(map(len, rows.values())), []
    heads = ["Finetuned on", *names.models.values()]
    alone = [label for n, label in names.models.items() if len(analysis.models[n].seeds) == 1]
    for kind, members in rows.items():
        if members or (kind == "safe" and total):
            tolerance = f"{100 * analysis.settings.tolerance:g} points"
            title, words = (text.format(tolerance=tolerance) for text in TITLES[kind])
            words += SECOND.format(which=listed(alone)) * (kind == "not settled" and bool(alone))
            members.sort(key=lambda each: each[0], reverse=kind == "harms")
            title = f"{title}: {len(members) or 'none'} of {total}"
            found = [row for _, row in members]
            groups.append(PageTable("wide stack", title, words * bool(members), heads, found))
    return groups


def _kind(verdict: Verdict) -> Kind:
    return "not settled" if verdict.kind == "nothing to test" else verdict.kind


def _line(analysis: Analysis, model: ModelAnalysis, source: str, names: Labels) -> CellLine:
    """One verdict in words."""
    verdict, cells = model.verdicts.get(source), model.pgf[source]
    if verdict is None or not (verdict.where or verdict.harmed or verdict.collapsed):
        return CellLine(UNKNOWN if verdict is None else "nothing to test")
    if verdict.kind == "harms":
        lost = [f"{names.long[t]} {points(cells[t].change)}" for t in verdict.harmed if t != MEAN]
        lost[NAMED:] = [f"{len(lost) - NAMED} more"] if len(lost) > NAMED else []
        lost += [f"on average {points(verdict.mean)}"] if MEAN in verdict.harmed else []
        lost += [f"one answer for nearly every item of {names.long[t]}" for t in verdict.collapsed]
        return CellLine(listed(lost))
    largest = f"{points(verdict.loss, sign=False)} ({names.long[verdict.where]})"
    if verdict.kind == "safe":
        return CellLine(f"no loss above {largest}")
    share, has = model.seed_share.get(verdict.where, math.nan), cells[verdict.where].n
    # Among all effects a loss may hold that does not among the targets of its finetune.
    alpha, several = analysis.settings.alpha, len(model.seeds) > 1
    found = [names.long[t] for t, c in cells.items() if c.change < 0 and c.q_value <= alpha]
    more = []
    if found:
        more.append(f"a loss on {listed(found)} holds after FDR correction, not after Bonferroni’s")
    if verdict.needed is not None and not share > SEEDS_HELP_MORE:
        more.append(f"needs about {verdict.needed:,} items" + (f", has {has:.0f}" if has else ""))
    elif verdict.loss > analysis.settings.tolerance and several:
        more.append("another seed helps more than more items")
    if verdict.untested:
        more.append(f"no test on {counted(len(verdict.untested), 'task')}")
    return CellLine(f"possible loss: {largest}", joined(*more))
