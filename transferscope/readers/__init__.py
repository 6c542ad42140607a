"""Other people's results into the same matrix.

In:   CSV, JSON lines or Parquet tables in a known format (`formats`), study folders or bundles of
      them (`bundle`), or mapping files that name results of other evaluation harnesses (`harness`);
      one or more models.
Out:  the labelled matrix of `matrix`, with what was read in `attrs["inputs"]`.

Bad input is a `DataError` of one line that names the file, the row, what was found and what was
expected. Nothing is written.
"""

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import xarray as xr

from transferscope.analysis.check import Check
from transferscope.errors import DataError
from transferscope.matrix import (
    Ceiling,
    apply_ceiling,
    check_same_tasks,
    from_accuracy,
    from_pgf,
    from_predictions,
)
from transferscope.matrix.controls import with_controls
from transferscope.predictions import CELL, check_predictions, check_unique, shown, spread_base
from transferscope.readers.checks import check_rows, check_runs, check_table
from transferscope.readers.counts import recover_counts, with_counts
from transferscope.readers.files import is_mapping, joined, read_file
from transferscope.readers.formats import FORMATS, Kind, Table, check_name, read_table, rename_model
from transferscope.readers.gold import gold_notes, gold_of, record_notes
from transferscope.readers.spelling import check_spelling
from transferscope.store import (
    ANALYSIS,
    STUDY,
    files_by_run,
    prediction_files,
    read_beside,
    run_records,
)
from transferscope.store.archive import is_bundle, unpacked
from transferscope.study.controls import PLACEBOS, REORDERED

__all__ = [
    "FORMATS",
    "Inputs",
    "Read",
    "matrix_of",
    "read_inputs",
    "read_results",
    "recover_counts",
]

PathLike = str | os.PathLike[str]
Inputs = PathLike | Sequence[PathLike | tuple[str, PathLike]] | Mapping[str, PathLike]
"""A path, several, or several under names; in a list, a pair (name, path) names its model."""


class Read(NamedTuple):
    """One input as it was read."""

    table: Table
    file: str
    sha256: str
    records: tuple[Mapping[str, Any], ...] = ()
    """What a study keeps beside its tables."""
    controls: pl.DataFrame | None = None
    """Rows of placebo runs, from a study folder."""
    notes: Sequence[str] = ()
    parts: Sequence[dict[str, str]] = ()
    """Entries of `attrs["inputs"]`, where the input is more than one file."""
    checks: Sequence[Check] = ()
    """What voids a verdict, or puts it in doubt."""
    study: bytes | None = None
    """The study file of a study folder."""
    bundled: bool = False
    """Whether that is out of a bundle, so that folders it names are those of another machine."""

    @property
    def models(self) -> list[str]:
        return self.table.rows["model"].unique(maintain_order=True).to_list()

    @property
    def gold(self) -> dict[str, str]:
        return gold_of(self.table.rows, self.records)

    @property
    def entries(self) -> list[dict[str, Any]]:
        names = ", ".join(self.models)
        whole = {
            "model": names,
            "file": self.file,
            "sha256": self.sha256,
            "kind": self.table.kind if not self.parts else "mapping file",
            "gold": self.gold,
        }
        parts: list[dict[str, Any]] = [dict(part) for part in self.parts]
        if len(self.models) == 1:  # it may have been renamed
            parts = [part | {"model": names} for part in parts]
        return [whole, *parts]


def read_results(inputs: Inputs, *, ceiling: Ceiling = 1.0) -> xr.Dataset:
    """Results of one or more models as a transfer matrix.

    Args:
        inputs: CSV, JSON lines or Parquet files, study folders, bundles or mapping files; the order
            of models is size order. A name renames an input's single model.
        ceiling: best reachable accuracy; see `matrix.apply_ceiling`.

    Returns:
        The dataset that `transferscope.matrix` describes.

    Raises:
        DataError: an input is missing, damaged or not what it must be, or the models do not have
            the same tasks.
    """
    return matrix_of(read_inputs(inputs), ceiling=ceiling)


def read_inputs(inputs: Inputs) -> list[Read]:
    """The inputs of `read_results`, one by one.

    Raises:
        DataError: there is none, or one is missing, damaged or not what it must be.
    """
    read = [_read(name, path) for name, path in _named(inputs)]
    if not read:
        raise DataError("no input; give at least one file or study folder")
    return read


def matrix_of(read: Sequence[Read], *, ceiling: Ceiling = 1.0) -> xr.Dataset:
    """The matrix of inputs that were read; see `read_results`."""
    owner: dict[str, str] = {}
    for one in read:
        for model in one.models:
            if model in owner:
                raise DataError(
                    f"model {model!r} is in two inputs, {owner[model]} and {one.file}; "
                    f"give each its own name, as in NAME=PATH"
                )
            owner[model] = one.file
    dataset = _with_controls(_matrix([one.table for one in read]), read).sel(model=list(owner))
    dataset.attrs["inputs"] = [entry for one in read for entry in one.entries]
    judged = [one.table.rows for one in read if one.table.kind == "predictions"]
    told = [note for one in read for note in [*one.notes, *record_notes(one.records)]]
    told += gold_notes(judged, [(one.file, one.gold) for one in read])
    dataset.attrs["notes"] = list(dict.fromkeys([*told, *dataset.attrs["notes"]]))
    checks = [check for one in read for check in one.checks]
    if len(owner) > 1:
        named = (f"{shown(c.model)}: {c.message}" if c.model else c.message for c in checks)
        checks = [replace(c, message=message) for c, message in zip(checks, named, strict=True)]
    dataset.attrs["checks"] = checks
    return dataset if ceiling == 1.0 else apply_ceiling(dataset, ceiling)


def _with_controls(dataset: xr.Dataset, read: Sequence[Read]) -> xr.Dataset:
    controls = [one.controls for one in read if one.controls is not None]
    if not controls:
        return dataset
    predictions = [one.table.rows for one in read if one.table.kind == "predictions"]
    both = (pl.concat(rows, how="diagonal").drop("row") for rows in (predictions, controls))
    return with_controls(dataset, *both)


def _named(inputs: Inputs) -> Iterator[tuple[str | None, Path]]:
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    pairs = inputs.items() if isinstance(inputs, Mapping) else inputs
    for entry in pairs:
        name, path = entry if isinstance(entry, tuple) else (None, entry)
        if name is not None:
            check_name(name, "the model name")
        yield name, Path(path)


def _read(name: str | None, path: Path) -> Read:
    if path.is_dir():
        one = _read_folder(name, path, shown(path.resolve().name))
    elif is_bundle(path):
        one = _read_bundle(name, path)
    elif is_mapping(path):
        one = _read_mapping(name, path)
    else:
        one = _read_table(name, path)
    if one.table.rows["source"].is_null().all():
        raise DataError(f"{one.file}: only base rows; there is nothing to compare the base with")
    if one.table.kind != "pgf table" and one.table.rows["source"].is_not_null().all():
        raise DataError(
            f"{one.file}: no base rows, so there is nothing to compare with; rows of the untuned "
            f"model have an empty source"
        )
    return one


def _read_mapping(name: str | None, path: Path) -> Read:
    """Results of other harnesses, as a mapping file tells of them."""
    from transferscope.readers.harness.table import read_evaluations

    label = shown(path.name)
    found = read_evaluations(path, name)
    kind: Kind = "predictions" if found.items else "accuracy table"
    rows = found.rows
    if found.items:
        rows = check_predictions(rows, label)
    rows = rename_model(rows, name, label)
    check_spelling(rows.drop("row"), label)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checks = check_runs(found)
    if name is not None:
        checks = [replace(check, model=name if check.model else "") for check in checks]
    return Read(
        Table(kind, rows, []), label, digest, notes=found.notes, parts=found.inputs, checks=checks
    )


def _read_table(name: str | None, path: Path) -> Read:
    """A table file; a file that is none is named for what it is, where that is known."""
    try:
        raw = read_file(path)
        table = read_table(raw, name)
    except DataError as error:
        problem = str(error)
    else:
        check_spelling(table.rows, raw.name)
        checks = check_table(table.kind, table.rows)
        return Read(table, raw.name, raw.sha256, notes=table.notes, checks=checks)
    raise DataError(_lone_log(path) or problem)


def _lone_log(path: Path) -> str | None:
    """Why a harness's file or a YAML file cannot be analyzed alone; None for any other file.

    A harness's file names neither the base nor the task finetuned on.
    """
    from transferscope.readers.harness.runs import recognised

    if path.suffix.lower() in (".yaml", ".yml"):
        return (
            f"{shown(path.name)}: no mapping file, as it has no `runs:`; a study file is for "
            f"`transferscope run`, and the folder which that writes is for `analyze`"
        )
    harness = recognised(path) if path.is_file() else None
    if harness is None:
        return None
    return (
        f"{shown(path.name)}: a file of {harness}, which is one run alone; compare it with the "
        f"base by `transferscope compare BASE RUN`, or name the runs in a mapping file "
        f"(docs/harnesses.md)"
    )


def _read_bundle(name: str | None, path: Path) -> Read:
    """The folder that a bundle was made of, as far as it is in it."""
    label = shown(path.name)
    with unpacked(path) as folder:
        if not prediction_files(folder):
            raise DataError(
                f"{label}: a bundle without predictions, made of a folder that had none; the "
                f"{ANALYSIS} in it is all there is (unpack it for `transferscope report`)"
            )
        return _read_folder(name, folder, label)._replace(bundled=True)


def _read_folder(name: str | None, path: Path, label: str) -> Read:
    """A study folder's predictions and controls; its hash is that of their names and hashes."""
    whole = hashlib.sha256()
    rows = _stacked(files_by_run(path), label, whole)
    if rows is None and Path(path, ANALYSIS).is_file():
        raise DataError(
            f"{label}: an analysis and no predictions that it was made of; `transferscope report` "
            f"draws it again, and `select` reads it"
        )
    if rows is None:
        raise DataError(
            f"{label}: a folder without predictions/*.parquet, so no study folder; for results of "
            f"other harnesses run `transferscope compare BASE RUN`, or write a mapping file "
            f"(docs/harnesses.md)"
        )
    controls = _stacked(files_by_run(path, controls=True), label, whole)
    if controls is not None:
        if name is not None:  # an interrupted study may hold controls of models without results
            controls = controls.filter(pl.col("model").is_in(rows["model"].unique().to_list()))
            controls = controls.with_columns(model=pl.lit(name))
        if controls["source"].is_null().any():
            raise DataError(f"{label}: a table of controls with rows of the base; keep those apart")
        rows, controls = _apart(rows, controls)
    table = Table("predictions", rename_model(rows, name, label), [])
    check_spelling(table.rows.drop("row"), label)
    records = tuple(run_records(path))
    return Read(
        *(table, label, whole.hexdigest(), records, controls),
        checks=check_rows(table.rows),
        study=read_beside(path, STUDY),
    )


def _apart(rows: pl.DataFrame, controls: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Sources, and what stands beside them. Mixtures without a source beside them are sources."""
    if not rows["source"].is_null().all():
        return rows, controls
    known = pl.col("source").is_in([*PLACEBOS, REORDERED])
    beside = controls.filter(known)
    whole = pl.concat([rows, controls.filter(~known)], how="diagonal")
    return whole, None if beside.is_empty() else beside


def _stacked(runs: list[list[Path]], label: str, whole: Any) -> pl.DataFrame | None:
    """The rows of some tables of predictions; the hash `whole` takes in their names and hashes.

    Args:
        runs: the tables of each run, which are checked together: that is several times as fast.
    """
    tables = []
    for files in runs:
        raw = joined([read_file(file) for file in files], whole)
        table = read_table(raw, None)
        if table.kind != "predictions":
            article = "an" if table.kind[0] == "a" else "a"
            raise DataError(
                f"{label}: {raw.name!r} has the format of {article} {table.kind}, "
                f"expected predictions"
            )
        tables.append(table.rows.with_columns(file=pl.lit(raw.name)))
    if not tables:
        return None
    rows = pl.concat(tables, how="diagonal")
    check_unique(spread_base(rows), (*CELL, "item"), label)
    return rows.drop("file")


_BUILD: dict[Kind, Callable[[pl.DataFrame], xr.Dataset]] = {
    "pgf table": lambda rows: with_counts(from_pgf(rows)),
    "accuracy table": from_accuracy,
    "predictions": from_predictions,
}


def _matrix(tables: list[Table]) -> xr.Dataset:
    """The matrix of all tables; those of one kind are built together, then put side by side."""
    kinds: list[Kind] = list(dict.fromkeys(table.kind for table in tables))
    parts = []
    for kind in kinds:
        rows = pl.concat([t.rows for t in tables if t.kind == kind], how="diagonal")
        parts.append(_BUILD[kind](rows.drop("row")))
    return parts[0] if len(parts) == 1 else _side_by_side(parts)


def _blank(name: Hashable) -> np.generic:
    """What stands in a variable where nothing is known."""
    return np.int8(-1) if str(name).endswith("item_correct") else np.float64(np.nan)


def _side_by_side(parts: list[xr.Dataset]) -> xr.Dataset:
    """Matrices of different models as one; items nobody asked a model are -1."""
    first = parts[0]
    check_same_tasks(
        {
            model: (set(part["source"].values.tolist()), set(part["target"].values.tolist()))
            for part in parts
            for model in part["model"].values.tolist()
        }
    )
    seeds = list(dict.fromkeys(seed for part in parts for seed in part["seed"].values.tolist()))
    items = next((part for part in parts if "item" in part.dims), None)
    aligned: list[xr.Dataset] = []
    for part in parts:
        if items is not None and "item" not in part.dims:
            sizes = {**items.sizes, **part.sizes}
            part = part.assign_coords(item=items["item"], item_target=items["item_target"]).assign(
                {
                    name: (each.dims, np.full([sizes[d] for d in each.dims], _blank(name)))
                    for name, each in items.data_vars.items()
                    if name not in part
                }
            )
        filled = {name: _blank(name) for name in part.data_vars}
        part = part.reindex(seed=seeds, fill_value=filled)
        aligned.append(part.sel(source=first["source"].values, target=first["target"].values))
    whole = xr.concat(
        aligned, "model", data_vars="minimal", coords="minimal", compat="override", join="exact"
    )
    for key in ("notes", "ceiling_notes"):
        whole.attrs[key] = list(dict.fromkeys(note for part in parts for note in part.attrs[key]))
    return whole
