"""A comparison in sentences: what broke, what improved, which run to ship, and what may be hidden.

In:   runs and cells of `record`.
Out:  plain text. Accuracies are in percent and changes in points.
"""

import math
from collections.abc import Mapping, Sequence

from transferscope.analysis.verdict import Check, ranked
from transferscope.comparison.record import TOLERANCE, Cell, Comparison, Condition, Decision, Run

MOST_ITEMS = 100_000
"""Above this, the number of items that would settle a question is not worth printing."""
NAMED = 3
"""Tasks that a sentence names at most."""


def signed(change: float) -> str:
    """A change in points: `+3.3`, `−20.4`, `0.0`."""
    if math.isnan(change):
        return "–"
    text = f"{100 * change:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def percent(accuracy: float) -> str:
    """An accuracy in percent: `52.7`."""
    return "–" if math.isnan(accuracy) else f"{100 * accuracy:.1f}"


def interval(cell: Cell) -> str:
    """`−32.2 to −8.6`."""
    low, high = cell.effect.interval
    return "" if math.isnan(low) else f"{signed(low)} to {signed(high)}"


def task(target: str) -> str:
    return target.replace("_", " ")


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """`a`, `a and b`, `a, b and c`, and how many more there are."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""


def changes(cells: Sequence[Cell], most: int = NAMED) -> str:
    """`Jigsaw −20.4 and Visual Similarity −8.9`."""
    return listed([f"{task(cell.target)} {signed(cell.change)}" for cell in cells], most)


def evidence(cell: Cell) -> str:
    """`−32.2 to −8.6; 93 items: 7 fixed, 26 broken`."""
    flips = "" if cell.fixed is None else f": {cell.fixed} fixed, {cell.broken} broken"
    counts = ", counts only" if cell.kind == "counts" else ""
    return f"{interval(cell)}; {cell.items:,} items{flips}{counts}"


def state_words(cell: Cell) -> str:
    """Why a cell has no verdict."""
    if cell.state == "few items":
        return f"{cell.items:,} of {cell.of:,} items are shared with the base, too few"
    if cell.state == "unreadable":
        low, high = cell.bounds
        return (
            f"over 5 % of the replies are unreadable, so the change is between {signed(low)} and "
            f"{signed(high)}"
        )
    return {
        "averages": "only averages are known, so there is no interval",
        "void": "void",
        "no items": "no item is shared with the base",
        "tested": "tested",
    }[cell.state]


def needed(cell: Cell, margin: float) -> str:
    """How many items would settle a question."""
    times = cell.effect.times_needed(margin)
    items = math.ceil(cell.items * times) if times is not None else MOST_ITEMS + 1
    if items > MOST_ITEMS:
        return "more items would not settle it"
    if items <= cell.items:
        return "the same number of new items may settle it"
    size = 10 ** max(0, len(str(items)) - 2)
    return f"about {math.ceil(items / size) * size:,} items would do"


def decide(
    runs: Sequence[Run], checks: Sequence[Check], conditions: Sequence[Condition]
) -> Decision:
    """Which run to ship: the best mean of those that are worse on nothing and pass the gate."""
    live = [run for run in runs if run.verdict != "void"]
    if not live:
        void = next(check.message for check in checks if check.severity == "void")
        return Decision(f"Cannot tell: {void}", None, ())
    tested = [run for run in live if run.verdict != "nothing to test"]
    if not tested:
        return _untested(live)
    fine = [run for run in tested if not run.moved(-1)]
    stopped = {each.run: each.outcome for each in conditions if each.outcome == "cannot tell"}
    stopped |= {each.run: each.outcome for each in conditions if each.outcome == "fail"}
    allowed = [run for run in fine if run.name not in stopped]
    if not fine:
        return _none(tested)
    if not allowed:
        return _stopped(fine, stopped)
    best = max(allowed, key=_mean)
    more = _hidden(best) + _others(best, tested)
    mean = best.mean
    gains = best.moved(1)
    if 2 * len(best.tested()) < len(best.cells):
        what = f"; of those, {changes(gains)} beyond noise" if gains else ""
        head = (
            f"Cannot tell: only {len(best.tested())} of {len(best.cells)} tasks can be "
            f"tested at {best.name}{what}."
        )
        return Decision(head, None, tuple(more))
    if (mean is None or mean.change > 0) and (gains or (mean is not None and mean.sign > 0)):
        where = [changes(gains)] if gains and len(best.cells) > 1 else []
        what = ", ".join(([] if mean is None else [_mean_words(best)]) + where)
        count = len(best.cells) - len(best.tested())
        worse = "nothing is worse beyond noise"
        if count:
            untested = "1 task is" if count == 1 else f"{count} tasks are"
            worse = f"no tested task is worse beyond noise, {untested} not tested"
        return Decision(f"Ship {best.name}: {what}; {worse}.", best.name, tuple(more))
    if mean is not None and mean.sign < 0:
        return Decision(f"Keep the base: {_mean_words(best)} at {best.name}.", None, tuple(more))
    return _unclear(best, tested, _others(best, tested) + _hidden(best))


def _mean(run: Run) -> float:
    """What runs are ranked by; without a shared target, that is nothing."""
    return run.mean.change if run.mean is not None else 0.0


def _mean_words(run: Run) -> str:
    """`mean +3.1 points (+0.4 to +5.8)`."""
    if run.mean is None:
        return "no mean over tasks"
    name = "mean " if len(run.cells) > 1 else ""
    ends = f" ({interval(run.mean)})" if interval(run.mean) else ""
    return f"{name}{signed(run.mean.change)} points{ends}"


def _stopped(fine: list[Run], stopped: Mapping[str, str]) -> Decision:
    """No run passes the gate, of those that are worse on nothing."""
    open_ = [run for run in fine if stopped[run.name] == "cannot tell"]
    best = max(open_ or fine, key=_mean)
    if not open_:
        names = listed([run.name for run in fine])
        head = f"Ship none: {names} {'fails' if len(fine) == 1 else 'fail'} the gate."
    else:
        names = listed([run.name for run in open_])
        head = f"Cannot tell: the items do not settle the gate for {names}."
    return Decision(head, None, tuple(_hidden(best)))


def _none(tested: list[Run]) -> Decision:
    """Every run is worse than the base on something."""
    best = max(tested, key=_mean)
    reasons = [*_harm_begins(tested), *_hidden(best)]
    if len(tested) == 1:
        what = changes(best.moved(-1))
        head = f"Do not ship {best.name}: worse than the base beyond noise on {what} points."
        return Decision(head, None, tuple(reasons))
    common = set.intersection(*({cell.target for cell in run.moved(-1)} for run in tested))
    who = "both runs" if len(tested) == 2 else f"all {len(tested)} runs"
    if common:
        worst = max(common, key=lambda target: -sum(run.cells[target].change for run in tested))
        losses = [run.cells[worst].change for run in tested]
        ends = dict.fromkeys([signed(max(losses)), signed(min(losses))])
        how = (" and " if len(tested) == 2 else " to ").join(ends)
        head = f"Ship none: {who} are worse on {task(worst)} beyond noise ({how} points)."
    else:
        head = f"Ship none: {who} are worse than the base beyond noise on some task."
    least = (
        f"The least bad is {best.name}: {_mean_words(best)}, worse on {changes(best.moved(-1))}."
    )
    return Decision(head, None, (least, *reasons))


def _unclear(best: Run, tested: list[Run], reasons: list[str]) -> Decision:
    """The best run without harm gains nothing beyond noise."""
    if best.verdict == "no harm":
        most = max(cell.loss for cell in best.tested())
        head = (
            f"Ship {best.name} if it was not meant to improve these tasks: none loses more than "
            f"{abs(100 * most):.1f} points, none gains beyond noise."
        )
        return Decision(head, best.name, tuple(reasons))
    gains = best.moved(1)
    what = f"only {changes(gains)} is beyond noise" if gains else "no change is beyond noise"
    mean = f", {_mean_words(best)}" if best.mean is not None else ""
    harmful = [run for run in tested if run.moved(-1)]
    if not harmful and not gains and len(tested) > 1:
        head = f"Cannot tell: no change is beyond noise in any run; best is {best.name}{mean}."
        return Decision(head, None, tuple(reasons))
    if not harmful:
        return Decision(f"Cannot tell: {what} at {best.name}{mean}.", None, tuple(reasons))
    worse = dict.fromkeys(task(cell.target) for run in harmful for cell in run.moved(-1))
    who = f"{listed([run.name for run in harmful])} {'is' if len(harmful) == 1 else 'are'}"
    head = f"Ship none: {who} worse on {listed(list(worse))} beyond noise; at {best.name} {what}."
    return Decision(head, None, tuple(reasons))


def _untested(live: list[Run]) -> Decision:
    """No cell has an interval."""
    states = {cell.state for run in live for cell in run.cells.values()}
    if "averages" in states:
        why = "the files hold averages without numbers of items, so noise is unknown"
        ranked_runs = [run for run in live if run.mean is not None]
        best = max(ranked_runs, key=_mean, default=None)
        means = (
            ""
            if best is None
            else f" The best mean is {best.name}'s, {signed(_mean(best))} points."
        )
        help_ = "Per-sample logs give intervals (docs/harnesses.md)."
        return Decision(f"Cannot tell: {why}.{means}", None, (help_,))
    cell = next((c for run in live for c in run.cells.values() if c.state != "tested"), None)
    why = f" {task(cell.target)}: {state_words(cell)}." if cell else ""
    return Decision(f"Cannot tell: no task can be tested.{why}", None, ())


def _others(best: Run, tested: list[Run]) -> list[str]:
    """The run with a higher mean that harms, and where harm begins."""
    found = []
    higher = [run for run in tested if _mean(run) > _mean(best) and run.moved(-1)]
    if higher:
        run = max(higher, key=_mean)
        gains = f"; {changes(run.moved(1))}" if run.moved(1) else ""
        found.append(
            f"{run.name} has a higher mean ({signed(_mean(run))} points{gains}) but is worse on "
            f"{changes(run.moved(-1))}."
        )
    found += _harm_begins(tested)
    if len(tested) > 3:
        found.append(f"The best of {len(tested)} looks better than it is: confirm it on new items.")
    return found


def _harm_begins(tested: list[Run]) -> list[str]:
    """For each finetune with several steps, the first run at which a task is worse."""
    found = []
    for finetune in dict.fromkeys(run.finetune for run in tested):
        steps = [run for run in tested if run.finetune == finetune and run.step is not None]
        first: dict[str, list[Cell]] = {}
        seen: set[str] = set()
        for run in steps:
            for cell in run.moved(-1):
                if cell.target not in seen:
                    first.setdefault(run.name, []).append(cell)
                    seen.add(cell.target)
        if len(steps) > 1 and first:
            parts = [f"{changes(cells)} at {name}" for name, cells in first.items()]
            found.append(f"Harm is first seen: {'; '.join(parts)}.")
    return found


def _hidden(run: Run) -> list[str]:
    """What the items of a run do not exclude: the largest loss, and tasks that are not tested."""
    found = []
    tested = [cell for cell in run.tested() if cell.sign >= 0]
    worst = max(tested, key=lambda cell: cell.loss, default=None)
    if worst is not None and worst.loss < 0:
        found.append(f"At {run.name} every tested task gains (95 %).")
    elif worst is not None and worst.loss <= TOLERANCE:
        other = "no other tested task" if run.moved(-1) else "no tested task"
        found.append(f"At {run.name} {other} loses over {100 * worst.loss:.1f} points (95 %).")
    elif worst is not None:
        found.append(
            f"Not excluded at {run.name}: a loss of {100 * worst.loss:.1f} points on "
            f"{task(worst.target)} ({worst.items:,} items). To exclude losses beyond "
            f"{100 * TOLERANCE:g} points, {needed(worst, TOLERANCE)}."
        )
    if untested := [cell for cell in run.cells.values() if cell.state != "tested"]:
        names = listed([task(cell.target) for cell in untested])
        found.append(f"Not tested at {run.name}: {names}, where any loss may be hidden.")
    return found


def first_lines(comparison: Comparison) -> list[str]:
    """What must be known before any effect: at most eight lines, the worst first."""
    return ranked(comparison.checks)


def moved_lines(comparison: Comparison, sign: int) -> list[tuple[str, Cell]]:
    """(run, cell) of everything that broke or improved, by run, the largest change first."""
    return [(run.name, cell) for run in comparison.runs for cell in run.moved(sign)]


def gate_words(comparison: Comparison) -> str:
    """The outcome of the gate, and the runs to which it is due: `Gate: fail at checkpoint-500`."""
    outcome = comparison.outcome
    if outcome == "pass":
        return "Gate: pass"
    names = dict.fromkeys(each.run for each in comparison.gate if each.outcome == outcome)
    return f"Gate: {outcome} at {listed(list(names))}"


def nothing(comparison: Comparison) -> str:
    """What stands where no change is beyond noise: it may be that none could be tested."""
    cells = [cell for run in comparison.runs for cell in run.cells.values()]
    tested = sum(
        cell.state == "tested"
        for run in comparison.runs
        if run.verdict != "void"
        for cell in run.cells.values()
    )
    if not tested:
        return "not known: no task can be tested"
    untested = len(cells) - tested
    return "nothing beyond noise" + (f"; {untested} cells are not tested" if untested else "")


def left_out(comparison: Comparison) -> list[str]:
    """Why tasks are not in the means: each reason with its tasks."""
    why: dict[str, list[str]] = {}
    live = [run for run in comparison.runs if run.verdict != "void"]
    for target in comparison.targets:
        if target in comparison.shared or not live:
            continue
        cells = [run.cells[target] for run in live if target in run.cells]
        states = {cell.state for cell in cells} - {"tested"}
        reason = (
            {
                "few items": "under half of the items shared",
                "unreadable": "over 5 % of the replies unreadable",
                "void": "void",
                "no items": "no item shared",
                "averages": "number of items unknown",
            }[min(states)]
            if states
            else "not evaluated in every run"
        )
        why.setdefault(reason, []).append(task(target))
    return [f"{listed(names)} ({reason})" for reason, names in why.items()]


def mean_words(comparison: Comparison) -> str:
    """Which tasks the mean is over."""
    count = len(comparison.shared)
    if not count:
        return ""
    if count == len(comparison.targets):
        return f"The mean is over all {count} tasks." if count > 1 else ""
    return f"The mean is over the {count} of {len(comparison.targets)} tasks tested in every run."
