"""Every run on every target, its mean over targets, and which changes are beyond noise.

In:   rows of base and runs: predictions, or accuracies where items are unknown.
Out:  `comparison.ComparedRun`s.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from transferscope.analysis.compared_cells import (
    Measured,
    Target,
    average_cells,
    collapsed,
    of_one,
    paired_cells,
)
from transferscope.analysis.comparison import (
    ALPHA,
    MEAN,
    TOLERANCE,
    ComparedCell,
    ComparedRun,
    RunVerdict,
)
from transferscope.analysis.verdict import Check, is_void, worse
from transferscope.predictions import with_marks
from transferscope.stats import Effect, benjamini_hochberg, borrowed, over_targets, stacked

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
        measured[target] = one = measure(Target(target, part, order, seeds, void))
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
