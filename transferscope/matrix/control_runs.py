"""Controls (`study.controls`) beside the matrix, never among its sources.

They are measured as any source is, in the same items, and kept apart: no source, no
transferability, no clique sees them.
"""

from typing import Any

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
    kept = _of_matrix(dataset, controls)
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
    rows = _with_base(predictions, kept).with_columns(item=pl.format("{}\0{}", "target", "item"))
    part = from_predictions(rows, same_tasks=False).rename(source="control")
    part = part[[name for name in _VARIABLES if name in part]].reset_coords(drop=True)
    shared = predictions.select("target", "item").unique()["item"].is_duplicated().any()
    items = [dataset[name].values.tolist() for name in ("item_target", "item")]
    labels: dict[str, Any] = {
        **{d: dataset[d].values for d in ("model", "seed", "target")},
        "item": [
            f"{target}\0{name[len(target) + 1 :] if shared else name}"
            for target, name in zip(*items, strict=True)
        ],
    }
    if "option" in part.dims:
        part = part.assign_coords(option=range(part.sizes["option"]))
        options = max(one.sizes.get("option", 0) for one in (dataset, part))
        labels["option"] = range(options)
        # A control may choose one that no other run does.
        if more := options - dataset.sizes.get("option", options):
            dataset = dataset.pad(option=(0, more), constant_values=0)
    part = part.reindex(labels, fill_value={"item_correct": -1})
    part = part.drop_vars(["item", "option"], errors="ignore")
    return dataset.assign({f"control_{name}": each for name, each in part.items()})


def _of_matrix(dataset: xr.Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows whose model, seed and target the matrix has."""
    return rows.filter(
        pl.col(d).is_in(dataset[d].values.tolist()) for d in ("model", "seed", "target")
    )


def _with_base(predictions: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, after those of their models' bases."""
    base = pl.col("source").is_null() & pl.col("model").is_in(rows["model"].unique().to_list())
    return pl.concat([predictions.filter(base), rows], how="diagonal")


def with_states(dataset: xr.Dataset, predictions: pl.DataFrame, states: pl.DataFrame) -> xr.Dataset:
    """The matrix with that of adapters before their last step and at other strengths beside it.

    The latter is `attrs["states"]`, at ceiling 1; arguments as for `with_controls`.
    """
    rows = _with_base(predictions, _of_matrix(dataset, states))
    return dataset.assign_attrs(states=from_predictions(rows, same_tasks=False))


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The controls' effects in the named measure, dimensions (model, seed, control, target)."""
    base, tuned = matrix["control_paired_base_accuracy"], matrix["control_accuracy"]
    change = MEASURES[name].effect(base, tuned, matrix["ceiling"])
    return change.transpose("model", *_CELLS)
