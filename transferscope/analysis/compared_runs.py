"""Every run on every target, its mean over targets, and which changes are beyond noise.

In:   rows of base and runs: predictions, or accuracies where items are unknown.
Out:  `comparison.ComparedRun`s.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from transferscope.analysis.comparison import (
    ALPHA,
    MEAN,
    TOLERANCE,
    ComparedCell,
    ComparedRun,
    RunVerdict,
    State,
)
from transferscope.analysis.verdict import Check, is_void, worse
from transferscope.errors import DataError
from transferscope.matrix.collapse import NEARLY, Answers, collapsed_letter, describe_answers
from transferscope.matrix.measure import known_mean
from transferscope.predictions import LAST_OPTION, MOST_UNREADABLE, unread, with_marks
from transferscope.stats import (
    Effect,
    TargetEffects,
    benjamini_hochberg,
    borrowed,
    counted_effects,
    over_targets,
    paired_effects,
    stacked,
)

FEWEST = 0.5
"""Share of the target's items that base and run must share for a verdict."""
_COUNTS = ("correct", "total")
Cells = dict[str, ComparedCell]


class RunName(NamedTuple):
    """What a run is called."""

    name: str
    finetune: str
    step: int | None


class Measured(NamedTuple):
    """The runs on one target."""

    cells: dict[str, ComparedCell]
    base: float
    """Accuracy of the base."""
    effects: TargetEffects
    """Of all runs together; NaN for void ones, which lend the others nothing."""
    by_seed: Float[np.ndarray, "seed run"]
    """The changes; NaN for void runs."""


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
    copies = {(source, c.copied) for c in checks if c.copied for source, _ in c.cells}
    if copies:
        copied = pl.DataFrame(list(copies), ["source", "seed"], orient="row")
        rows = rows.join(copied, on=["source", "seed"], how="anti", maintain_order="left")
    targets: list[str] = rows["target"].unique(maintain_order=True).to_list()
    seeds: list[str] = rows.drop_nulls("source")["seed"].unique(maintain_order=True).to_list()
    model, measure, order = rows["model"][0], average_cells, list(names)
    if "item" in rows.columns:
        rows, measure = with_marks(rows), paired_cells
    measured: dict[str, Measured] = {}
    found: dict[str, Cells] = {source: {} for source in order}
    for target in targets:
        part = rows.filter(pl.col("target") == target)
        if measure is average_cells:
            part = part.drop_nulls("accuracy")
        if not part["source"].has_nulls():  # no base
            continue
        void = np.array([bool(is_void(checks, model, source, target)) for source in order])
        measured[target] = one = measure(target, part, order, seeds, void)
        fallen = collapsed(part)
        for source, cell in one.cells.items():
            how = fallen.get(source, "") if cell.state != "void" else ""
            found[source][target] = replace(cell, collapsed=how)
    effects = dict(zip(measured, borrowed([one.effects for one in measured.values()]), strict=True))
    for target, one in effects.items():
        measured[target] = measured[target]._replace(effects=one)
        for k, source in enumerate(order):
            cell = found[source].get(target)
            if cell is not None and math.isfinite(cell.effect.variance):
                found[source][target] = replace(cell, effect=of_one(one.effect, k))
    live = [source for source in order if not is_void(checks, model, source, None)]
    shared = _shared([found[source] for source in live], targets)
    means = _means(found, [measured[target] for target in shared], shared, live)
    harmful = _judge(found, means)
    seeds_of = dict(rows.group_by("source").agg(pl.col("seed").n_unique()).rows())
    runs = []
    for source in order:
        verdict: RunVerdict = "void"
        if source in live:
            verdict = _verdict(list(found[source].values()), source in harmful)
        mean = means.get(source, {}).get(MEAN)
        runs.append(ComparedRun(*names[source], seeds_of[source], found[source], mean, verdict))
    base = {target: measured[target].base if target in measured else np.nan for target in targets}
    return runs, shared, base


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


def _means(
    found: Mapping[str, Cells], measured: Sequence[Measured], shared: list[str], live: list[str]
) -> dict[str, Cells]:
    """{run: its mean over the shared targets}"""
    if not shared:
        return {}
    by_seed = np.stack([one.by_seed for one in measured], axis=-1)
    effect = over_targets([one.effects for one in measured], by_seed)
    means: dict[str, Cells] = {}
    for k, source in enumerate(found):
        if source in live:
            cells = [found[source][target] for target in shared]
            tested, one = cells[0].state == "tested", of_one(effect, k)
            mean = ComparedCell(
                target=MEAN,
                kind=cells[0].kind,
                state="tested" if tested else "averages",
                items=sum(cell.items for cell in cells),
                of=sum(cell.of for cell in cells),
                base=float(np.mean([cell.base for cell in cells])),
                tuned=float(np.mean([cell.tuned for cell in cells])),
                effect=one if tested else Effect(one.change),
            )
            means[source] = {MEAN: mean}
    return means


def _judge(found: Mapping[str, Cells], means: Mapping[str, Cells]) -> set[str]:
    """Set q-values and signs of all tested cells and of the means; returns the runs that harm."""
    p: dict[str, dict[str, float]] = {source: {} for source in found}
    for table in (found, means):
        cells = [(source, cell) for source, row in table.items() for cell in row.values()]
        tested = [(source, cell) for source, cell in cells if cell.state == "tested"]
        if not tested:
            continue
        effect = stacked([cell.effect for _, cell in tested])
        p_values = effect.p
        q_values = corrected(effect.change, p_values)
        for (source, cell), one, q in zip(tested, p_values, q_values, strict=True):
            p[source][cell.target] = one
            sign = int(np.sign(cell.change)) if q <= ALPHA else 0
            sign = min(sign, 0) if cell.collapsed else sign
            table[source][cell.target] = replace(cell, q=float(q), sign=sign)
    harmful: set[str] = set()
    for source, row in found.items():
        # The mean over one target is no second question.
        names = [name for name in p[source] if name != MEAN or len(p[source]) > 2]
        table = row | means.get(source, {})
        change = np.array([table[name].change for name in names])
        lost = worse(change, np.array([p[source][name] for name in names]), ALPHA)
        for name, is_lost in zip(names, lost, strict=True):
            if is_lost:
                cells_of = means[source] if name == MEAN else row
                cells_of[name] = replace(cells_of[name], sign=-1)
        if lost.any() or any(cell.collapsed for cell in row.values()):
            harmful.add(source)
    return harmful


def corrected(
    change: Float[np.ndarray, " cell"], p: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " cell"]:
    """q-values by Benjamini-Hochberg, for gains and for losses apart.

    Together, many clear gains would let through losses that are noise.
    """
    up = change > 0
    gains, losses = (benjamini_hochberg(np.where(side, p, 1.0)) for side in (up, ~up))
    return np.where(up, gains, losses)


def _verdict(cells: Sequence[ComparedCell], harms: bool) -> RunVerdict:
    """Whether a run harms, does no harm, or neither can be concluded."""
    tested = [cell for cell in cells if cell.state == "tested"]
    if harms:
        return "harms"
    if not tested:
        return "nothing to test"
    # An intersection over targets needs no correction: every single bound must hold.
    sure = all(cell.loss <= TOLERANCE for cell in tested) and len(tested) == len(cells)
    return "no harm" if sure and not any(cell.sign < 0 for cell in tested) else "not settled"


def paired_cells(
    target: str, rows: pl.DataFrame, runs: list[str], seeds: list[str], void: np.ndarray
) -> Measured:
    """The changes item by item; rows have `mark`s, and items of one `group` share an image."""
    items = rows["item"].unique(maintain_order=True)
    part = rows.with_columns(
        unread=unread(rows).cast(pl.Float64),
        place=pl.col("item").replace_strict(items, np.arange(len(items)), return_dtype=pl.Int64),
    )

    def answers() -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Marks, and which replies are unreadable; NaN where an item was not answered."""
        for (source, seed), one in part.group_by("source", "seed", maintain_order=True):
            values = np.full((2, len(items)), np.nan)
            values[:, one["place"].to_numpy()] = one["mark"].to_numpy(), one["unread"].to_numpy()
            yield source, seed, values

    own, base, tuned = _by_run(target, runs, seeds, answers())
    marks, size = tuned[:, :, 0], len(items)
    counted = np.where(void[:, None], np.nan, marks)
    effects = paired_effects(base[:, 0], counted, groups=_groups(part, items))
    both = np.isfinite(base[:, :1]) & np.isfinite(marks)  # (seed, run, item)
    count = np.where(both.any(axis=-1), both.sum(axis=-1), np.nan)
    # Accuracy and share of unreadable replies of base and run, (run, 2), mean over seeds.
    before, after = (
        known_mean(np.where(both[:, :, None], one, 0).sum(axis=-1) / count[..., None])
        for one in (base[:, None], tuned)
    )
    moved, answered = np.where(both, marks - base[:, :1], 0), np.asarray(both.any(axis=0))
    whole = np.isin(base[:, :1], (0, 1)) & np.isin(marks, (0, 1))
    plain = (np.isfinite(count).sum(axis=0) == 1) & (whole | ~both).all(axis=(0, 2))

    def cell(k: int) -> ComparedCell:
        number, change = int(answered[k].sum()), of_one(effects.effect, k)
        if not number:
            return ComparedCell(target, "paired", "no items", 0, size, np.nan, np.nan)
        (base, unread_base), (tuned, unread_tuned) = before[k].tolist(), after[k].tolist()
        state: State = "tested" if number >= FEWEST * size else "few items"
        bounds = (np.nan, np.nan)
        if void[k]:
            state = "void"
        elif max(unread_base, unread_tuned) > MOST_UNREADABLE:
            state = "unreadable"
            measured = tuned - base if np.isnan(change.change) else change.change
            bounds = measured - unread_base, measured + unread_tuned
        fixed, broken = (int((side[:, k] > 0).sum()) for side in (moved, -moved))
        counts = (fixed, broken) if plain[k] else (None, None)
        found = ComparedCell(target, "paired", state, number, size, base, tuned, change, *counts)
        return replace(found, bounds=bounds)

    cells = {n: cell(k) for k, n in enumerate(runs) if np.isfinite(tuned[:, k]).any()}
    shared = np.unique(answered[answered.any(axis=-1)], axis=0)
    own = own[:, 0] if len(shared) != 1 else own[:, 0, shared[0]]  # the same items of all runs
    by_seed = np.where(void, np.nan, moved.sum(axis=-1) / count)
    return Measured(cells, float(np.nanmean(own)), effects, by_seed)


def _by_run(
    target: str,
    runs: list[str],
    seeds: list[str],
    rows: Iterable[tuple[str | None, str | None, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bases as they are, the base of each seed, and the runs, (seed, run, ..); NaN: not run.

    A single base serves all seeds.

    Args:
        rows: source, seed and values.
    """
    bases: dict[str | None, np.ndarray] = {}
    tuned: dict[tuple[str, str | None], np.ndarray] = {}
    for source, seed, values in rows:
        if source is None:
            bases[seed] = values
        else:
            tuned[source, seed] = values
    own = list(bases.values())
    if len(own) == 1:
        bases = dict.fromkeys(seeds, own[0])
    for source, seed in tuned:
        if seed not in bases:
            raise DataError(
                f"{source}: {target}: no base of seed {seed!r}; the base has {len(bases)} seeds, "
                f"expected one of each of the run's, or one that serves all"
            )
    unknown = np.full_like(own[0], np.nan)
    every = [[tuned.get((run, seed), unknown) for run in runs] for seed in seeds]
    each = [bases.get(seed, unknown) for seed in seeds]
    return np.array(own), np.array(each), np.array(every)


def _groups(part: pl.DataFrame, items: pl.Series) -> Int[np.ndarray, " item"] | None:
    """A number for each item, the same for items that share an image; None where none do."""
    if "group" not in part.columns or part["group"].null_count() == part.height:
        return None
    group_of = dict(part.drop_nulls("group")["item", "group"].rows())
    numbers: dict[tuple[bool, str], int] = {}
    keys = [(item in group_of, group_of.get(item, item)) for item in items]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def of_one(effect: Effect, k: int) -> Effect:
    """The change of run `k`, as plain numbers."""
    return Effect(*(float(getattr(effect, each.name)[k]) for each in fields(Effect)))


def average_cells(
    target: str, rows: pl.DataFrame, runs: list[str], seeds: list[str], void: np.ndarray
) -> Measured:
    """The changes where items are unknown: from counts, else averages without an interval."""
    rows = rows.drop_nulls("accuracy")
    rows = rows.with_columns(pl.lit(None).alias(n) for n in _COUNTS if n not in rows.columns)
    sure = pl.when(pl.all_horizontal(pl.col(*_COUNTS).is_not_null())).then("total")
    values = rows.select("source", "seed", "accuracy", sure.cast(pl.Float64)).fill_null(np.nan)
    # Accuracies, and numbers of items; NaN where unknown.
    own, base, tuned = _by_run(
        target, runs, seeds, ((*row[:2], np.array(row[2:])) for row in values.iter_rows())
    )
    ran = np.isfinite(tuned[..., 0])
    base = np.where(ran[..., None], base[:, None], np.nan)
    # Over several seeds, the mean count: the items are the same, so more seeds are not more items.
    items, first, then = (
        np.where(ran, one, 0).sum(axis=0) / np.maximum(ran.sum(axis=0), 1)
        for one in (np.minimum(base[..., 1], tuned[..., 1]), base[..., 0], tuned[..., 0])
    )
    before, counted = base[..., 0], np.where(void, np.nan, tuned[..., 0])
    # As if base and run had answered different items, which is conservative.
    numbers = np.where(items > 0, items, 1.0)
    effects = counted_effects(before, counted, numbers, correlation=0.0)
    most = rows["total"].max()
    size = 0 if most is None else int(float(str(most)))
    cells: dict[str, ComparedCell] = {}
    for k in np.flatnonzero(ran.any(axis=0)):
        accuracies, change = (float(first[k]), float(then[k])), Effect(float(then[k] - first[k]))
        cell = ComparedCell(target, "averages", "averages", 0, size, *accuracies, change)
        if np.isfinite(items[k]):
            number = round(float(items[k]))
            state = "tested" if number >= FEWEST * size else "few items"
            effect = change if void[k] else of_one(effects.effect, int(k))
            cell = replace(cell, kind="counts", state=state, items=number, effect=effect)
        cells[runs[k]] = replace(cell, state="void") if void[k] else cell
    return Measured(cells, float(np.mean(own[:, 0])), effects, counted - before)


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
