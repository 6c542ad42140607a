"""The sentences beside a comparison's table; the outputs that show them escape names."""

from collections.abc import Sequence

from transferscope.analysis.comparison import ComparedCell, Comparison
from transferscope.selection.decision import NAMED, interval, points, task
from transferscope.selection.wording import listed

LEGEND = (
    "Accuracy in %, change in points on the items that base and run share. ▲ better, ▼ worse "
    "beyond noise; in parentheses: not tested."
)


def moved(comparison: Comparison, sign: int) -> list[tuple[str, ComparedCell]]:
    """(run, cell) of everything that broke or improved, by run, the largest change first."""
    return [(run.name, cell) for run in comparison.runs for cell in run.moved(sign)]


def evidence(cell: ComparedCell) -> str:
    """`−32.2 to −8.6; 93 items: 7 fixed, 26 broken`."""
    flips = "" if cell.fixed is None else f": {cell.fixed} fixed, {cell.broken} broken"
    counts = ", counts only" if cell.kind == "counts" else ""
    collapsed = f"; {cell.collapsed}" if cell.collapsed else ""
    return f"{interval(cell)}; {cell.items:,} items{flips}{counts}{collapsed}"


def moved_line(name: str, cell: ComparedCell) -> str:
    """`checkpoint-100: Jigsaw −20.4 points (−32.2 to −8.6; 93 items: 7 fixed, 26 broken)`."""
    return f"{name}: {task(cell.target)} {points(cell.change)} points ({evidence(cell)})"


def nothing_moved(comparison: Comparison) -> str:
    """The line if no change is beyond noise: perhaps none could be tested."""
    cells = [(run, cell) for run in comparison.runs for cell in run.cells.values()]
    tested = sum(cell.state == "tested" and run.verdict != "void" for run, cell in cells)
    if not tested:
        return "not known: no task can be tested"
    untested = len(cells) - tested
    return "nothing beyond noise" + (f"; {untested} cells are not tested" if untested else "")


def gate_words(comparison: Comparison) -> str:
    """The outcome of the gate, and the runs that cause it: `Gate: fail at checkpoint-500`."""
    outcome = comparison.outcome
    names = dict.fromkeys(each.run for each in comparison.gate if each.outcome == outcome)
    return f"Gate: {outcome}" + ("" if outcome == "pass" else f" at {listed(names, NAMED)}")


def legend(comparison: Comparison) -> str:
    """How to read the table: signs, which tasks the mean is over, and why the others are not."""
    count, of = len(comparison.shared), len(comparison.targets)
    parts = [LEGEND]
    if count < of and count:
        parts.append(f"The mean is over the {count} of {of} tasks tested in every run.")
    elif count > 1:
        parts.append(f"The mean is over all {count} tasks.")
    live = [run for run in comparison.runs if run.verdict != "void"]
    missing: dict[str, list[str]] = {}
    for target in comparison.targets:
        if target not in comparison.shared and live:
            why = _why_in_no_mean([run.cells[target] for run in live if target in run.cells])
            missing.setdefault(why, []).append(task(target))
    if missing:
        words = (f"{listed(names, NAMED)} ({why})" for why, names in missing.items())
        parts.append(f"In no mean: {'; '.join(words)}.")
    return " ".join(parts)


def _why_in_no_mean(cells: Sequence[ComparedCell]) -> str:
    states = {cell.state for cell in cells} - {"tested"}
    if not states:
        return "not evaluated in every run"
    return {
        "few items": "under half of the items shared",
        "unreadable": "over 5 % of the replies unreadable",
        "void": "void",
        "no items": "no item shared",
        "averages": "number of items unknown",
    }[min(states)]
