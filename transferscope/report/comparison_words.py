"""The tables and sentences of a comparison as texts, the same for terminal, Markdown and page.

Names from files stand in them as they are; the outputs escape them.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transferscope.analysis.comparison import MEAN, ComparedRun, Comparison
from transferscope.analysis.verdict import ranked
from transferscope.selection.decision import NAMED, interval, points, task
from transferscope.selection.wording import listed

MARKS = {1: "▲", -1: "▼", 0: ""}
IN_NO_MEAN = {
    "few items": "under half of the items shared",
    "unreadable": "over 5 % of the replies unreadable",
    "void": "void",
    "no items": "no item shared",
    "averages": "number of items unknown",
}


class Entry(NamedTuple):
    """One cell of a table, or the head of a row or column."""

    text: str
    """The accuracy, or the name of a task or run."""
    change: str = ""
    """With its mark, or why there is no verdict."""
    sign: int = 0
    tested: bool = True
    interval: str = ""
    items: str = ""
    """Of a task, such as `93 of 150`; empty if unknown, or if it differs between runs."""
    verdict: str = ""
    """Of a run."""

    @property
    def words(self) -> str:
        """All but the interval and the verdict, in one line."""
        return " ".join(
            filter(None, (self.text, f"({self.items})" * bool(self.items), self.change))
        )


Grid = Sequence[Sequence[Entry]]
"""Rows of a table; the first row and the first column are heads, the corner is empty."""


def turned(table: Grid) -> Grid:
    """Rows as columns."""
    return list(zip(*table, strict=True))


def targets(comparison: Comparison) -> list[str]:
    """The tasks in order, and the mean where there is more than one."""
    several = len(comparison.targets) > 1 and comparison.shared
    return [*comparison.targets, *([MEAN] if several else [])]


def most_moved(comparison: Comparison, targets: Sequence[str], most: int) -> list[str]:
    """At most so many targets, in order: the mean, and the tasks that moved most."""

    def moved(target: str) -> tuple[bool, bool, float]:
        cells = [cell for run in comparison.runs if (cell := run.cell(target))]
        sizes = [abs(cell.change) for cell in cells if not math.isnan(cell.change)]
        return target == MEAN, any(cell.sign for cell in cells), max(sizes, default=0.0)

    kept = sorted(targets, key=moved, reverse=True)[:most]
    return [target for target in targets if target in kept]


def grid(comparison: Comparison, targets: Sequence[str]) -> Grid:
    """Base and runs down, targets across."""
    heads = []
    for target in targets:
        cells = [run.cells[target] for run in comparison.runs if target in run.cells]
        pairs = {(cell.items, cell.of) for cell in cells if target != MEAN}
        items = f"{len(comparison.shared)} tasks" * (target == MEAN)
        if len(pairs) == 1 and 0 not in (pair := pairs.pop()):
            items = " of ".join(f"{number:,}" for number in dict.fromkeys(pair))
        heads.append(Entry(task(target), items=items))
    accuracy = dict(comparison.base_accuracy)
    means = [run.mean.base for run in comparison.runs if run.mean is not None]
    if means and max(means) - min(means) < 0.0005:  # else their items differ
        accuracy[MEAN] = means[0]
    base = [Entry(_percent(accuracy.get(target, math.nan))) for target in targets]
    rows = [[Entry(""), *heads], [Entry(comparison.base), *base]]
    for run in comparison.runs:
        ship = "ship, " if run.name == comparison.decision.ship else ""
        seeds = f", {run.seeds} seeds" if run.seeds > 1 else ""
        cells = (
            _entry(run, target, counted=bool(head.items))
            for target, head in zip(targets, heads, strict=True)
        )
        rows.append([Entry(run.name, verdict=f"{ship}{run.verdict}{seeds}"), *cells])
    return rows


def _entry(run: ComparedRun, target: str, *, counted: bool) -> Entry:
    """A run's cell, with its number of items where the head of the task lacks it."""
    cell = run.cell(target)
    if cell is None or cell.state == "no items":
        return Entry("–", "(0 items)" if cell else "", tested=False)
    ends = interval(cell) if cell.state in ("tested", "few items") else ""
    tested, change = False, f"({points(cell.change)})"
    if run.verdict == "void" or cell.state == "void":
        change = "void"
    elif cell.state == "unreadable":
        change = f"({points(cell.bounds[0])}..{points(cell.bounds[1])})"
    else:
        if tested := cell.state == "tested":
            change = points(cell.change) + MARKS[cell.sign]
        change += f" n {cell.items}" if cell.items and not counted else ""
    return Entry(_percent(cell.tuned), change, cell.sign if change != "void" else 0, tested, ends)


def _percent(accuracy: float) -> str:
    return "–" if math.isnan(accuracy) else f"{100 * accuracy:.1f}"


def opening(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of what stands before the table: the verdict, the gate, the checks."""
    yield comparison.decision.headline, []
    if comparison.gate:
        yield gate(comparison)
    if comparison.checks:
        yield "", ranked(comparison.checks)


def details(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of what stands after the table: what broke and improved, what to ship."""
    for title, sign in (("Broke", -1), ("Improved", 1)):
        yield title, [what + f" ({how})" * bool(how) for what, how in moved(comparison, sign)]
    if comparison.decision.reasons:
        yield "Which to ship", list(comparison.decision.reasons)


def moved(comparison: Comparison, sign: int) -> list[tuple[str, str]]:
    """What broke or improved, and the evidence, the largest change of each run first.

    `checkpoint-100: Jigsaw −20.4 points`, `−32.2 to −8.6; 93 items: 7 fixed, 26 broken`.
    """
    found = []
    for run in comparison.runs:
        for cell in run.moved(sign):
            flips = "" if cell.fixed is None else f": {cell.fixed} fixed, {cell.broken} broken"
            flips += ", counts only" * (cell.kind == "counts")
            evidence = filter(
                None, (interval(cell), f"{cell.items:,} items{flips}", cell.collapsed)
            )
            what = f"{run.name}: {task(cell.target)} {points(cell.change)} points"
            found.append((what, "; ".join(evidence)))
    cells = [(run, cell) for run in comparison.runs for cell in run.cells.values()]
    tested = sum(cell.state == "tested" and run.verdict != "void" for run, cell in cells)
    nothing = "nothing beyond noise" if tested else "not known: no task can be tested"
    if tested < len(cells) and tested:
        nothing += f"; {len(cells) - tested} cells are not tested"
    return found or [(nothing, "")]


def gate(comparison: Comparison) -> tuple[str, list[str]]:
    """`Gate: fail at checkpoint-500`, and each condition for each run, failures first."""
    outcome, order = comparison.outcome, ("fail", "cannot tell", "pass")
    names = dict.fromkeys(each.run for each in comparison.gate if each.outcome == outcome)
    where = "" if outcome == "pass" else f" at {listed(names, NAMED)}"
    found = sorted(comparison.gate, key=lambda each: order.index(each.outcome))
    lines = [f"{each.outcome}: {each.text} for {each.run}: {each.why}" for each in found]
    return f"Gate: {outcome}{where}", lines


def legend(comparison: Comparison) -> str:
    """How to read the table: signs, which tasks the mean is over, and why the others are not."""
    count, of = len(comparison.shared), len(comparison.targets)
    parts = [
        "Accuracy in %, change in points on the items that base and run share. ▲ better, ▼ worse "
        "beyond noise; in parentheses: not tested."
    ]
    if count < of and count:
        parts.append(f"The mean is over the {count} of {of} tasks tested in every run.")
    elif count > 1:
        parts.append(f"The mean is over all {count} tasks.")
    live = [run for run in comparison.runs if run.verdict != "void"]
    missing: dict[str, list[str]] = {}
    for target in comparison.targets if live else ():
        if target not in comparison.shared:
            states = {run.cells[target].state for run in live if target in run.cells} - {"tested"}
            why = IN_NO_MEAN[min(states)] if states else "not evaluated in every run"
            missing.setdefault(why, []).append(task(target))
    if missing:
        words = (f"{listed(names, NAMED)} ({why})" for why, names in missing.items())
        parts.append(f"In no mean: {'; '.join(words)}.")
    return " ".join(parts)


def notes(comparison: Comparison) -> list[str]:
    """The notes on the files; one that several runs share stands once."""
    found: dict[str, list[str]] = {}
    for note in comparison.notes:
        name, colon, text = note.partition(": ")
        found.setdefault(text if colon else note, []).extend([name] * bool(colon))
    return [f"{listed(names, NAMED)}: {text}" if names else text for text, names in found.items()]
