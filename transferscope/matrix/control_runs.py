"""Controls (`study.controls`) beside the matrix, never among its sources.

They are measured as any source is, in the same items, and kept apart: no source, no
transferability, no clique sees them.
"""

from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from transferscope.errors import DataError
from transferscope.matrix.measure import MEASURES
from transferscope.matrix.transfer_matrix import from_predictions

_CELLS = ("seed", "control", "target")
_VARIABLES = (
    *("accuracy", "correct", "total", "run_total", "paired_base_accuracy", "paired_base_correct"),
    *("item_correct", "letter_count", "unreadable_count", "collapsed_letter"),
)


def with_controls(
    dataset: xr.Dataset, predictions: pl.DataFrame, controls: pl.DataFrame
) -> xr.Dataset:
    """The matrix with its controls beside it.

    Each variable of `_VARIABLES` is there with `control_` before its name and `control` in place of
    `source`, and notes count the rows of controls that fit no source. Not measured is NaN.

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
    parts = [_part(rows.filter(pl.col("model") == model)) for model in sorted(set(kept["model"]))]
    shared = predictions.select("target", "item").unique()["item"].is_duplicated().any()
    pairs = zip(
        dataset["item_target"].values.tolist(), dataset["item"].values.tolist(), strict=True
    )
    labels: dict[str, Any] = {
        **{d: dataset[d].values for d in ("model", "seed", "target")},
        "control": np.array(kept["source"].unique(maintain_order=True).to_list(), dtype=str),
        "item": [f"{target}\0{n[len(target) + 1 :] if shared else n}" for target, n in pairs],
    }
    labels["option"] = range(max(one.sizes.get("option", 0) for one in (dataset, *parts)))
    if "option" in dataset.sizes:  # a control may choose one that no other run does
        more = len(labels["option"]) - dataset.sizes["option"]
        dataset = dataset.pad(option=(0, more), constant_values=0) if more else dataset
    fill = {"item_correct": -1}
    whole = xr.concat(parts, "model", join="outer", fill_value=fill)
    whole = whole.reindex(labels, fill_value=fill).drop_vars(["item", "option"], errors="ignore")
    order = ("model", "seed", "control", "target", "item", "option")
    whole = whole.transpose(*order, missing_dims="ignore")
    return dataset.assign_coords(control=labels["control"]).assign(
        {f"control_{name}": whole[name] for name in _VARIABLES if name in whole}
    )


def with_states(dataset: xr.Dataset, predictions: pl.DataFrame, states: pl.DataFrame) -> xr.Dataset:
    """The matrix with that of adapters before their last step and at other strengths beside it.

    The latter is `attrs["states"]`, at ceiling 1; arguments as for `with_controls`.
    """
    kept = states.filter(
        pl.col(d).is_in(dataset[d].values.tolist()) for d in ("model", "seed", "target")
    )
    base = pl.col("source").is_null() & pl.col("model").is_in(kept["model"].unique().to_list())
    rows = pl.concat([predictions.filter(base), kept], how="diagonal")
    return dataset.assign_attrs(states=from_predictions(rows))


def _part(rows: pl.DataFrame) -> xr.Dataset:
    """What is measured of one model's controls, without coordinates that are no index."""
    part = from_predictions(rows).rename(source="control")
    part = part[[name for name in _VARIABLES if name in part]].reset_coords(drop=True)
    return part.assign_coords(option=range(part.sizes.get("option", 0)))


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The controls' effects in the named measure, dimensions (model, seed, control, target)."""
    base, tuned = matrix["control_paired_base_accuracy"], matrix["control_accuracy"]
    change = MEASURES[name].effect(base, tuned, matrix["ceiling"])
    return change.transpose("model", *_CELLS)
