"""Controls (`study.controls`) beside the matrix, never among its sources.

They are measured as any source is, in the same items, and kept apart: no source, no
transferability, no clique sees them.

In:   the matrix, and a predictions table of controls (`source` is the control's name).
Out:  the matrix with control_accuracy, control_correct, control_total, control_run_total,
      control_paired_base_accuracy, control_paired_base_correct (model, seed, control, target) as
      `matrix` has them of sources, control_item_correct (model, seed, control, item), how controls
      answer (see `collapse`), and notes on rows of theirs that fit no source.

Not measured is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from transferscope.errors import DataError
from transferscope.matrix.measure import MEASURES
from transferscope.matrix.transfer_matrix import from_predictions

if TYPE_CHECKING:
    import xarray as xr

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
    kept = controls.filter(
        pl.col(d).is_in(dataset[d].values.tolist()) for d in ("model", "seed", "target")
    )
    notes = list(dataset.attrs["notes"])
    if odd := controls.height - kept.height:
        notes.append(
            f"controls: {odd:,} of {controls.height:,} answers have a model, seed or target that "
            f"no source has; they are left out"
        )
    dataset = dataset.assign_attrs(notes=notes)
    if kept.is_empty():
        return dataset
    # Items by target and name: the same name may stand for items of two targets.
    keys = pl.format("{}\0{}", "target", "item")
    base = predictions.filter(pl.col("source").is_null())
    rows = pl.concat([base, kept], how="diagonal").with_columns(item=keys)
    parts = {
        model: from_predictions(rows.filter(pl.col("model") == model)).sel(model=model)
        for model in dataset["model"].values.tolist()
        if model in kept["model"]
    }
    shared = predictions.select("target", "item").unique()["item"].is_duplicated().any()
    pairs = zip(
        dataset["item_target"].values.tolist(), dataset["item"].values.tolist(), strict=True
    )
    labels: dict[str, list[str]] = {
        "seed": dataset["seed"].values.tolist(),
        "target": dataset["target"].values.tolist(),
        "control": kept["source"].unique(maintain_order=True).to_list(),
        "item": [f"{target}\0{n[len(target) + 1 :] if shared else n}" for target, n in pairs],
    }
    found = {
        f"control_{name}": (("model", *dims), _filled(parts, dataset, name, labels))
        for name, dims in _VARIABLES.items()
        if any(name in part for part in parts.values())
    }
    if "letter_count" in dataset and "control_letter_count" in found:
        # A control may choose an option that no other run does.
        more = found["control_letter_count"][1].shape[-1] - dataset.sizes["option"]
        dataset = dataset.pad(option=(0, more), constant_values=0) if more > 0 else dataset
    return dataset.assign_coords(control=np.array(labels["control"], dtype=str)).assign(found)


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
        part, to, of = parts[model].rename(source="control"), [], []
        for d in dims:
            names = part[d].values.tolist()
            place = places.get(d, {label: label for label in names})
            of.append([k for k, label in enumerate(names) if label in place])
            to.append([place[label] for label in names if label in place])
        whole[number][np.ix_(*to)] = part[name].transpose(*dims).values[np.ix_(*of)]
    return whole


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The controls' effects in the named measure, dimensions (model, seed, control, target)."""
    base, tuned = matrix["control_paired_base_accuracy"], matrix["control_accuracy"]
    change = MEASURES[name].formula(base, tuned, matrix["ceiling"])
    return change.transpose("model", *_CELLS)
