"""The runs of a comparison on one target: accuracies, changes and how certain they are.

In:   the target's rows of base and runs: predictions, or accuracies where items are unknown.
Out:  `comparison.ComparedCell`s without verdicts, and all runs' `stats.TargetEffects`.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from transferscope.analysis.comparison import ComparedCell
from transferscope.errors import DataError
from transferscope.matrix.collapse import NEARLY, Answers, collapsed_letter, describe_answers
from transferscope.predictions import LAST_OPTION, MOST_UNREADABLE, unread
from transferscope.stats import Effect, TargetEffects, counted_effects, paired_effects

FEWEST = 0.5
"""Share of the target's items that base and run must share for a verdict."""


class Target(NamedTuple):
    """A target's rows, and the runs and seeds of the comparison."""

    name: str
    rows: pl.DataFrame
    runs: list[str]
    seeds: list[str]
    void: Bool[np.ndarray, " run"]


class Measured(NamedTuple):
    """The runs on one target."""

    cells: dict[str, ComparedCell]
    base: float
    """Accuracy of the base."""
    effects: TargetEffects
    """Of all runs together; NaN for void ones, which lend the others nothing."""
    by_seed: Float[np.ndarray, "seed run"]
    """The changes; NaN for void runs."""


def paired_cells(of: Target) -> Measured:
    """The changes item by item; rows have `mark`s, and items of one `group` share an image."""
    items = of.rows["item"].unique(maintain_order=True)
    part = of.rows.with_columns(
        unread=unread(of.rows).cast(pl.Float64),
        place=pl.col("item").replace_strict(items, np.arange(len(items)), return_dtype=pl.Int64),
    )
    # Marks, and which replies are unreadable; NaN where an item was not answered.
    unknown = np.full((2, len(items)), np.nan)
    tuned = np.full((len(of.runs), len(of.seeds), 2, len(items)), np.nan)
    bases: dict[str | None, np.ndarray] = {}
    for (source, seed), one in part.group_by("source", "seed", maintain_order=True):
        values = unknown.copy()
        values[:, one["place"].to_numpy()] = one["mark"].to_numpy(), one["unread"].to_numpy()
        if source is None:
            bases[seed] = values  # pyright: ignore[reportArgumentType]
        else:
            tuned[of.runs.index(str(source)), of.seeds.index(str(seed))] = values
    base = np.stack(_each_base(of, bases, unknown))
    marks = tuned[:, :, 0].swapaxes(0, 1)
    counted = np.where(of.void[:, None], np.nan, marks)
    effects = paired_effects(base[:, 0], counted, groups=_groups(part, items))
    cells = {
        run: _paired_cell(of, k, base, tuned[k], effects)
        for k, run in enumerate(of.runs)
        if np.isfinite(tuned[k]).any()
    }
    both = np.isfinite(base[:, :1]) & np.isfinite(marks)
    own, shared = np.array(list(bases.values()))[:, 0], np.asarray(both.any(axis=0))
    shared = np.unique(shared[shared.any(axis=-1)], axis=0)
    if len(shared) == 1:  # the same items of all runs
        own = own[:, shared.ravel()]
    number = (both & ~of.void[:, None]).sum(axis=-1)
    apart = np.where(both, marks - base[:, :1], 0).sum(axis=-1)
    by_seed = apart / np.where(number > 0, number, np.nan)
    return Measured(cells, float(np.nanmean(own)), effects, by_seed)


def _each_base(
    of: Target, bases: Mapping[str | None, np.ndarray], unknown: np.ndarray
) -> list[np.ndarray]:
    """The base of each seed; a single one serves all seeds."""
    if len(bases) == 1:
        return list(bases.values()) * len(of.seeds)
    for source, seed in of.rows.drop_nulls("source")["source", "seed"].unique().rows():
        if seed not in bases:
            raise DataError(
                f"{source}: {of.name}: no base of seed {seed!r}; the base has {len(bases)} seeds, "
                f"expected one of each of the run's, or one that serves all"
            )
    return [bases.get(seed, unknown) for seed in of.seeds]


def _groups(part: pl.DataFrame, items: pl.Series) -> Int[np.ndarray, " item"] | None:
    """A number for each item, the same for items that share an image; None where none do."""
    if "group" not in part.columns or part["group"].null_count() == part.height:
        return None
    group_of = dict(part.drop_nulls("group")["item", "group"].rows())
    numbers: dict[tuple[bool, str], int] = {}
    keys = [(item in group_of, group_of.get(item, item)) for item in items]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _paired_cell(
    of: Target,
    k: int,
    before: Float[np.ndarray, "seed 2 item"],
    after: Float[np.ndarray, "seed 2 item"],
    effects: TargetEffects,
) -> ComparedCell:
    """The cell of run `k`; `before` and `after` hold marks and unreadable replies."""
    both = np.isfinite(before[:, 0]) & np.isfinite(after[:, 0])
    ran = both.any(axis=1)
    both, before, after = both[ran], before[ran], after[ran]
    items, size = int(both.any(axis=0).sum()), after.shape[-1]
    if not items:
        return ComparedCell(of.name, "paired", "no items", 0, size, np.nan, np.nan)
    (base, unread_base), (tuned, unread_tuned) = (
        (np.where(both[:, None], one, 0).sum(axis=-1) / both.sum(axis=1)[:, None]).mean(axis=0)
        for one in (before, after)
    )
    cell = ComparedCell(
        target=of.name,
        kind="paired",
        state="tested" if items >= FEWEST * size else "few items",
        items=items,
        of=size,
        base=float(base),
        tuned=float(tuned),
        effect=of_one(effects.effect, k),
    )
    if of.void[k]:
        cell = replace(cell, state="void")
    elif max(unread_base, unread_tuned) > MOST_UNREADABLE:
        bounds = cell.change - float(unread_base), cell.change + float(unread_tuned)
        cell = replace(cell, state="unreadable", bounds=bounds)
    marks = np.concatenate([before[:, 0][both], after[:, 0][both]])
    if len(both) == 1 and np.isin(marks, (0, 1)).all():
        moved = (after - before)[:, 0][both]
        cell = replace(cell, fixed=int((moved > 0).sum()), broken=int((moved < 0).sum()))
    return cell


def of_one(effect: Effect, k: int) -> Effect:
    """The change of run `k`, as plain numbers."""
    return Effect(*(float(getattr(effect, each.name)[k]) for each in fields(Effect)))


def average_cells(of: Target) -> Measured:
    """The changes where items are unknown: from counts, else averages without an interval."""
    columns = [name for name in ("correct", "total") if name in of.rows.columns]
    rows = of.rows.drop_nulls("accuracy")
    # Accuracies, and numbers of items; NaN where unknown.
    tuned = np.full((2, len(of.seeds), len(of.runs)), np.nan)
    bases: dict[str | None, np.ndarray] = {}
    for row in rows.iter_rows(named=True):
        sure = len(columns) == 2 and None not in (row["correct"], row["total"])
        values = np.array([row["accuracy"], row["total"] if sure else np.nan], float)
        if row["source"] is None:
            bases[row["seed"]] = values
        else:
            tuned[:, of.seeds.index(row["seed"]), of.runs.index(row["source"])] = values
    each = _each_base(of._replace(rows=rows), bases, np.full(2, np.nan))
    ran = np.isfinite(tuned[0])
    base = np.where(ran, np.array(each).T[..., None], np.nan)
    # Over several seeds, the mean count: the items are the same, so more seeds are not more items.
    seeds = np.maximum(ran.sum(axis=0), 1)
    items, first, then = (
        np.where(ran, one, 0).sum(axis=0) / seeds
        for one in (np.minimum(base[1], tuned[1]), base[0], tuned[0])
    )
    counted = np.where(of.void, np.nan, tuned[0])
    effects = _counted(base[0], counted, items)
    most = of.rows["total"].max() if "total" in columns else None
    size = 0 if most is None else int(float(str(most)))
    cells: dict[str, ComparedCell] = {}
    for k in np.flatnonzero(ran.any(axis=0)):
        accuracies, change = (float(first[k]), float(then[k])), Effect(float(then[k] - first[k]))
        cell = ComparedCell(of.name, "averages", "averages", 0, size, *accuracies, change)
        if np.isfinite(items[k]):
            number = round(float(items[k]))
            state = "tested" if number >= FEWEST * size else "few items"
            effect = change if of.void[k] else of_one(effects.effect, int(k))
            cell = replace(cell, kind="counts", state=state, items=number, effect=effect)
        cells[of.runs[k]] = replace(cell, state="void") if of.void[k] else cell
    own = float(np.mean([one[0] for one in bases.values()])) if bases else np.nan
    return Measured(cells, own, effects, counted - base[0])


def _counted(
    base: Float[np.ndarray, "seed run"],
    tuned: Float[np.ndarray, "seed run"],
    items: Float[np.ndarray, " run"],
) -> TargetEffects:
    """The changes, as if base and run had answered different items, which is conservative.

    Args:
        items: of each run; where they are unknown, the changes alone can be used.
    """
    numbers = np.where(items > 0, items, 1.0)
    tables = {n: counted_effects(base, tuned, n, correlation=0.0) for n in np.unique(numbers)}
    of_run = [vars(tables[n]) for n in numbers]
    rows = {
        name: np.stack([one[name][k] for k, one in enumerate(of_run)])
        for name, value in of_run[0].items()
        if isinstance(value, np.ndarray)
    }
    return replace(tables[numbers[0]], **rows)


def collapsed(rows: pl.DataFrame) -> dict[str, str]:
    """{run: `always A`} of those that in most seeds give one answer to nearly every item of a
    target, and the base does not nearly; empty where options are unknown."""
    if not {"choice", "answer"} <= set(rows.columns):
        return {}
    if "unreadable" in rows.columns:
        rows = rows.filter(~pl.col("unreadable").fill_null(False))
    found: dict[str, dict[str, int]] = {}
    nearly = False
    known = rows.drop_nulls(["choice", "answer"]).group_by("source", "seed", maintain_order=True)
    for (source, seed), one in known:
        chosen, right = (
            np.bincount(one[name].to_numpy(), minlength=LAST_OPTION + 1)
            for name in ("choice", "answer")
        )
        if source is None:
            nearly |= chosen.max() >= NEARLY * chosen.sum()
            continue
        option = int(collapsed_letter(chosen.astype(float), right.astype(float)))
        found.setdefault(str(source), {})[str(seed)] = option
    fallen: dict[str, str] = {}
    for source, options in found.items():
        same = {seed: option for seed, option in options.items() if option >= 0}
        if 2 * len(same) > len(options) and not nearly:
            fallen[str(source)] = describe_answers(Answers([], np.nan, same, len(options)))
    return fallen
