"""What a reader meets first, what each finetune breaks, which are safe, and what to train on.

Everything is decided in points of accuracy, with PGF beside. Every sentence comes from the numbers
and carries their uncertainty. Nothing here is escaped: the template does that.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy
from transferscope.analysis.headline import Headline, TaskPair, headline, pairs, verdict_of
from transferscope.analysis.verdict import MEAN, Kind, Verdict, beyond_noise, ranked
from transferscope.analysis.verdicts import SEEDS_HELP_MORE
from transferscope.matrix.collapse import describe_answers
from transferscope.matrix.measure import known_mean
from transferscope.plots import numbers
from transferscope.plots.labels import Labels, accounts, counted, labels, link, spelled
from transferscope.plots.numbers import UNKNOWN, percent, points
from transferscope.report.tables import Line, PageTable, Row, effect_line, joined, table, task_line
from transferscope.selection import mixtures
from transferscope.selection.wording import listed, probability
from transferscope.tasks.checkpoints import checkpoint

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


class Tile(NamedTuple):
    """One count of the first screen."""

    number: int
    of: int
    text: str
    small: str
    kind: str
    """`own`, `up`, `down` or `flat`."""


class Strong(NamedTuple):
    """One of the strongest effects."""

    source: str
    target: str
    link: str
    """The address of its cell on the page."""
    value: str
    interval: str
    note: str
    """What speaks against it; empty where it holds after correction."""
    sure: bool
    """Whether it is beyond noise."""
    part: int
    """Its size in percent of the strongest."""


class Overview(NamedTuple):
    """One model on the first screen: four counts, the strongest gains and losses."""

    model: str
    tiles: list[Tile]
    gains: list[Strong]
    losses: list[Strong]


def overviews(analysis: Analysis) -> list[Overview]:
    """The first screen of each model; the terminal's summary begins with the same."""
    found = []
    for name, label in labels(analysis).models.items():
        seen = headline(analysis, name)
        sides = (_strongest(analysis, name, side) for side in (seen.gains, seen.losses))
        found.append(Overview(label, _tiles(analysis, name, seen), *sides))
    return found


def facts(analysis: Analysis) -> list[str]:
    """The numbers of tasks, checkpoints and seeds."""
    found = [checkpoint(task.name) for task in analysis.tasks if task.source]
    steps = sum(each.step is not None for each in found)
    seeds = sorted({len(model.seeds) for model in analysis.models.values()})
    return [
        counted(len({each.task for each in found}), "source"),
        *([counted(steps, "checkpoint")] if steps else []),
        counted(sum(task.target for task in analysis.tasks), "target"),
        f"{listed(map(str, seeds))} seed{'' if seeds == [1] else 's'}",
    ]


def marks(analysis: Analysis) -> tuple[bool, bool]:
    """Whether an effect is not tested, and whether a run gives one option for nearly every item."""
    models = analysis.models.values()
    records = [model.behaviour for model in models if model.behaviour]
    rows = [row for each in records for row in (each.sources | each.controls).values()]
    collapsed = any(answers.collapsed for row in rows for answers in row.values())
    return any(v.untested for model in models for v in model.verdicts.values()), collapsed


def caveats(analysis: Analysis) -> list[str]:
    """What a reader must know before believing the numbers, the worst first."""
    names = labels(analysis)
    notes = [spelled(note, names) for note in analysis.notes]
    return [*ranked(analysis.checks, len(analysis.checks)), *notes, accounts(analysis)]


def _tiles(analysis: Analysis, name: str, seen: Headline) -> list[Tile]:
    """Whether finetunes learned the task they were trained on, without which nothing transfers; and
    how many other effects helped, harmed and are not settled; without intervals, up and down."""
    alpha, tiles = analysis.settings.alpha, list[Tile]()
    every = [pair for pair in pairs(analysis, name) if math.isfinite(pair.size)]
    others = [pair for pair in every if not pair.own]
    if own := [pair.cell for pair in every if pair.own]:
        change = float(known_mean(np.array([cell.change for cell in own])))
        effect = float(known_mean(np.array([cell.mean for cell in own])))
        words, _ = numbers.with_measure(analysis, change, effect)
        small = f"{words} on average, {seen.surely} beyond noise"
        tiles.append(Tile(seen.learned, seen.own, "learned their own task", small, "own"))
    judged = [verdict_of(pair, alpha) for pair in others]
    tested = len(judged) - judged.count(None)
    if not tested:
        for text, sign, kind in (("gains", 1, "up"), ("losses", -1, "down")):
            count = sum(sign * pair.size > 0 for pair in others)
            tiles.append(Tile(count, len(others), f"effects are {text}", "no intervals", kind))
        return tiles
    signs = (1, seen.helped, "help", "up"), (-1, seen.harmed, "harm", "down")
    for sign, number, word, kind in signs:
        found = zip(others, judged, strict=True)
        held = sum(verdict == sign and pair.cell.q_value <= alpha for pair, verdict in found)
        small = f"{held} hold{'s' * (held == 1)} after correction for {counted(tested, 'test')}"
        tiles.append(Tile(number, len(others), f"effects {word} beyond noise", small, kind))
    by_chance = f"without any transfer, up to about {max(1, round(alpha * tested))} would be"
    small = f"{by_chance} beyond noise"
    return [*tiles, Tile(seen.not_settled, len(others), "are not settled", small, "flat")]


def _strongest(analysis: Analysis, name: str, side: list[TaskPair]) -> list[Strong]:
    """The largest effects of one sign, each with what speaks against it."""
    names, alpha, found = labels(analysis), analysis.settings.alpha, list[Strong]()
    for pair in side:
        effect, verdict = numbers.worded(analysis, pair.cell), verdict_of(pair, alpha)
        note = one_answer(pair, analysis.models[name])
        if not note and verdict == 0:
            note = "may be noise"
        elif not note and verdict and not pair.cell.q_value <= alpha:
            note = f"not after correction (q {numbers.chance(pair.cell.q_value)})"
        # The largest of many effects are mostly overstated.
        elif not note and (expected := points(pair.cell.expected)):
            note = f"expect {expected}"
        source, target = names.long[pair.source], names.long[pair.target]
        at = link(model=names.models[name], source=source, target=target)
        part, ends = round(100 * pair.size / side[0].size), effect.interval or effect.beside
        found.append(Strong(source, target, at, effect.value, ends, note, bool(verdict), part))
    return found


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
    found = [each for name in analysis.models for each in _losses(analysis, name)]
    found.sort(key=lambda each: each[:2])
    rest = len(found[most:]) if most is not None else 0
    intro = f"The {rest} smallest losses are in the table of accuracies only." * bool(rest)
    sure = sum(not unsure for unsure, *_ in found[:most])
    heads, rows = ["Finetuned on", "Loses", "Model", "Change", "From", "Evidence"], found[:most]
    kept = [n for n, head in enumerate(heads) if head != "Model" or len(analysis.models) > 1]
    shown = [[row[n] for n in kept] for *_, row in rows]
    return table("wide stack", "", [heads[n] for n in kept], shown, intro, sure)


def _losses(analysis: Analysis, name: str) -> Iterator[tuple[bool, float, list[str | Line]]]:
    """Whether it does not hold after correction, its size, and its row, of one model."""
    model, alpha = analysis.models[name], analysis.settings.alpha
    names, label, holds = labels(analysis).long, labels(analysis).models[name], "holds after "
    bonferroni = f"{holds}Bonferroni’s correction"
    for pair in pairs(analysis, name):
        source, target, cell = pair
        verdict = model.verdicts.get(source)
        worse = verdict is not None and target in verdict.harmed
        fallen = verdict is not None and target in verdict.collapsed
        loss = pair.size < 0 and bool(beyond_noise(cell, alpha))
        if not (worse or fallen or loss):
            continue
        held, q = loss and cell.q_value <= alpha, f" (q {numbers.chance(cell.q_value)})"
        evidence = [one_answer(pair, model), bonferroni * worse]
        if held:
            alone = bool(model.verdicts) and not worse
            evidence.append(f"{holds}FDR correction{q}" + ", not after Bonferroni’s" * alone)
        if not (worse or fallen or held):
            known = math.isfinite(cell.q_value)
            among = f"all effects{q}" if known else "the targets of this finetune"
            evidence.append(f"may be noise among {among}")
        at = link(model=label, source=names[source], target=names[target])
        base = percent(base_accuracy(analysis, model, target, cell))
        row = [
            task_line(names[source]),
            Line(names[target] + " (self-transfer)" * pair.own, "", at),
            label,
            effect_line(analysis, cell),
            base + numbers.items(model, target, cell),
            joined(*evidence),
        ]
        yield not (worse or fallen or held), pair.size, row
    for source, verdict in model.verdicts.items():
        if MEAN in verdict.harmed:
            average = Line("on average", "", link(model=label, task=names[source]))
            ends = numbers.points_between(verdict.mean_ci, verdict.mean)
            change = Line(points(verdict.mean), ends)
            row = [task_line(names[source]), average, label, change, UNKNOWN, bonferroni]
            yield False, verdict.mean, row


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
        for choice in mix.choices:  # the default rule names one source
            source, target = names[choice.source], names[mix.target]
            note = " ".join(note for note in mix.notes if mix.target in note)
            at = link(model=label, source=source, target=target)
            cell = analysis.models[model].pgf[choice.source][mix.target]
            measured = f"measured {numbers.worded(analysis, cell).text}"
            train = Line(source, spelled(note, labels(analysis)), at)
            gain = Line(points(choice.expected), measured)
            rows.append([task_line(target), train, gain, probability(choice.helps)])
    notes = dict.fromkeys(note for mix in found for note in mix.notes if mix.target not in note)
    intro = " ".join([f"From the matrix of {label}."] * (len(analysis.models) > 1) + [*notes])
    heads = ["Target", "Train on", "Expected", "P(more than a point)"]
    helpless = [names[mix.target] for mix in found if not mix.choices]
    return table("wide stack", "", heads, rows, intro), helpless


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
            cells = (_verdict(analysis, model, task.name, names) for model in models)
            worst = max(known, key=lambda each: list(SHORT).index(_kind(each)))
            loss = max(0.0 if math.isnan(each.loss) else each.loss for each in known)
            rows[_kind(worst)].append((loss, [task_line(names.long[task.name]), *cells]))
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
            found = (row for _, row in members)
            groups.append(table("wide stack", title, heads, found, words * bool(members)))
    return groups


def _kind(verdict: Verdict) -> Kind:
    return "not settled" if verdict.kind == "nothing to test" else verdict.kind


def _verdict(analysis: Analysis, model: ModelAnalysis, source: str, names: Labels) -> Line:
    """One verdict in words."""
    verdict, cells = model.verdicts.get(source), model.pgf[source]
    if verdict is None or not (verdict.where or verdict.harmed or verdict.collapsed):
        return Line(UNKNOWN if verdict is None else "nothing to test")
    if verdict.kind == "harms":
        lost = [f"{names.long[t]} {points(cells[t].change)}" for t in verdict.harmed if t != MEAN]
        lost[NAMED:] = [f"{len(lost) - NAMED} more"] if len(lost) > NAMED else []
        lost += [f"on average {points(verdict.mean)}"] if MEAN in verdict.harmed else []
        lost += [f"one answer for nearly every item of {names.long[t]}" for t in verdict.collapsed]
        return Line(listed(lost))
    largest = f"{points(verdict.loss, sign=False)} ({names.long[verdict.where]})"
    if verdict.kind == "safe":
        return Line(f"no loss above {largest}")
    share, has = model.seed_share.get(verdict.where, math.nan), cells[verdict.where].n
    # Among all effects a loss may hold that does not among the targets of its finetune.
    alpha, several = analysis.settings.alpha, len(model.seeds) > 1
    found = [names.long[t] for t, c in cells.items() if c.change < 0 and c.q_value <= alpha]
    more = [f"a loss on {listed(found)} holds after FDR correction, not after Bonferroni’s"]
    more *= bool(found)
    if verdict.needed is not None and not share > SEEDS_HELP_MORE:
        more.append(f"needs about {verdict.needed:,} items" + (f", has {has:.0f}" if has else ""))
    elif verdict.loss > analysis.settings.tolerance and several:
        more.append("another seed helps more than more items")
    if verdict.untested:
        more.append(f"no test on {counted(len(verdict.untested), 'task')}")
    return Line(f"possible loss: {largest}", joined(*more))
