"""Turn predictions or tables into the labelled transfer matrix.

A transfer matrix says, for each source task (row) and target task (column), what part of the
target's remaining gap finetuning on the source closed: the Perfection Gap Factor (PGF).

In:   a checked long table (`readers` and `predictions` make them): PGF, accuracies or predictions.
Out:  an `xarray.Dataset` with dimensions (model, seed, source, target):
      pgf; accuracy, correct, total: the run on the items    (model, seed, source, target)
          that base and run both answered
      paired_base_accuracy, paired_base_correct: the base    (model, seed, source, target)
          on the same items
      run_total: all items that the run answered             (model, seed, source, target)
      base_accuracy, base_correct, base_total, base_errors:  (model, seed, target)
          the base on all its items
      ceiling                                                (target); (model, target) if "self"
      item_correct (.., source, item), base_item_correct (.., item): 1, 0, a score between, or -1
                                                             (not asked); from predictions alone,
      and with them how answers are given: see `behaviour`
      coordinates on target: level, granularity, abbreviation, and with `source_` before them on
      source; "" is unknown. A checkpoint's are those of its task. On item: item_target.
      attrs: `notes`, sentences a reader must know; `ceiling_notes`, those of them that another
      ceiling replaces; `inputs`, what was read.

Not measured and not known are NaN; so are counts where answers have scores. Opens no file.

Its parts: `labels` of tasks, `pairing` (which items count), `behaviour` (how answers are given).
Upon it: `flips` (what each source fixed and broke), `curate` (which of that to show), `controls`
(placebos, beside the matrix).
"""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import xarray as xr
from jaxtyping import Bool, Float, UInt

from transferscope.errors import DataError
from transferscope.matrix.behavior import with_answers
from transferscope.matrix.labels import task_labels, unknown_tasks
from transferscope.matrix.measure import pgf
from transferscope.matrix.pairing import counts, left_out
from transferscope.matrix.pairing import notes as pairing_notes
from transferscope.predictions import CELL, check_unique, shown, some, spread_base, with_marks

Ceiling = float | Mapping[str, float] | Literal["self"]

LARGEST = 50_000_000
"""Cells a matrix may span: a mistaken column fails early instead of filling the memory."""
_NO_GAP = 1e-9  # a smaller gap is rounding noise between accuracies that are equal
_BASE_CELL = ("model", "seed", "target")


class _Axes(NamedTuple):
    model: list[str]
    seed: list[str]
    source: list[str]
    target: list[str]
    present: Bool[np.ndarray, "model seed"]
    """Whether the model has the seed: a seed it never had is not a missing measurement."""


def from_pgf(table: pl.DataFrame) -> xr.Dataset:
    """The matrix of a long PGF table, at ceiling 1. Accuracies are NaN; see `readers.counts`.

    Args:
        table: columns model, seed, source, target, pgf.
    """
    check_unique(table, CELL, "PGF table")
    axes = _axes(table)
    return _dataset(axes, {"pgf": _scatter(table, axes, "pgf")})


def from_accuracy(table: pl.DataFrame) -> xr.Dataset:
    """The matrix of a long accuracy table, at ceiling 1.

    Args:
        table: columns model, seed, source, target, and accuracy, or correct and total, or all
            three with null where only the others are known. A null source is the base; a base
            without seed serves all seeds of its model.
    """
    return _from_runs(spread_base(table))


def _from_runs(table: pl.DataFrame) -> xr.Dataset:
    """The matrix of a table with one row for each run, every base with a seed."""
    check_unique(table, CELL, "accuracy table")
    axes = _axes(table)
    base, tuned = table.filter(pl.col("source").is_null()), table.drop_nulls("source")
    paired = "paired_base_accuracy" in table.columns
    variables = {}
    for column in ("accuracy", "correct", "total"):
        if column in table.columns:
            variables[column] = _scatter(tuned, axes, column)
            variables[f"base_{column}"] = _scatter(base, axes, column, base=True)
    for column in ("run_total", "paired_base_accuracy", "paired_base_correct") if paired else ():
        variables[column] = _scatter(tuned, axes, column)
    dataset = _dataset(axes, variables)
    cells = axes.present.sum(axis=1) * len(axes.source) * len(axes.target)
    told = pairing_notes(dataset, cells, paired=paired)
    return dataset.assign_attrs(notes=[*told, *dataset.attrs["notes"]])


def from_predictions(table: pl.DataFrame) -> xr.Dataset:
    """The matrix of a predictions table, at ceiling 1, with every item's answer.

    Args:
        table: as `check_predictions` returns it.
    """
    table = with_marks(spread_base(table))
    check_unique(table, (*CELL, "item"), "predictions")
    dataset = with_answers(_from_runs(counts(table)), table)
    items = _items(table, dataset["target"].values.tolist())
    rows = table.join(items, on=["target", "item"], how="left")
    for name, dims, part in (
        ("item_correct", CELL[:3], rows.drop_nulls("source")),
        ("base_item_correct", CELL[:2], rows.filter(pl.col("source").is_null())),
    ):
        shape = [*(dataset.sizes[d] for d in dims), items.height]
        if math.prod(shape) > max(LARGEST, 100 * part.height):
            raise DataError(f"{part.height} answers span {shape} cells; is a column mistaken?")
        answers = np.full(shape, -1, np.float32 if table["scored"].any() else np.int8)
        where = [_codes(part[d], dataset[d].values.tolist()) for d in dims]
        answers[(*where, part["index"].to_numpy())] = part["mark"].to_numpy()
        dataset[name] = ((*dims, "item"), answers)
    return dataset.assign_coords(
        item=_text(items["label"]), item_target=("item", _text(items["target"]))
    )


def apply_ceiling(dataset: xr.Dataset, ceiling: Ceiling) -> xr.Dataset:
    """The matrix with PGF measured against another ceiling. Give it the matrix as read.

    With `self`, a target's ceiling is its diagonal's accuracy, mean over seeds, for each model.
    That needs only the base's errors g and the changes d, for the number of items cancels:

        pgf[i, j, seed] = d[i, j, seed] / (g[j, seed] - mean over seeds of (g - d)[j, j])

    Args:
        ceiling: a fraction in (0, 1], one for each target, or `self`.

    Returns:
        A new dataset. PGF is NaN where the baseline is at or above the ceiling, where a target has
        no ceiling of its own, and where PGF at ceiling 1 is all that is known; notes count them.

    Raises:
        DataError: a ceiling is not a fraction, or the table lacks a target or names an unknown one.
    """
    targets = dataset["target"].values.tolist()
    known = dataset["base_accuracy"].notnull().any("seed")
    if isinstance(ceiling, str) and ceiling == "self":
        base, tuned = _with_stand_ins(dataset, known)
        bounds = _diagonal(tuned.where(~left_out(dataset))).mean("seed")
        stated = bounds.where(known)
    else:
        base, tuned = dataset["paired_base_accuracy"], dataset["accuracy"]
        bounds = xr.DataArray(_given(ceiling, targets), {"target": dataset["target"]}, ["target"])
        stated = bounds
    gap = bounds - base
    fresh = pgf(base, tuned, bounds.where(gap > _NO_GAP))
    kept = dataset["pgf"].where((bounds == 1) & (dataset["ceiling"] == 1))
    effects = kept.fillna(fresh).transpose(*CELL)
    undefined = (tuned.notnull() & (gap <= _NO_GAP)).transpose(*CELL)
    lost = (effects.isnull() & dataset["pgf"].notnull() & ~undefined).transpose(*CELL)
    fixed = dataset.drop_vars("ceiling").assign(pgf=effects, ceiling=stated)
    ceiling_notes = _ceiling_notes(fixed, undefined.values, lost.values)
    notes = [n for n in dataset.attrs["notes"] if n not in dataset.attrs["ceiling_notes"]]
    return fixed.assign_attrs(
        dataset.attrs,
        notes=[*notes, *ceiling_notes],
        ceiling_notes=ceiling_notes,
        ceiling=dict(ceiling) if isinstance(ceiling, Mapping) else ceiling,
    )


def check_same_tasks(tasks: Mapping[str, tuple[set[str], set[str]]]) -> None:
    """Refuse models that do not share one set of sources and one set of targets.

    Args:
        tasks: model to its (sources, targets).
    """
    first, *others = tasks
    for other in others:
        for kind, one, two in zip(("sources", "targets"), tasks[first], tasks[other], strict=True):
            parts = [
                f"only {model!r} has {some(sorted(extra))}"
                for model, extra in ((first, one - two), (other, two - one))
                if extra
            ]
            if parts:
                raise DataError(
                    f"models {first!r} and {other!r} differ in their {kind}: {'; '.join(parts)}; "
                    f"keep the tasks that all models have, or analyse the models apart"
                )


def _of(size: int, what: str, count: int) -> str:
    return f"of {size} {what}s, {count} {'is' if count == 1 else 'are'}"


def _axes(table: pl.DataFrame) -> _Axes:
    """Labels in order of first appearance; tasks that are both take the target's order."""
    tuned = table.drop_nulls("source")
    if tuned.is_empty():
        raise DataError("no row has a source: there is nothing beside the base to compare it with")
    tasks = {
        model: (set(sources), set(targets))
        for model, sources, targets in table.group_by("model", maintain_order=True)
        .agg(pl.col("source").drop_nulls().unique(), pl.col("target").unique())
        .rows()
    }
    check_same_tasks(tasks)
    column = {d: table[d].drop_nulls().unique(maintain_order=True).to_list() for d in CELL}
    if set(column["source"]) == set(column["target"]):
        column["source"] = column["target"]
    if (size := math.prod(len(labels) for labels in column.values())) > LARGEST:
        shape = " x ".join(f"{len(labels)} {d}s" for d, labels in column.items())
        raise DataError(f"{table.height} rows span {size} cells ({shape}); is a column mistaken?")
    present = np.zeros((len(column["model"]), len(column["seed"])), bool)
    pairs = table.drop_nulls("seed").select("model", "seed").unique()
    present[_codes(pairs["model"], column["model"]), _codes(pairs["seed"], column["seed"])] = True
    return _Axes(**column, present=present)


def _codes(column: pl.Series, labels: list[str]) -> UInt[np.ndarray, " row"]:
    return column.cast(pl.Enum(labels)).to_physical().to_numpy()


def _text(column: pl.Series) -> np.ndarray:
    return np.array(column.to_list(), dtype=str)


def _scatter(
    table: pl.DataFrame, axes: _Axes, column: str, *, base: bool = False
) -> Float[np.ndarray, "..."]:
    """A column as an array over cells, NaN where there is no row."""
    dims = _BASE_CELL if base else CELL
    array = np.full([len(getattr(axes, d)) for d in dims], np.nan)
    where = tuple(_codes(table[d], getattr(axes, d)) for d in dims)
    array[where] = table[column].cast(pl.Float64).to_numpy()
    return array


def _items(table: pl.DataFrame, targets: list[str]) -> pl.DataFrame:
    """Every target's items in the targets' order: index, target, item and a label of its own."""
    items = table.select("target", "item").unique(maintain_order=True)
    items = items.sort(pl.col("target").cast(pl.Enum(targets)), maintain_order=True)
    shared = items["item"].is_duplicated().any()
    label = pl.format("{}/{}", "target", "item") if shared else pl.col("item")
    return items.with_columns(label.alias("label")).with_row_index("index")


def _dataset(axes: _Axes, given: dict[str, np.ndarray]) -> xr.Dataset:
    """The dataset of the given variables; what follows from them is filled in, the rest is NaN."""
    full = tuple(len(labels) for labels in axes[:4])
    for prefix, shape in (("", full), ("base_", (full[0], full[1], full[3]))):
        for name in ("correct", "total", "accuracy"):
            given.setdefault(prefix + name, np.full(shape, np.nan))
        share = given[prefix + "correct"] / given[prefix + "total"]
        given[prefix + "accuracy"] = np.where(np.isnan(share), given[prefix + "accuracy"], share)
    given["base_errors"] = given["base_total"] - given["base_correct"]
    _pair(given)
    if "pgf" not in given:
        given["pgf"] = pgf(given["paired_base_accuracy"], given["accuracy"])
    dataset = xr.Dataset(
        {
            name: (_BASE_CELL if name.startswith("base_") else CELL, values)
            for name, values in given.items()
        },
        {d: np.array(getattr(axes, d), dtype=str) for d in CELL},
    )
    dataset = dataset.assign_coords(task_labels(axes.source, axes.target)).assign(
        ceiling=("target", np.ones(full[3]))
    )
    dataset.attrs = {"notes": _notes(dataset, axes), "ceiling_notes": [], "inputs": []}
    return apply_ceiling(dataset, 1.0)


def _pair(given: dict[str, np.ndarray]) -> None:
    """Fill in each run's base on the run's items; where items are not known, on all of them."""
    given.setdefault("run_total", given["total"])
    all_shared = given["total"] == given["base_total"][:, :, None]
    for name in ("accuracy", "correct"):
        whole = np.broadcast_to(given[f"base_{name}"][:, :, None], given[name].shape)
        paired = given.get(f"paired_base_{name}", whole)
        given[f"paired_base_{name}"] = np.where(all_shared, whole, paired)


def _with_stand_ins(dataset: xr.Dataset, known: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Base and tuned accuracies, with made-up items where only the base's errors are known.

    Any number of items gives the same PGF against the diagonal; this is the smallest possible.
    """
    errors, changes = dataset["base_errors"], dataset["pgf"] * dataset["base_errors"]
    changes = changes.where(dataset["ceiling"] == 1)
    items = (errors - changes).max(["seed", "source"])
    items = np.maximum(items, errors.max("seed"))
    base = dataset["paired_base_accuracy"].where(known, 1 - errors / items)
    tuned = dataset["accuracy"].where(known, (1 - (errors - changes) / items).clip(0, 1))
    return base, tuned.transpose(*CELL)


def _diagonal(values: xr.DataArray) -> xr.DataArray:
    """What each target's own source reached, (model, seed, target); NaN where it has none."""
    sources = {name: i for i, name in enumerate(values["source"].values.tolist())}
    index = np.array([sources.get(name, -1) for name in values["target"].values.tolist()])
    picked = values.values[:, :, index, np.arange(len(index))]
    own = np.where(index >= 0, picked, np.nan)
    return values.isel(source=0, drop=True).copy(data=own)


def _given(ceiling: Any, targets: list[str]) -> Float[np.ndarray, " target"]:
    if not isinstance(ceiling, Mapping):
        return np.full(len(targets), _fraction(ceiling, "the ceiling"))
    for name in ceiling:
        if name not in targets:
            near = get_close_matches(str(name), targets, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"ceiling for unknown target {name!r}; {hint}known: {some(targets)}")
    if missing := [name for name in targets if name not in ceiling]:
        raise DataError(f"no ceiling for target {some(missing)}; give one for every target")
    return np.array([_fraction(ceiling[name], f"the ceiling of {name!r}") for name in targets])


def _fraction(value: Any, what: str) -> float:
    number = value if isinstance(value, int | float | np.number) else math.nan
    if not 0 < number <= 1:
        remedy = "; divide percent by 100" if number > 1 else ""
        kinds = "a fraction in (0, 1], a table of them, or 'self'"
        raise DataError(f"{what} is {value!r}, expected {kinds}{remedy}")
    return float(number)


def _notes(dataset: xr.Dataset, axes: _Axes) -> list[str]:
    """What a reader must know of the measurements, whatever the ceiling."""
    notes, cell = [], dataset["accuracy"].isnull()
    missing = (cell & dataset["pgf"].isnull() & (dataset["total"] != 0)).values
    missing &= axes.present[:, :, None, None]
    no_base = (dataset["base_accuracy"].isnull() & ~cell.all("source")).values
    for m, model in enumerate(map(shown, axes.model)):
        pairs = int(axes.present[m].sum()) * len(axes.target)
        size = pairs * len(axes.source)
        if count := int(missing[m].sum()):
            notes.append(f"{model}: {_of(size, 'cell', count)} not measured")
        if count := int(no_base[m].sum()):
            without = np.array(axes.target)[no_base[m].any(axis=0)].tolist()
            where = _of(pairs, "pair", count).replace("pairs", "pairs of seed and target")
            notes.append(f"{model}: {where} without a base, hence without effects: {some(without)}")
        if axes.present[m].sum() == 1:
            notes.append(
                f"{model}: a single seed, so nothing is known of differences between seeds"
            )
    return [*notes, *unknown_tasks(axes.source, axes.target)]


def _ceiling_notes(
    dataset: xr.Dataset, undefined: Bool[np.ndarray, "..."], lost: Bool[np.ndarray, "..."]
) -> list[str]:
    """What a reader must know of the cells that this ceiling leaves without a PGF, or above 1."""
    notes, targets = [], dataset["target"].values
    above = (dataset["pgf"] > 1 + _NO_GAP).values
    measured = (dataset["pgf"].notnull() | dataset["accuracy"].notnull()).transpose(*CELL).values
    seeds = measured.any(axis=(2, 3)).sum(axis=1).tolist()
    sizes = [count * math.prod(undefined.shape[2:]) for count in seeds]
    for m, model in enumerate(map(shown, dataset["model"].values.tolist())):
        if count := int(undefined[m].sum()):
            notes.append(
                f"{model}: {_of(sizes[m], 'cell', count)} undefined: the baseline is at or above "
                f"the ceiling"
            )
        if count := int(lost[m].sum()):
            names = some(targets[lost[m].any(axis=(0, 1))].tolist())
            notes.append(
                f"{model}: {_of(sizes[m], 'cell', count)} unknown at this ceiling, because "
                f"accuracies behind the PGF or the target's own source are missing: {names}"
            )
        if count := int(above[m].sum()):
            notes.append(
                f"{model}: {_of(sizes[m], 'cell', count)} above the ceiling, with PGF over 1"
            )
    return notes
