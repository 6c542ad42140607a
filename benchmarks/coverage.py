"""How often intervals and verdicts hold what they promise: simulated studies of a known truth.

    python benchmarks/coverage.py [--studies 60] [--only "cluster"] [--published FOLDER]

Prints the tables of docs/uncertainty.md: ours beside a plain cluster bootstrap (items, or groups of
items, and seeds drawn with replacement, 2,000 times). Each row simulates whole studies of 13 tasks
and asks, of effects of one task on another: how many 95 % intervals hold the truth, how wide they
are in points, how many effects look beyond noise, in how many studies one holds after correction,
and how many finetunes are called harmful.

With the authors' tables (`qwen2.5-vl-*.csv`), their matrices serve as the truth of studies in which
a source is chosen for each target, and the gain that was expected is held against the true one.

The answers come from their own little model, not from `stats.simulate`: a difficulty that all runs
share, a part for every adapter, one for every run, and where it says so a part for every group of
items. `moves` shifts a whole run by so many standard deviations (.3 is some 12 points), each cell
more or less so: inverse chi-square with 3 degrees of freedom.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

import transferscope as ts
from transferscope.analysis.verdict import worse
from transferscope.stats import TargetEffects, benjamini_hochberg, paired_effects, stacked
from transferscope.stats.expectation import WORTHWHILE, expectation

TASKS, ITEMS, DRAWS, ALPHA = 13, 120, 2_000, 0.05
ITSELF = np.eye(TASKS, dtype=bool)


@dataclass(frozen=True)
class Row:
    """A kind of study."""

    name: str
    seeds: int = 2
    base: float = 0.5
    effects: float = 0.0
    """Every true effect is plus or minus this, PGF."""
    correlation: float = 0.5
    """Of the base's and an adapter's answers; seeds of one agree .8, or .95 where this is .9."""
    moves: float = 0.0
    group: int = 1
    """Items that share an image: .7 of each item's noise is that of its group."""
    missing: float = 0.0
    """Share of the answers that are missing, at random."""


ROWS = [
    *(Row("no effect", seeds) for seeds in (1, 2, 4)),
    *(Row("effects of .1", seeds, effects=0.1) for seeds in (1, 2, 4)),
    *(Row("effects of .3", seeds, effects=0.3) for seeds in (1, 2, 4)),
    *(Row("runs move", seeds, moves=0.3) for seeds in (2, 4)),
    *(Row("groups of 4", seeds, group=4) for seeds in (1, 2)),
    *(Row("a third is missing", seeds, missing=1 / 3) for seeds in (1, 2)),
    *(Row("base .95", seeds, base=0.95) for seeds in (1, 2, 4)),
    *(Row("answers hardly change", seeds, base=0.9, correlation=0.9) for seeds in (1, 4)),
]


class Answers(NamedTuple):
    """One target of a simulated study."""

    base: np.ndarray
    """(1, item): one base serves all seeds."""
    tuned: np.ndarray
    """(seed, source, item)"""
    groups: np.ndarray
    truth: np.ndarray
    """True changes of accuracy, (source,)."""


def answers(row: Row, base: float, changes: np.ndarray, rng: np.random.Generator) -> Answers:
    """What base and runs answer where the true changes are these."""
    groups = np.arange(ITEMS) // row.group

    def noise(*runs: int) -> np.ndarray:
        alone = rng.standard_normal((*runs, ITEMS))
        if row.group == 1:
            return alone
        together = rng.standard_normal((*runs, groups[-1] + 1))[..., groups]
        return np.sqrt(0.7) * together + np.sqrt(0.3) * alone

    shared, to_seeds = (
        np.sin(np.pi / 2 * c) for c in (row.correlation, max(0.8, row.correlation + 0.05))
    )
    difficulty = np.sqrt(shared) * noise()
    right = difficulty + np.sqrt(1 - shared) * noise() < ndtri(base)
    runs = (row.seeds, len(changes))
    scores = difficulty + np.sqrt(to_seeds - shared) * noise(len(changes))
    scores = scores + np.sqrt(1 - to_seeds) * noise(*runs)
    limit = np.broadcast_to(ndtri(base + changes), runs)
    if row.moves:
        spread = row.moves * np.sqrt(3 / rng.chisquare(3, len(changes)))
        limit = limit * np.sqrt(1 + spread**2) + spread * rng.standard_normal(runs)
    tuned = (scores < limit[..., None]).astype(float)
    tuned[rng.random(tuned.shape) < row.missing] = np.nan
    return Answers(right[None].astype(float), tuned, groups, changes)


def study(row: Row, rng: np.random.Generator) -> list[Answers]:
    """All targets of one study; a finetune helps its own task by .4 where others have effects."""
    signs = rng.choice([-1.0, 1.0], (TASKS, TASKS)) * row.effects
    pgf = np.where(ITSELF, 0.4 * bool(row.effects), signs)
    return [answers(row, row.base, pgf[:, j] * (1 - row.base), rng) for j in range(TASKS)]


class Found(NamedTuple):
    """What one scheme says of one study; off-diagonal cells, NaN on the diagonal."""

    low: np.ndarray
    high: np.ndarray
    change: np.ndarray
    p: np.ndarray


def ours(targets: Sequence[Answers]) -> Found:
    """The product's intervals and p-values."""
    found = stacked([one.effect for one in effects_of(targets)])
    return Found(*found.interval(), found.change, np.where(ITSELF, np.nan, found.p))


def effects_of(targets: Sequence[Answers]) -> list[TargetEffects]:
    """Each target's effects."""
    return [
        paired_effects(one.base, one.tuned, groups=one.groups, others=~ITSELF[:, j])
        for j, one in enumerate(targets)
    ]


def cluster_bootstrap(targets: Sequence[Answers], rng: np.random.Generator) -> Found:
    """Percentile intervals of groups of items and seeds drawn with replacement."""
    shape = (TASKS, TASKS)
    low, high, change, p = np.empty((4, *shape))
    for j, one in enumerate(targets):
        member = (one.groups[:, None] == np.unique(one.groups)).astype(float)
        both = np.isfinite(one.tuned)
        sums = np.where(both, one.tuned - one.base[:, None], 0) @ member  # (seed, source, group)
        counts = both @ member
        number, seeds = member.shape[1], len(sums)
        of_groups = rng.multinomial(number, np.full(number, 1 / number), DRAWS)
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
        rates = (sums @ of_groups.T) / np.maximum(counts @ of_groups.T, 1)
        drawn = np.einsum("sid,ds->id", rates, of_seeds)
        low[:, j], high[:, j] = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=-1)
        change[:, j] = (sums.sum(-1) / counts.sum(-1)).mean(0)
        sides = np.minimum((drawn <= 0).sum(-1), (drawn >= 0).sum(-1))
        p[:, j] = np.minimum(1, 2 * (sides + 1) / (DRAWS + 1))
    return Found(low, high, change, np.where(ITSELF, np.nan, p))


def judged(found: Found, truth: np.ndarray) -> dict[str, float]:
    """One study: shares in percent, the median width in points."""
    off = ~ITSELF
    q = benjamini_hochberg(found.p[off])
    harmful = [
        worse(np.where(off[i], found.change[i], np.nan), found.p[i], ALPHA).any()
        for i in range(TASKS)
    ]
    return {
        "covered": 100 * ((found.low <= truth) & (truth <= found.high))[off].mean(),
        "width": 100 * float(np.median((found.high - found.low)[off])),
        "beyond noise": 100 * (found.p[off] <= ALPHA).mean(),
        "one holds": 100.0 * (q <= ALPHA).any(),
        "harmful": 100 * float(np.mean(harmful)),
    }


def compared(rows: Sequence[Row], studies: int) -> Iterator[str]:
    """A line for each row: ours / the bootstrap. Each core takes the next row."""
    yield f"{'study':24}seeds  " + "  ".join(f"{name:>14}" for name in (*_COLUMNS, "ms"))
    with ProcessPoolExecutor() as cores:
        yield from cores.map(one_line, rows, [studies] * len(rows))


def one_line(row: Row, studies: int) -> str:
    """The figures of one row, over its studies."""
    sums: dict[str, dict[str, float]] = {"ours": {}, "theirs": {}}
    for number in range(studies):
        targets = study(row, np.random.default_rng([number, row.seeds]))
        truth = np.stack([one.truth for one in targets], axis=-1)
        for name, values in sums.items():
            start = time.perf_counter()
            if name == "ours":
                found = ours(targets)
            else:
                found = cluster_bootstrap(targets, np.random.default_rng([number, 1]))
            seconds = time.perf_counter() - start
            for key, value in (judged(found, truth) | {"ms": 1000 * seconds}).items():
                values[key] = values.get(key, 0.0) + value / studies
    one, other = sums.values()
    cells = (f"{one[key]:5.1f} / {other[key]:5.1f}" for key in (*_COLUMNS, "ms"))
    return f"{row.name:24}{row.seeds:5}  " + "  ".join(f"{cell:>14}" for cell in cells)


_COLUMNS = ("covered", "width", "beyond noise", "one holds", "harmful")


def selected(folder: Path, studies: int) -> Iterator[str]:
    """Choosing a source for each target, where the authors' matrices are the truth.

    Two and three seeds, `ITEMS` items; per target, where choosing none counts 0.
    """
    yield "matrix  seeds  chosen  expected  true  | largest mean: expected  true  (points a target)"
    for path in sorted(folder.glob("qwen2.5-vl-*.csv")):
        mean = ts.read_results(path)["pgf"].isel(model=0).mean("seed")
        pgf = mean.transpose("source", "target").values
        base, size = 0.6, path.stem.split("-")[-1]
        truth = np.clip(pgf, -1, 0.99) * (1 - base)
        for seeds in (2, 3):
            sums = np.zeros((3, 2))
            for number in range(studies):
                rng = np.random.default_rng([number, seeds])
                row = Row("", seeds)
                targets = [answers(row, base, truth[:, j], rng) for j in range(TASKS)]
                effects = effects_of(targets)
                expected = expectation(effects, ITSELF)
                change = np.stack([one.change for one in effects], axis=-1)
                gains = np.where(ITSELF, -1, expected.mean)
                best = gains.argmax(axis=0), np.arange(TASKS)
                taken = expected.helps[best] >= 0.8
                plain = np.where(ITSELF, -1, change).argmax(axis=0), np.arange(TASKS)
                sums[0] += taken.mean(), 0
                sums[1] += (gains[best] * taken).mean(), (truth[best] * taken).mean()
                sums[2] += change[plain].mean(), truth[plain].mean()
            (share, _), (ours_said, ours_true), (plain_said, plain_true) = sums / studies
            yield (
                f"{size:7} {seeds:5}  {share:5.0%}  {100 * ours_said:7.1f}  {100 * ours_true:5.1f}"
                f"  | {100 * plain_said:20.1f}  {100 * plain_true:5.1f}"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=60, help="simulated studies a row")
    parser.add_argument("--only", default="", help="rows whose name has this text")
    parser.add_argument("--published", type=Path, help="folder of the authors' PGF tables")
    given = parser.parse_args(arguments)
    print("In percent, width in points: ours / plain cluster bootstrap")
    for line in compared([row for row in ROWS if given.only in row.name], given.studies):
        print(line, flush=True)
    if given.published:
        print(f"\nChoosing a source that adds over {100 * WORTHWHILE:g} point")
        for line in selected(given.published, given.studies):
            print(line, flush=True)


if __name__ == "__main__":
    main()
