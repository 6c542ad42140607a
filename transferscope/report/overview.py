"""The first screen in words: four counts, the strongest gains and losses, and the caveats.

The page and the terminal's summary show the same.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from transferscope.analysis import Analysis, Cell
from transferscope.analysis.headline import Headline, TaskPair, headline, pairs, verdict_of
from transferscope.analysis.verdict import ranked
from transferscope.matrix.measure import known_mean
from transferscope.plots.labels import accounts, counted, labels, link, spelled
from transferscope.plots.numbers import chance, points, with_measure, worded
from transferscope.report.findings import one_answer

Kind = Literal["own", "up", "down", "flat"]


class Tile(NamedTuple):
    """One count."""

    number: int
    of: int
    text: str
    small: str
    kind: Kind


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
    """One model on the first screen."""

    model: str
    tiles: list[Tile]
    gains: list[Strong]
    losses: list[Strong]


def overviews(analysis: Analysis) -> list[Overview]:
    """The first screen of each model."""
    found = []
    for name, label in labels(analysis).models.items():
        seen, every = headline(analysis, name), pairs(analysis, name)
        others = [pair for pair in every if not pair.own and math.isfinite(pair.size)]
        own = [pair.cell for pair in every if pair.own and math.isfinite(pair.size)]
        tiles = [*_own(analysis, seen, own), *_effects(analysis, seen, others)]
        sides = (_strongest(analysis, name, side) for side in (seen.gains, seen.losses))
        found.append(Overview(label, tiles, *sides))
    return found


def caveats(analysis: Analysis) -> list[str]:
    """What a reader must know before believing the numbers, the worst first."""
    names = labels(analysis)
    notes = [spelled(note, names) for note in analysis.notes]
    return [*ranked(analysis.checks, len(analysis.checks)), *notes, accounts(analysis)]


def _own(analysis: Analysis, seen: Headline, own: list[Cell]) -> list[Tile]:
    """Whether finetunes learned the task they were trained on; without that nothing transfers."""
    if not own:
        return []
    change, effect = (
        float(known_mean(np.array(each)))
        for each in zip(*((cell.change, cell.mean) for cell in own), strict=True)
    )
    small = f"{with_measure(analysis, change, effect)[0]} on average, {seen.surely} beyond noise"
    return [Tile(seen.learned, seen.own, "learned their own task", small, "own")]


def _effects(analysis: Analysis, seen: Headline, others: list[TaskPair]) -> list[Tile]:
    """Effects on other tasks: helped, harmed, and not settled; without intervals up and down."""
    alpha = analysis.settings.alpha
    judged = [verdict_of(pair, alpha) for pair in others]
    tested = len(judged) - judged.count(None)
    if not tested:
        ups = sum(pair.size > 0 for pair in others)
        downs = sum(pair.size < 0 for pair in others)
        return [
            Tile(ups, len(others), "effects are gains", "no intervals", "up"),
            Tile(downs, len(others), "effects are losses", "no intervals", "down"),
        ]
    tiles = []
    signs: tuple[tuple[int, int, str, Kind], ...] = (
        (1, seen.helped, "help", "up"),
        (-1, seen.harmed, "harm", "down"),
    )
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
        effect, verdict = worded(analysis, pair.cell), verdict_of(pair, alpha)
        note = one_answer(pair, analysis.models[name])
        if not note and verdict == 0:
            note = "may be noise"
        elif not note and verdict and not pair.cell.q_value <= alpha:
            note = f"not after correction (q {chance(pair.cell.q_value)})"
        # The largest of many effects are mostly overstated.
        elif not note and (expected := points(pair.cell.expected)):
            note = f"expect {expected}"
        source, target = names.long[pair.source], names.long[pair.target]
        address = link(model=names.models[name], source=source, target=target)
        part = round(100 * pair.size / side[0].size)
        ends = effect.interval or effect.beside
        found.append(Strong(source, target, address, effect.value, ends, note, bool(verdict), part))
    return found
