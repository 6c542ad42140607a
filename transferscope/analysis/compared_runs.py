"""Every run on every target: accuracy, change, interval, and which changes are beyond noise.

In:   rows of base and runs: predictions, or accuracies where items are unknown.
Out:  `comparison.ComparedRun`s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from transferscope.analysis.comparison import (
    ALPHA,
    MEAN,
    TOLERANCE,
    ComparedCell,
    ComparedRun,
    RunVerdict,
)
from transferscope.analysis.verdict import Check, is_void
from transferscope.errors import DataError
from transferscope.predictions import MOST_UNREADABLE, with_marks
from transferscope.stats import benjamini_hochberg
from transferscope.stats.paired import Effect, mean_effect, paired, unpaired, with_seeds

FEWEST = 0.5
"""Share of the target's items that base and run must share for a verdict."""

Cells = dict[str, ComparedCell]


class RunName(NamedTuple):
    """What a run is called."""

    name: str
    finetune: str
    step: int | None


def compare_runs(
    rows: pl.DataFrame, names: Mapping[str, RunName], checks: Sequence[Check]
) -> tuple[list[ComparedRun], list[str], dict[str, float]]:
    """The runs, the targets that all of them share, and the base's accuracy on each target.

    Args:
        rows: one model's predictions, or without a column `item` accuracies and counts.
        names: {source: its name}, in the order of the runs.

    Raises:
        DataError: a run has seeds that the base lacks.
    """
    targets: list[str] = rows["target"].unique(maintain_order=True).to_list()
    model, measure = rows["model"][0], _average_target
    if "item" in rows.columns:
        rows, measure = with_marks(rows), _paired_target
    found: dict[str, Cells] = {source: {} for source in names}
    base: dict[str, float] = {}
    for target in targets:
        cells, base[target] = measure(target, rows.filter(pl.col("target") == target))
        for source, cell in cells.items():
            void = is_void(checks, model, source, target)
            found[source][target] = replace(cell, state="void") if void else cell
    _add_seeds(found)
    void = {source for source in names if is_void(checks, model, source, None)}
    shared = _shared([cells for source, cells in found.items() if source not in void], targets)
    means = {source: _mean(found, source, shared) for source in names if source not in void}
    _judge(found, means)
    runs = [
        ComparedRun(
            *named,
            seeds=max((len(cell.by_seed) for cell in found[source].values()), default=0),
            cells=found[source],
            mean=means.get(source),
            verdict="void" if source in void else _verdict(list(found[source].values())),
        )
        for source, named in names.items()
    ]
    return runs, shared, base


def _paired_target(target: str, part: pl.DataFrame) -> tuple[Cells, float]:
    """{source: its change item by item} on one target, and the base's accuracy."""
    items = part["item"].unique(maintain_order=True)
    unreadable = pl.lit(False)
    if "unreadable" in part.columns:
        unreadable = pl.col("unreadable").fill_null(False)
    part = part.with_columns(
        unread=unreadable.cast(pl.Float64),
        place=pl.col("item").replace_strict(items, np.arange(len(items)), return_dtype=pl.Int64),
    )
    # {source: {seed: marks and unreadable replies of every item, NaN where not answered}}
    answers: dict[str | None, dict[str | None, Float[np.ndarray, "2 item"]]] = {}
    for (source, seed), one in part.group_by("source", "seed", maintain_order=True):
        values = np.full((2, len(items)), np.nan)
        values[:, one["place"].to_numpy()] = one["mark"].to_numpy(), one["unread"].to_numpy()
        answers.setdefault(source, {})[seed] = values  # pyright: ignore[reportArgumentType]
    base = answers.pop(None, None)
    if base is None:
        return {}, np.nan
    cells: Cells = {}
    shared: list[np.ndarray] = []
    for source, seeds in answers.items():
        before = np.array(list(base.values()))
        if len(base) > 1:  # else one base serves all seeds
            if absent := [seed for seed in seeds if seed not in base]:
                raise DataError(
                    f"{source}: {target}: no base of seed {absent[0]!r}; the base has {len(base)} "
                    f"seeds, expected one of each of the run's, or one that serves all"
                )
            before = np.array([base[seed] for seed in seeds])
        after = np.array(list(seeds.values()))
        cells[str(source)] = _paired_cell(target, before, after)
        answered = [np.isfinite(each[:, 0]).any(axis=0) for each in (before, after)]
        shared.append(np.all(answered, axis=0))
    own = np.array(list(base.values()))[:, 0]
    if shared and shared[0].any() and all((each == shared[0]).all() for each in shared):
        own = own[:, shared[0]]
    return cells, float(np.nanmean(own))


def _paired_cell(
    target: str,
    before: Float[np.ndarray, "baseseed 2 item"],
    after: Float[np.ndarray, "seed 2 item"],
) -> ComparedCell:
    """A run's change; `before` and `after` hold marks and unreadable replies."""
    base, tuned, of = before[:, 0], after[:, 0], after.shape[-1]
    result = paired(base, tuned)
    both = np.isfinite(base) & np.isfinite(tuned)
    unread_base, unread_tuned = (
        float(np.broadcast_to(each[:, 1], both.shape)[both].mean()) if both.any() else 0.0
        for each in (before, after)
    )
    state, bounds = "tested", (np.nan, np.nan)
    if result.items == 0:
        state = "no items"
    elif max(unread_base, unread_tuned) > MOST_UNREADABLE:
        state = "unreadable"
        bounds = result.effect.change - unread_base, result.effect.change + unread_tuned
    elif result.items < FEWEST * of:
        state = "few items"
    counts = both.sum(axis=1)
    by_seed = np.where(both, tuned - base, 0).sum(axis=1) / np.where(counts, counts, np.nan)
    return ComparedCell(
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
        by_seed=tuple(by_seed.tolist()),
    )


def _average_target(target: str, part: pl.DataFrame) -> tuple[Cells, float]:
    """{source: its change} on one target without items, and the base's accuracy."""
    part = part.drop_nulls("accuracy")
    base = part.filter(pl.col("source").is_null())
    if base.is_empty():
        return {}, np.nan
    most = part["total"].max() if "total" in part.columns else None
    of = int(float(str(most))) if most is not None else 0
    cells: Cells = {}
    for (source,), run in part.drop_nulls("source").group_by("source", maintain_order=True):
        seeds = run["seed"].to_list()
        before = base if base.height == 1 else base.filter(pl.col("seed").is_in(seeds))
        if before.height not in (1, len(seeds)):
            raise DataError(
                f"{source}: {target}: the base has {base.height} seeds, expected one of each of "
                f"the run's, or one that serves all"
            )
        of_seed = dict(before["seed", "accuracy"].rows())
        only = before["accuracy"][0] if before.height == 1 else None
        by_seed = [
            accuracy - (of_seed[seed] if only is None else only)
            for seed, accuracy in run["seed", "accuracy"].rows()
        ]
        cell = _average_cell(target, before, run, of)
        cells[str(source)] = replace(cell, by_seed=tuple(by_seed))
    return cells, float(np.mean(base["accuracy"].to_numpy()))


def _average_cell(target: str, base: pl.DataFrame, run: pl.DataFrame, of: int) -> ComparedCell:
    before, after = (float(np.mean(each["accuracy"].to_numpy())) for each in (base, run))
    change = Effect(after - before)
    cell = ComparedCell(target, "averages", "averages", 0, of, before, after, change)
    if not {"correct", "total"} <= set(run.columns):
        return cell
    counted = [each.select("correct", "total").drop_nulls() for each in (base, run)]
    if any(known.height < each.height for known, each in zip(counted, (base, run), strict=True)):
        return cell
    # Over several seeds, the mean count: the items are the same, so more seeds are not more items.
    right, items = (
        [float(np.mean(each[column].to_numpy())) for each in counted]
        for column in ("correct", "total")
    )
    whole = (round(items[0]), round(items[1]))
    effect = replace(unpaired((right[0], right[1]), whole), change=change.change)
    state = "tested" if min(whole) >= FEWEST * of else "few items"
    return replace(cell, kind="counts", state=state, items=min(whole), effect=effect)


def _add_seeds(found: Mapping[str, Cells]) -> None:
    """Add the variance between seeds to every cell with several seeds."""
    spread = {
        (source, target): float(np.nanvar(cell.by_seed, ddof=1))
        for source, cells in found.items()
        for target, cell in cells.items()
        if np.isfinite(cell.by_seed).sum() > 1
    }
    for (source, target), own in spread.items():
        cell = found[source][target]
        others = [value for key, value in spread.items() if key != (source, target)]
        effect = with_seeds(cell.effect, int(np.isfinite(cell.by_seed).sum()), own, others)
        found[source][target] = replace(cell, effect=effect)


def _shared(live: Sequence[Cells], targets: list[str]) -> list[str]:
    """The targets of the means: tested in every run, or else known as averages in every run.

    One of several targets makes no mean over targets.
    """
    for state in ("tested", "averages"):
        found = [
            target
            for target in targets
            if live and all(target in cells and cells[target].state == state for cells in live)
        ]
        if len(found) > 1 or found == targets:
            return found
    return []


def _mean(found: Mapping[str, Cells], source: str, shared: list[str]) -> ComparedCell | None:
    """A run's mean over the shared targets."""
    if not shared:
        return None
    cells = [found[source][target] for target in shared]
    effect = mean_effect([cell.effect for cell in cells])
    seeds = min(len(cell.by_seed) for cell in cells)
    if seeds > 1:  # a run moves all targets at once, so the spread is that of its means
        spread = {
            other: float(np.nanvar(np.mean([each[t].by_seed for t in shared], axis=0), ddof=1))
            for other, each in found.items()
            if all(t in each and len(each[t].by_seed) == seeds for t in shared)
        }
        others = [value for other, value in spread.items() if other != source]
        effect = with_seeds(effect, seeds, spread.get(source, np.nan), others)
    return ComparedCell(
        target=MEAN,
        kind=cells[0].kind,
        state="tested" if {cell.state for cell in cells} == {"tested"} else "averages",
        items=sum(cell.items for cell in cells),
        of=sum(cell.of for cell in cells),
        base=float(np.mean([cell.base for cell in cells])),
        tuned=float(np.mean([cell.tuned for cell in cells])),
        effect=effect,
    )


def _judge(found: Mapping[str, Cells], means: dict[str, ComparedCell | None]) -> None:
    """Set q-values and signs of all tested cells and of the means."""
    tested = [
        (source, cell)
        for source, cells in found.items()
        for cell in cells.values()
        if cell.state == "tested"
    ]
    harms = {
        (source, cell.target)
        for source, cells in found.items()
        for cell in harmed(list(cells.values()))
    }
    q_values = corrected([cell.effect for _, cell in tested])
    for (source, cell), q in zip(tested, q_values, strict=True):
        clear = q <= ALPHA or (source, cell.target) in harms
        sign = int(np.sign(cell.change)) if clear else 0
        found[source][cell.target] = replace(cell, q=q, sign=sign)
    known = {s: mean for s, mean in means.items() if mean is not None and mean.state == "tested"}
    q_values = corrected([mean.effect for mean in known.values()])
    for (source, mean), q in zip(known.items(), q_values, strict=True):
        sign = int(np.sign(mean.change)) if q <= ALPHA else 0
        means[source] = replace(mean, q=q, sign=sign)


def corrected(effects: Sequence[Effect]) -> list[float]:
    """q-values by Benjamini-Hochberg, for gains and for losses apart.

    Together, many clear gains would let through losses that are noise.
    """
    p = np.array([effect.p for effect in effects], float)
    up = np.array([effect.change > 0 for effect in effects], bool)
    gains, losses = (benjamini_hochberg(np.where(side, p, 1.0)) for side in (up, ~up))
    return np.where(up, gains, losses).tolist()


def harmed(cells: Sequence[ComparedCell]) -> list[ComparedCell]:
    """The cells of one run that are worse, one-sided and corrected for the run's targets.

    "Harms something" is a union over targets, so Bonferroni's correction is needed.
    """
    tested = [cell for cell in cells if cell.state == "tested"]
    return [cell for cell in tested if cell.change < 0 and cell.effect.p / 2 * len(tested) <= ALPHA]


def _verdict(cells: Sequence[ComparedCell]) -> RunVerdict:
    """Whether a run harms, does no harm, or neither can be concluded."""
    tested = [cell for cell in cells if cell.state == "tested"]
    if not tested:
        return "nothing to test"
    if harmed(cells):
        return "harms"
    # An intersection over targets needs no correction: every single bound must hold.
    sure = all(cell.loss <= TOLERANCE for cell in tested) and len(tested) == len(cells)
    return "no harm" if sure and not any(cell.sign < 0 for cell in tested) else "not settled"
