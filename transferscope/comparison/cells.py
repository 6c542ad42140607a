"""Every run on every target: accuracy, change, interval, and which changes are beyond noise.

In:   rows of base and runs, as `readers.harness.evaluations.evaluate` returns them.
Out:  `record.Run`s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from transferscope.analysis.verdict import Check, is_void
from transferscope.comparison.inputs import Named
from transferscope.comparison.record import ALPHA, MEAN, TOLERANCE, Cell, Run, Verdict
from transferscope.errors import DataError
from transferscope.predictions import MOST_UNREADABLE, with_marks
from transferscope.readers.harness.evaluations import Evaluated
from transferscope.stats import benjamini_hochberg
from transferscope.stats.paired import Effect, mean_effect, paired, unpaired, with_seeds

FEWEST = 0.5
"""Share of the target's items that must be shared for a verdict."""

Answers = Mapping[str | None, np.ndarray]
"""Marks of each item by seed."""


class _Numbers(NamedTuple):
    """A cell before its verdict, and its change by seed."""

    cell: Cell
    by_seed: np.ndarray


def runs_of(
    evaluated: Evaluated, names: Mapping[str, Named], checks: Sequence[Check]
) -> tuple[list[Run], list[str], dict[str, float]]:
    """The runs, the targets that all of them share, and the base's accuracies.

    Raises:
        DataError: a run has seeds that the base lacks.
    """
    rows = evaluated.rows
    targets = rows["target"].unique(maintain_order=True).to_list()
    measure = _paired_target if evaluated.items else _average_target
    if evaluated.items:
        rows = with_marks(rows)
    found: dict[str, dict[str, _Numbers]] = {source: {} for source in names}
    base: dict[str, float] = {}
    for target, part in rows.group_by("target", maintain_order=True):
        each, base[str(target[0])] = measure(str(target[0]), part)
        for source, numbers in each.items():
            found[source][str(target[0])] = numbers
    model = rows["model"][0]
    for source, cells in found.items():
        for target, (cell, by_seed) in cells.items():
            if is_void(checks, model, source, target):
                cells[target] = _Numbers(replace(cell, state="void"), by_seed)
    void = {source for source in names if is_void(checks, model, source, None)}
    _add_seeds(found)
    live = [cells for source, cells in found.items() if source not in void]
    shared = _shared(live, targets)
    means = {source: _mean(found, source, shared) for source in names if source not in void}
    _judge(found, means)
    runs = [
        Run(
            *named,
            seeds=max((len(n.by_seed) for n in found[source].values()), default=0),
            cells={t: found[source][t].cell for t in targets if t in found[source]},
            mean=means.get(source),
            verdict="void"
            if source in void
            else _verdict([n.cell for n in found[source].values()]),
        )
        for source, named in names.items()
    ]
    return runs, shared, base


def _paired_target(target: str, part: pl.DataFrame) -> tuple[dict[str, _Numbers], float]:
    """Every run's change on one target, item by item, and the base's accuracy."""
    items = part["item"].unique(maintain_order=True)
    place = pl.col("item").replace_strict(items, np.arange(len(items)), return_dtype=pl.Int64)
    known = "unreadable" in part.columns
    no_option = pl.col("unreadable").fill_null(False) if known else pl.lit(False)
    marks: dict[str | None, dict[str | None, np.ndarray]] = {}
    lost: dict[str | None, dict[str | None, np.ndarray]] = {}
    for (source, seed), one in part.with_columns(place=place, lost=no_option).group_by(
        "source", "seed", maintain_order=True
    ):
        for kept, column in ((marks, "mark"), (lost, "lost")):
            values = np.full(len(items), np.nan)
            values[one["place"].to_numpy()] = one[column].cast(pl.Float64).to_numpy()
            kept.setdefault(source, {})[seed] = values  # pyright: ignore[reportArgumentType]
    if None not in marks:
        return {}, np.nan
    found, shared = {}, []
    for source, seeds in marks.items():
        if source is None:
            continue
        base = _of_seeds(marks[None], list(seeds), source, target)
        tuned = np.array(list(seeds.values()))
        missing = (
            _of_seeds(lost[None], list(seeds), source, target),
            np.array([*lost[source].values()]),
        )
        found[source] = _paired_cell(target, base, tuned, missing, len(items))
        shared.append(np.isfinite(base).any(axis=0) & np.isfinite(tuned).any(axis=0))
    own = np.array(list(marks[None].values()))
    if shared and shared[0].any() and all((each == shared[0]).all() for each in shared):
        own = own[:, shared[0]]
    return found, float(np.nanmean(own))


def _of_seeds(base: Answers, seeds: list[str | None], source: str, target: str) -> np.ndarray:
    """The base's answers, a row for each seed of the run, or one that serves all."""
    if len(base) == 1:
        return np.array(list(base.values()))
    if absent := [seed for seed in seeds if seed not in base]:
        raise DataError(
            f"{source}: {target}: no base of seed {absent[0]!r}; the base has {len(base)} seeds, "
            f"expected one of each of the run's, or one that serves all"
        )
    return np.array([base[seed] for seed in seeds])


def _paired_cell(
    target: str,
    base: np.ndarray,
    tuned: np.ndarray,
    unread: tuple[np.ndarray, np.ndarray],
    of: int,
) -> _Numbers:
    result = paired(base, tuned)
    both = np.isfinite(base) & np.isfinite(tuned)
    before, after = (
        float(np.broadcast_to(each, both.shape)[both].mean()) if both.any() else 0.0
        for each in unread
    )
    state, bounds = "tested", (np.nan, np.nan)
    if result.items == 0:
        state = "no items"
    elif max(before, after) > MOST_UNREADABLE:
        state = "unreadable"
        bounds = result.effect.change - before, result.effect.change + after
    elif result.items < FEWEST * of:
        state = "few items"
    with np.errstate(invalid="ignore"):
        counts = both.sum(axis=1)
        change = np.where(both, tuned - base, 0).sum(axis=1) / np.where(counts, counts, np.nan)
    return _Numbers(
        Cell(
            target=target,
            kind="paired",
            state=state,
            items=result.items,
            of=of,
            base=result.base,
            tuned=result.tuned,
            effect=result.effect,
            fixed=result.fixed,
            broken=result.broken,
            bounds=bounds,
        ),
        change,
    )


def _average_target(target: str, part: pl.DataFrame) -> tuple[dict[str, _Numbers], float]:
    """Every run's change on one target where only averages are known, and the base's accuracy."""
    part = part.drop_nulls("accuracy")
    base = part.filter(pl.col("source").is_null())
    if base.is_empty():
        return {}, np.nan
    largest = part["total"].max() if "total" in part.columns else None
    of = int(float(str(largest))) if largest is not None else 0
    found = {}
    for (source,), run in part.drop_nulls("source").group_by("source", maintain_order=True):
        seeds = run["seed"].to_list()
        before = base if base.height == 1 else base.filter(pl.col("seed").is_in(seeds))
        if before.height not in (1, len(seeds)):
            raise DataError(
                f"{source}: {target}: the base has {base.height} seeds, expected one of each of "
                f"the run's, or one that serves all"
            )
        by_seed = run["accuracy"].to_numpy() - (
            before["accuracy"].to_numpy()
            if before.height == 1
            else np.array([dict(before["seed", "accuracy"].rows())[seed] for seed in seeds])
        )
        found[str(source)] = _Numbers(_average_cell(target, before, run, of), by_seed)
    return found, float(np.mean(base["accuracy"].to_numpy()))


def _average_cell(target: str, base: pl.DataFrame, run: pl.DataFrame, of: int) -> Cell:
    before, after = (float(np.mean(each["accuracy"].to_numpy())) for each in (base, run))
    change = Effect(after - before)
    cell = Cell(target, "averages", "averages", 0, of, before, after, change)
    if not {"correct", "total"} <= set(run.columns):
        return cell
    counted = [each.select("correct", "total").drop_nulls() for each in (base, run)]
    if any(known.height < each.height for known, each in zip(counted, (base, run), strict=True)):
        return cell
    # Of several seeds, the mean count: the items are the same, so more seeds are not more items.
    right, items = (
        [float(np.mean(each[column].to_numpy())) for each in counted]
        for column in ("correct", "total")
    )
    whole = (round(items[0]), round(items[1]))
    effect = replace(unpaired((right[0], right[1]), whole), change=change.change)
    state = "tested" if min(whole) >= FEWEST * of else "few items"
    return replace(cell, kind="counts", state=state, items=min(whole), effect=effect)


def _add_seeds(found: dict[str, dict[str, _Numbers]]) -> None:
    """The variance that seeds add, in every cell of several seeds."""
    spread = {
        (source, target): float(np.nanvar(numbers.by_seed, ddof=1))
        for source, cells in found.items()
        for target, numbers in cells.items()
        if np.isfinite(numbers.by_seed).sum() > 1
    }
    for (source, target), own in spread.items():
        cell, by_seed = found[source][target]
        others = [value for key, value in spread.items() if key != (source, target)]
        effect = with_seeds(cell.effect, int(np.isfinite(by_seed).sum()), own, others)
        found[source][target] = _Numbers(replace(cell, effect=effect), by_seed)


def _shared(live: list[dict[str, _Numbers]], targets: list[str]) -> list[str]:
    """The targets of the means: tested in every run; without such, known as averages in every run.

    One of several targets is no mean over targets.
    """
    for state in ("tested", "averages"):
        found = [
            target
            for target in targets
            if live and all(target in c and c[target].cell.state == state for c in live)
        ]
        if len(found) > 1 or found == targets:
            return found
    return []


def _mean(found: dict[str, dict[str, _Numbers]], source: str, shared: list[str]) -> Cell | None:
    """A run's mean over the shared targets."""
    if not shared:
        return None
    whole = [found[source][target] for target in shared]
    cells = [numbers.cell for numbers in whole]
    effect = mean_effect([cell.effect for cell in cells])
    seeds = min(len(numbers.by_seed) for numbers in whole)
    if seeds > 1:  # a run moves all targets at once, so the spread is that of its means
        spread = {
            other: float(np.nanvar(np.mean([each[t].by_seed for t in shared], axis=0), ddof=1))
            for other, each in found.items()
            if all(t in each and len(each[t].by_seed) == seeds for t in shared)
        }
        others = [value for other, value in spread.items() if other != source]
        effect = with_seeds(effect, seeds, spread.get(source, np.nan), others)
    states = {cell.state for cell in cells}
    return Cell(
        target=MEAN,
        kind=cells[0].kind,
        state="tested" if states == {"tested"} else "averages",
        items=sum(cell.items for cell in cells),
        of=sum(cell.of for cell in cells),
        base=float(np.mean([cell.base for cell in cells])),
        tuned=float(np.mean([cell.tuned for cell in cells])),
        effect=effect,
    )


def _judge(found: dict[str, dict[str, _Numbers]], means: dict[str, Cell | None]) -> None:
    """q-values and signs of all tested cells and of the means."""
    tested = [
        (source, target)
        for source, cells in found.items()
        for target, numbers in cells.items()
        if numbers.cell.state == "tested"
    ]
    harms = {
        (source, cell.target)
        for source, cells in found.items()
        for cell in harmed([numbers.cell for numbers in cells.values()])
    }
    effects = [found[source][target].cell.effect for source, target in tested]
    for (source, target), q in zip(tested, _q_values(effects), strict=True):
        cell, by_seed = found[source][target]
        clear = q <= ALPHA or (source, target) in harms
        sign = int(np.sign(cell.change)) if clear else 0
        found[source][target] = _Numbers(replace(cell, q=q, sign=sign), by_seed)
    known = {s: mean for s, mean in means.items() if mean is not None and mean.state == "tested"}
    q_values = _q_values([mean.effect for mean in known.values()])
    for (source, mean), q in zip(known.items(), q_values, strict=True):
        sign = int(np.sign(mean.change)) if q <= ALPHA else 0
        means[source] = replace(mean, q=q, sign=sign)


def _q_values(effects: Sequence[Effect]) -> list[float]:
    """Benjamini-Hochberg, for gains and for losses apart.

    Together, many clear gains would let through losses that are noise.
    """
    p = np.array([effect.p for effect in effects], float)
    up = np.array([effect.change > 0 for effect in effects], bool)
    q = np.where(
        up,
        benjamini_hochberg(np.where(up, p, 1.0)),
        benjamini_hochberg(np.where(up, 1.0, p)),
    )
    return q.tolist()


def harmed(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one run that are worse, one-sided and corrected for the run's targets.

    "Harms something" is a union over targets, so Bonferroni's correction is needed.
    """
    tested = [cell for cell in cells if cell.state == "tested"]
    return [cell for cell in tested if cell.change < 0 and cell.effect.p / 2 * len(tested) <= ALPHA]


def _verdict(cells: Sequence[Cell]) -> Verdict:
    """Whether a run harms, does no harm, or neither can be concluded."""
    tested = [cell for cell in cells if cell.state == "tested"]
    if not tested:
        return "nothing to test"
    if harmed(cells):
        return "harms"
    # An intersection over targets needs no correction: every single bound must hold.
    sure = all(cell.loss <= TOLERANCE for cell in tested) and len(tested) == len(cells)
    return "no harm" if sure and not any(cell.sign < 0 for cell in tested) else "not settled"
