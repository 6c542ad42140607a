"""Turn predictions or tables into the labeled transfer matrix; see the package's docstring.

In:   a checked long table (`readers` and `predictions` make them): PGF, accuracies or predictions.
Out:  the matrix at ceiling 1, an `xarray.Dataset`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import xarray as xr
from jaxtyping import Bool, Float, Int

from transferscope.errors import DataError
from transferscope.matrix.ceiling import apply_ceiling, number_of
from transferscope.matrix.collapse import LARGEST, positions, with_answers
from transferscope.matrix.measure import pgf
from transferscope.matrix.pairing import counts, pairing_notes
from transferscope.predictions import (
    CELL,
    check_groups,
    check_unique,
    some,
    spread_base,
    with_marks,
)
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.checkpoints import checkpoint
from transferscope.tasks.untrusted import shown

_BASE_CELL = ("model", "seed", "target")
_ABOVE = (pl.element() - pl.element().max()).exp()
_CONFIDENCE = (
    pl.col("logprobs").list.eval(_ABOVE).list.get(pl.col("answer"), null_on_oob=True)
    / pl.col("logprobs").list.eval(_ABOVE).list.sum()
)
"""The probability of the right option among all options."""


class _Axes(NamedTuple):
    labels: dict[str, list[str]]
    """Of model, seed, source and target."""
    present: Bool[np.ndarray, "model seed"]
    """Whether the model has the seed: a seed it never had is not a missing measurement."""


def from_pgf(table: pl.DataFrame) -> xr.Dataset:
    """The matrix of a long PGF table, at ceiling 1. Accuracies are NaN; see `readers.counts`.

    Args:
        table: columns model, seed, source, target, pgf.
    """
    check_unique(table, CELL, "PGF table")
    axes = _axes(table)
    return _dataset(axes, {"pgf": _scatter(table, axes, "pgf", CELL)})


def from_accuracy(table: pl.DataFrame, *, same_tasks: bool = True) -> xr.Dataset:
    """The matrix of a long accuracy table, at ceiling 1.

    Args:
        table: columns model, seed, source, target, and accuracy, or correct and total, or all
            three with null where only the others are known. A null source is the base; a base
            without seed serves all seeds of its model.
        same_tasks: refuse models that differ in their tasks.
    """
    table = spread_base(table)
    check_unique(table, CELL, "accuracy table")
    axes = _axes(table, same_tasks=same_tasks)
    base, tuned = table.filter(pl.col("source").is_null()), table.drop_nulls("source")
    variables = {}
    for column in ("accuracy", "correct", "total"):
        if column in table.columns:
            variables[column] = _scatter(tuned, axes, column, CELL)
            variables[f"base_{column}"] = _scatter(base, axes, column, _BASE_CELL)
    paired = "paired_base_accuracy" in table.columns
    for column in ("run_total", "paired_base_accuracy", "paired_base_correct") if paired else ():
        variables[column] = _scatter(tuned, axes, column, CELL)
    dataset = _dataset(axes, variables)
    cells = axes.present.sum(axis=1) * dataset.sizes["source"] * dataset.sizes["target"]
    notes = pairing_notes(dataset, cells, paired=paired)
    return dataset.assign_attrs(notes=[*notes, *dataset.attrs["notes"]])


def from_predictions(table: pl.DataFrame, *, same_tasks: bool = True) -> xr.Dataset:
    """The matrix of a predictions table, at ceiling 1, with every item's answer.

    Args:
        table: as `check_predictions` returns it.
        same_tasks: as in `from_accuracy`.
    """
    table = with_marks(spread_base(table))
    check_unique(table, (*CELL, "item"), "predictions")
    check_groups(table, "predictions")
    dataset = with_answers(from_accuracy(counts(table), same_tasks=same_tasks), table)
    labels = {d: dataset[d].values.tolist() for d in CELL}
    items = table.select("target", "item").unique(maintain_order=True)
    by_target = pl.col("target").cast(pl.Enum(labels["target"]))
    items = items.sort(by_target, maintain_order=True).with_row_index("index")
    shared = items["item"].is_duplicated().any()  # the same name for items of two targets
    names = items.select(pl.format("{}/{}", "target", "item") if shared else "item").to_series()
    rows = table.join(items, on=["target", "item"], how="left")
    for name, dims, part in (
        ("item_correct", CELL[:3], rows.drop_nulls("source")),
        ("base_item_correct", CELL[:2], rows.filter(pl.col("source").is_null())),
    ):
        shape = [*(dataset.sizes[d] for d in dims), items.height]
        if math.prod(shape) > max(LARGEST, 100 * part.height):
            raise DataError(f"{part.height} answers span {shape} cells; is a column mistaken?")
        answers = np.full(shape, -1, np.float32 if table["scored"].any() else np.int8)
        where = (*positions(part, labels, dims), part["index"].to_numpy())
        answers[where] = part["mark"].to_numpy()
        dataset[name] = ((*dims, "item"), answers)
        if {"logprobs", "answer"} <= set(part.columns):
            shares = np.full(shape, np.nan, np.float32)
            shares[where] = part.select(_CONFIDENCE).to_series().to_numpy()
            if np.isfinite(shares).any():
                confidence = name.replace("correct", "confidence")
                dataset[confidence] = ((*dims, "item"), shares)
    return dataset.assign_coords(
        item=np.array(names.to_list(), dtype=str),
        item_target=("item", np.array(items["target"].to_list(), dtype=str)),
        item_group=("item", _group_numbers(items, table)),
    )


def _group_numbers(items: pl.DataFrame, table: pl.DataFrame) -> Int[np.ndarray, " item"]:
    """A number from 0 for each item, the same for those of one target and group alone."""
    if "group" not in table.columns:
        return np.arange(items.height)
    keys = ["target", "item"]
    known = table.drop_nulls("group").unique(keys, keep="first").select(*keys, "group")
    of_group = pl.col("index").first().over("target", "group")
    first = pl.when(pl.col("group").is_null()).then("index").otherwise(of_group)
    grouped = items.join(known, on=keys, how="left", maintain_order="left")
    return grouped.select(first.rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()


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
                    f"keep the tasks that all models have, or analyze the models one by one"
                )


def _axes(table: pl.DataFrame, *, same_tasks: bool = True) -> _Axes:
    """Labels in order of first appearance; tasks that are both take the target's order."""
    if table.drop_nulls("source").is_empty():
        raise DataError("no row has a source: at least one finetuned run is needed beside the base")
    grouped = table.group_by("model", maintain_order=True).agg(
        pl.col("source").drop_nulls().unique(), pl.col("target").unique()
    )
    if same_tasks:
        check_same_tasks({model: (set(one), set(two)) for model, one, two in grouped.rows()})
    labels = {d: table[d].drop_nulls().unique(maintain_order=True).to_list() for d in CELL}
    if set(labels["source"]) == set(labels["target"]):
        labels["source"] = labels["target"]
    if (size := math.prod(map(len, labels.values()))) > LARGEST:
        shape = " x ".join(f"{len(names)} {d}s" for d, names in labels.items())
        raise DataError(f"{table.height} rows span {size} cells ({shape}); is a column mistaken?")
    present = np.zeros((len(labels["model"]), len(labels["seed"])), bool)
    present[positions(table.drop_nulls("seed"), labels, CELL[:2])] = True
    return _Axes(labels, present)


def _scatter(
    table: pl.DataFrame, axes: _Axes, column: str, dims: tuple[str, ...]
) -> Float[np.ndarray, "..."]:
    """A column as an array over `dims`, NaN where no row stands."""
    array = np.full([len(axes.labels[d]) for d in dims], np.nan)
    array[positions(table, axes.labels, dims)] = table[column].cast(pl.Float64).to_numpy()
    return array


def _dataset(axes: _Axes, given: dict[str, np.ndarray]) -> xr.Dataset:
    """The dataset of the given variables; what follows from them is filled in, the rest is NaN."""
    labels = {d: np.array(axes.labels[d], dtype=str) for d in CELL}
    for prefix, dims in (("", CELL), ("base_", _BASE_CELL)):
        for name in ("correct", "total", "accuracy"):
            given.setdefault(prefix + name, np.full([len(labels[d]) for d in dims], np.nan))
        share = given[prefix + "correct"] / given[prefix + "total"]
        given[prefix + "accuracy"] = np.where(np.isnan(share), given[prefix + "accuracy"], share)
    given["base_errors"] = given["base_total"] - given["base_correct"]
    # Each run's base on the run's items; where items are not known, on all of the base's.
    given.setdefault("run_total", given["total"])
    all_shared = given["total"] == given["base_total"][:, :, None]
    for name in ("accuracy", "correct"):
        whole = np.broadcast_to(given[f"base_{name}"][:, :, None], given[name].shape)
        paired = given.get(f"paired_base_{name}", whole)
        given[f"paired_base_{name}"] = np.where(all_shared, whole, paired)
    if "pgf" not in given:
        given["pgf"] = pgf(given["paired_base_accuracy"], given["accuracy"])
    variables: dict[str, Any] = {
        name: (_BASE_CELL if name.startswith("base_") else CELL, values)
        for name, values in given.items()
    }
    variables["ceiling"] = ("target",), np.ones(len(labels["target"]))
    coordinates = _task_labels(axes.labels["source"], axes.labels["target"])
    dataset = xr.Dataset(variables, labels | coordinates)
    dataset.attrs = {"notes": _notes(dataset, axes), "ceiling_notes": [], "inputs": []}
    return apply_ceiling(dataset, 1.0)


def _task_labels(sources: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Coordinates `level`, `granularity`, `abbreviation` of targets, `source_...` of sources.

    No two tasks share an abbreviation. What is not known is "". A source may be a checkpoint of a
    finetune, `Jigsaw @ 500`: it has the level and granularity of `Jigsaw`.
    """
    runs = [checkpoint(name) for name in sources]
    short = _abbreviations(list(dict.fromkeys([*targets, *(run.task for run in runs)])))
    steps = ["" if run.step is None else f" {run.step}" for run in runs]
    coordinates: dict[str, Any] = {}
    for dim, prefix, names, ends in (
        ("target", "", targets, [""] * len(targets)),
        ("source", "source_", [run.task for run in runs], steps),
    ):
        known = [KNOWN_TASKS.get(name) for name in names]
        for field in ("level", "granularity"):
            values = [(getattr(task, field) if task else None) or "" for task in known]
            coordinates[prefix + field] = (dim, np.array(values, dtype=str))
        labels = [short[name] + end for name, end in zip(names, ends, strict=True)]
        coordinates[f"{prefix}abbreviation"] = (dim, np.array(labels))
    return coordinates


def _abbreviations(tasks: Sequence[str]) -> dict[str, str]:
    short = {task: KNOWN_TASKS[task].abbreviation for task in tasks if task in KNOWN_TASKS}
    for task in tasks:
        if task not in short:
            words = re.findall(r"\d+|[^\W\d_]+", task) or ["T"]
            first = [word[:4] if word.isdigit() else word[0] for word in words[:4]]
            start = words[0][:2] if len(words) == 1 else "".join(first)
            apart = "-" if start[-1].isdigit() else ""
            ends = ["", *(f"{apart}{n}" for n in range(2, len(tasks) + 2))]
            free = (start.upper() + end for end in ends)
            short[task] = next(name for name in free if name not in short.values())
    return short


def unknown_tasks(sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """A note that names the tasks in no known suite, with what they may be misspellings of."""
    tasks = dict.fromkeys([*targets, *(checkpoint(name).task for name in sources)])
    unknown = [task for task in tasks if task not in KNOWN_TASKS]
    if not unknown:
        return []

    def letters(name: str) -> str:
        return re.sub(r"[\W_]+", "", name).lower()[:40]

    plain = {letters(name): name for name in KNOWN_TASKS}
    hints = [
        f"for {name!r} did you mean {plain[near[0]]!r}?"
        for name in unknown[:50]  # names are untrusted and the comparison is slow
        if (near := get_close_matches(letters(name), plain, n=1, cutoff=0.85))
        and near[0].endswith("open") == letters(name).endswith("open")  # another form of the task
    ]
    near = f"; {'; '.join(hints[:5])}" if hints else ""
    return [f"in no known suite, so level and granularity are unknown: {some(unknown)}{near}"]


def _notes(dataset: xr.Dataset, axes: _Axes) -> list[str]:
    """Notes on what was not measured, for any ceiling."""
    notes, cell = [], dataset["accuracy"].isnull()
    missing = (cell & dataset["pgf"].isnull() & (dataset["total"] != 0)).values
    missing &= axes.present[:, :, None, None]
    no_base = (dataset["base_accuracy"].isnull() & ~cell.all("source")).values
    _, _, sources, targets = axes.labels.values()
    for m, model in enumerate(map(shown, axes.labels["model"])):
        pairs = int(axes.present[m].sum()) * len(targets)
        if count := int(missing[m].sum()):
            cells = number_of(pairs * len(sources), "cell", count)
            notes.append(f"{model}: {cells} not measured")
        if count := int(no_base[m].sum()):
            without = np.array(targets)[no_base[m].any(axis=0)].tolist()
            where = number_of(pairs, "pair", count).replace("pairs", "pairs of seed and target")
            notes.append(f"{model}: {where} without a base, hence without effects: {some(without)}")
        if axes.present[m].sum() == 1:
            notes.append(f"{model}: a single seed, so the variation between seeds is unknown")
    return [*notes, *unknown_tasks(sources, targets)]
