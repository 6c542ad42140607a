"""Placebo sources: controls beside the matrix, never among its sources.

    format-only   finetuned on the right answer format with letters drawn at random
    shuffled      finetuned on labels exchanged among the items of a task
    reordered     not finetuned: the base asked again, with each item's choices in another order

What the first two do is what finetuning does without a perception to learn; the last is how much
an evaluation moves by itself. They are measured as any source is, in the same items, and kept
apart: no source, no transferability, no clique sees them.

In:   the matrix, and a predictions table of controls (`source` is the control's name).
Out:  the matrix with control_accuracy, control_correct, control_total, control_run_total,
      control_paired_base_accuracy, control_paired_base_correct (model, seed, control, target) as
      `matrix` has them of sources, control_item_correct (model, seed, control, item), how controls
      answer (see `behaviour`), and notes on what of them has no place beside the sources.

Not measured is NaN. Opens no file, draws nothing at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from transferscope.errors import DataError
from transferscope.matrix import from_predictions, measure

if TYPE_CHECKING:
    import xarray as xr

_NO_GAP = 1e-9  # as in `matrix`
_CELLS = ("seed", "control", "target")
_VARIABLES = {
    "accuracy": _CELLS,
    "correct": _CELLS,
    "total": _CELLS,
    "run_total": _CELLS,
    "paired_base_accuracy": _CELLS,
    "paired_base_correct": _CELLS,
    "item_correct": ("seed", "control", "item"),
    "letter_count": (*_CELLS, "option"),
    "unreadable_count": _CELLS,
    "collapsed_letter": _CELLS,
}


def with_controls(
    dataset: xr.Dataset, predictions: pl.DataFrame, controls: pl.DataFrame
) -> xr.Dataset:
    """The matrix with its controls beside it.

    Args:
        dataset: the matrix of `predictions`, alone or beside other models.
        predictions: checked rows; their base is the controls' base.
        controls: checked rows whose source is a control.

    Raises:
        DataError: a control has no name, or that of a source.
    """
    names = controls["source"].unique(maintain_order=True).to_list()
    if None in names:
        raise DataError("controls: a row without source; the base's rows belong to predictions")
    if taken := [name for name in names if name in dataset["source"].values]:
        raise DataError(f"controls: {taken[0]!r} is the name of a source too; rename one")
    fits = pl.all_horizontal(
        pl.col(column).is_in(dataset[column].values.tolist())
        for column in ("model", "seed", "target")
    )
    kept = controls.filter(fits)
    notes = list(dataset.attrs["notes"])
    if odd := controls.height - kept.height:
        notes.append(
            f"controls: {odd:,} of {controls.height:,} answers are of a model, seed or target that "
            f"no source has; they are left out"
        )
    dataset = dataset.assign_attrs(notes=notes)
    if kept.is_empty():
        return dataset
    base = predictions.filter(pl.col("source").is_null())
    labels: dict[str, list[str]] = {
        "seed": dataset["seed"].values.tolist(),
        "target": dataset["target"].values.tolist(),
        "control": kept["source"].unique(maintain_order=True).to_list(),
        "item": _item_keys(dataset, predictions),
    }
    parts = {
        model: _part(base, kept, model)
        for model in dataset["model"].values.tolist()
        if model in kept["model"]
    }
    found = {
        f"control_{name}": (("model", *dims), _filled(parts, dataset, name, labels))
        for name, dims in _VARIABLES.items()
        if any(name in part for part in parts.values())
    }
    if "letter_count" in dataset and "control_letter_count" in found:
        dataset = _with_options(dataset, found["control_letter_count"][1].shape[-1])
    return dataset.assign_coords(control=np.array(labels["control"], dtype=str)).assign(found)


def _part(base: pl.DataFrame, controls: pl.DataFrame, model: str) -> xr.Dataset:
    """The matrix of one model's controls as if they were sources, its items by target and name."""
    rows = pl.concat([base, controls], how="diagonal").filter(pl.col("model") == model)
    keys = pl.format("{}\0{}", "target", "item")
    return from_predictions(rows.with_columns(item=keys)).sel(model=model).rename(source="control")


def _item_keys(dataset: xr.Dataset, predictions: pl.DataFrame) -> list[str]:
    """The items of the matrix as `_part` names them; its labels hold the target where need be."""
    shared = predictions.select("target", "item").unique()["item"].is_duplicated().any()
    return [
        f"{target}\0{label[len(target) + 1 :] if shared else label}"
        for target, label in zip(
            dataset["item_target"].values.tolist(), dataset["item"].values.tolist(), strict=True
        )
    ]


def _filled(
    parts: dict[str, xr.Dataset], dataset: xr.Dataset, name: str, labels: dict[str, list[str]]
) -> np.ndarray:
    """One variable of all models, (model, *dims); what no part has is NaN, or -1 for an item."""
    dims = _VARIABLES[name]
    options = max(part.sizes.get("option", 0) for part in (dataset, *parts.values()))
    sizes = [len(labels[d]) if d in labels else options for d in dims]
    whole = np.full(
        (dataset.sizes["model"], *sizes),
        -1 if name == "item_correct" else np.nan,
        next(part[name].dtype for part in parts.values() if name in part),
    )
    places = {d: {label: k for k, label in enumerate(known)} for d, known in labels.items()}
    for number, model in enumerate(dataset["model"].values.tolist()):
        if model not in parts or name not in parts[model]:
            continue
        to, of = [], []
        for d in dims:
            own = parts[model][d].values.tolist()
            place = places.get(d, {label: label for label in own})
            of.append([k for k, label in enumerate(own) if label in place])
            to.append([place[label] for label in own if label in place])
        values = parts[model][name].transpose(*dims).values
        whole[number][np.ix_(*to)] = values[np.ix_(*of)]
    return whole


def _with_options(dataset: xr.Dataset, options: int) -> xr.Dataset:
    """The matrix with room for at least so many options: a control may name one nobody else did."""
    more = max(options - dataset.sizes["option"], 0)
    return dataset.pad(option=(0, more), constant_values=0) if more else dataset


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The controls' effects in the named measure, dimensions (model, seed, control, target)."""
    base, tuned = matrix["control_paired_base_accuracy"], matrix["control_accuracy"]
    if name == "pgf":
        gap = matrix["ceiling"] - base
        change = measure.pgf(base, tuned, matrix["ceiling"].where(gap > _NO_GAP))
    else:
        change = getattr(measure, name)(base, tuned)
    return change.transpose("model", *_CELLS)
