"""Other people's results into the same matrix.

In:   CSV, JSON lines or Parquet tables in a known format (`formats`), study folders or bundles of
      them, or mapping files that name results of other evaluation harnesses (`harness`); one or
      more models. `compare` reads a base and its runs.
Out:  the labeled matrix of `matrix`, with what was read in `attrs["inputs"]`.

Bad input is a `DataError` of one line that names the file, the row, what was found and what was
expected. Nothing is written.
"""

import hashlib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from transferscope.errors import DataError
from transferscope.matrix import (
    Ceiling,
    apply_ceiling,
    check_same_tasks,
    from_accuracy,
    from_pgf,
    from_predictions,
)
from transferscope.matrix.control_runs import with_controls, with_states
from transferscope.predictions import CELL, check_unique, spread_base
from transferscope.readers.checks import check_rows, check_runs
from transferscope.readers.counts import with_counts
from transferscope.readers.files import Kind, ReadInput, is_mapping, joined, read_file
from transferscope.readers.formats import read_table, rename_model
from transferscope.readers.gold import gold_notes, record_notes
from transferscope.readers.spelling import check_name, check_spelling
from transferscope.readers.training_log import trainings
from transferscope.readers.unfinished import unfinished_notes
from transferscope.store import (
    ANALYSIS,
    STUDY,
    IndexedRun,
    files_by_run,
    prediction_files,
    read_beside,
    run_records,
)
from transferscope.store.archive import is_bundle, unpacked
from transferscope.study.controls import PLACEBOS, REORDERED
from transferscope.tasks.checkpoints import Checkpoint, Strength, strength, task_of
from transferscope.tasks.untrusted import shown

PathLike = str | os.PathLike[str]
Inputs = PathLike | Sequence[PathLike | tuple[str, PathLike]] | Mapping[str, PathLike]
"""A path, several, or several under names; in a list, a pair (name, path) names its model."""


def read_results(inputs: Inputs, *, ceiling: Ceiling = 1.0) -> xr.Dataset:
    """Results of one or more models as a transfer matrix.

    Args:
        inputs: CSV, JSON lines or Parquet files, study folders, bundles or mapping files; the order
            of models is size order. A name renames an input's single model.
        ceiling: best reachable accuracy; see `matrix.apply_ceiling`.

    Returns:
        The dataset that `transferscope.matrix` describes.

    Raises:
        DataError: an input is missing, damaged or invalid, or the models have different tasks.
    """
    return matrix_of(read_inputs(inputs), ceiling=ceiling)


def read_inputs(inputs: Inputs) -> list[ReadInput]:
    """The inputs of `read_results`, one by one.

    Raises:
        DataError: there is no input, or one is missing, damaged or invalid.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    read = []
    for entry in inputs.items() if isinstance(inputs, Mapping) else inputs:
        name, path = entry if isinstance(entry, tuple) else (None, entry)
        if name is not None:
            check_name(name, "the model name")
        read.append(_read(name, Path(path)))
    if not read:
        raise DataError("no input; give at least one file or study folder")
    return read


def matrix_of(read: Sequence[ReadInput], *, ceiling: Ceiling = 1.0) -> xr.Dataset:
    """The matrix of inputs that were read; see `read_results`."""
    from transferscope.analysis.analyze import counted  # `compare` does not need it

    owner: dict[str, str] = {}
    for one in read:
        for model in one.models:
            if model in owner:
                raise DataError(
                    f"model {model!r} is in two inputs, {owner[model]} and {one.file}; "
                    f"give each its own name, as in NAME=PATH"
                )
            owner[model] = one.file
    dataset = _matrix(read)
    predictions = [one.rows for one in read if one.kind == "predictions"]
    for add, given in (
        (with_controls, [one.controls for one in read]),
        (with_states, [one.states for one in read]),
    ):
        if known := [rows for rows in given if rows is not None]:
            both = (pl.concat(rows, how="diagonal").drop("row") for rows in (predictions, known))
            dataset = add(dataset, *both)
    dataset = dataset.sel(model=list(owner))
    dataset.attrs["inputs"] = [entry for one in read for entry in one.entries]
    notes = [note for one in read for note in [*one.notes, *record_notes(one.records)]]
    notes += gold_notes(predictions, [(one.file, one.gold) for one in read])
    dataset.attrs["notes"] = list(dict.fromkeys([*notes, *dataset.attrs["notes"]]))
    dataset.attrs["checks"] = [
        replace(c, message=f"{shown(c.model)}: {c.message}") if c.model and len(owner) > 1 else c
        for one in read
        for c in one.checks
    ]
    dataset.attrs["trainings"] = [curve for one in read for curve in one.trainings]
    dataset = dataset.assign_coords(counted=counted(dataset))
    return dataset if ceiling == 1.0 else apply_ceiling(dataset, ceiling)


def _read(name: str | None, path: Path) -> ReadInput:
    if path.is_dir():
        one = _read_folder(name, path, shown(path.resolve().name))
    elif is_bundle(path):
        label = shown(path.name)
        with unpacked(path) as folder:
            if not prediction_files(folder):
                raise DataError(
                    f"{label}: a bundle without predictions, exported from a folder without them; "
                    f"it holds only an {ANALYSIS} (unpack it for `transferscope report`)"
                )
            one = _read_folder(name, folder, label)._replace(bundled=True)
    elif is_mapping(path):
        one = _read_mapping(name, path)
    else:
        one = _read_table(name, path)
    if one.rows["source"].is_null().all():
        problem = "only base rows; there is nothing to compare the base with"
        raise DataError("\n".join([f"{one.file}: {problem}", *one.notes]))
    if one.kind != "pgf table" and one.rows["source"].is_not_null().all():
        raise DataError(
            f"{one.file}: no base rows, so there is nothing to compare with; rows of the untuned "
            f"model have an empty source"
        )
    return one


def _read_mapping(name: str | None, path: Path) -> ReadInput:
    from transferscope.readers.harness.evaluations import read_evaluations

    label = shown(path.name)
    found = read_evaluations(path, name)
    rows = found.rows.drop("reply", strict=False)  # a matrix has no use for it
    rows = rename_model(rows, name, label)
    check_spelling(rows.drop("row"), label)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checks = [replace(c, model=c.model and (name or c.model)) for c in check_runs(found)]
    return ReadInput(rows, label, digest, found.notes, parts=found.inputs, checks=checks)


def _read_table(name: str | None, path: Path) -> ReadInput:
    """A table file. If it is another known kind of file, the error states which, with a remedy."""
    from transferscope.readers.harness import harness_of
    from transferscope.readers.harness.foreign_files import load

    try:
        one = read_table(read_file(path), name)
    except DataError as error:
        problem = str(error)
    else:
        check_spelling(one.rows, one.file)
        return one._replace(checks=check_rows(one.rows))
    if path.suffix.lower() in (".yaml", ".yml"):
        problem = (
            f"{shown(path.name)}: not a mapping file, as it has no `runs:`; a study file is for "
            f"`transferscope run`, and the folder which that writes is for `analyze`"
        )
    elif path.is_file() and (harness := harness_of(load(path))):
        # It names neither the base nor the task finetuned on.
        problem = (
            f"{shown(path.name)}: a file of {harness.NAME}, which is one run alone; compare it "
            f"with the base by `transferscope compare BASE RUN`, or name the runs in a mapping "
            f"file (docs/harnesses.md)"
        )
    raise DataError(problem)


def _read_folder(name: str | None, path: Path, label: str) -> ReadInput:
    """A study folder's predictions and controls; its hash is that of their names and hashes."""
    whole = hashlib.sha256()
    rows, records = _stacked(files_by_run(path), label, whole), tuple(run_records(path))
    if rows is None:
        what = (
            "not a study folder, as it has no predictions/*.parquet; for results of other "
            "harnesses run `transferscope compare BASE RUN`, or write a mapping file "
            "(docs/harnesses.md)"
        )
        if Path(path, ANALYSIS).is_file():
            what = (
                "an analysis without its predictions; `transferscope report` draws it again, and "
                "`select` reads it"
            )
        elif Path(path, STUDY).is_file():
            what = (
                "a study of which nothing is scored yet; `transferscope run` with the same study "
                "and folder goes on"
            )
        raise DataError(f"{label}: {what}")
    controls, states = _stacked(files_by_run(path, controls=True), label, whole), None
    if controls is not None:
        if controls["source"].is_null().any():
            raise DataError(f"{label}: a table of controls with rows of the base; keep those apart")
        controls, states = _states(rows, controls, records)
        if rows["source"].is_null().all():  # mixtures without a source beside them are sources
            known = pl.col("source").is_in([*PLACEBOS, REORDERED])
            rows = pl.concat([rows, controls.filter(~known)], how="diagonal")
            controls = controls.filter(known)
    # A study that was stopped may have nothing but the base, or controls, of a model.
    models = rows.drop_nulls("source")["model"].unique().to_list()
    tuned = pl.col("model").is_in(models)
    rows, study = rows.filter(tuned), read_beside(path, STUDY)
    notes = unfinished_notes(study, records, models) if study and records else ()
    if controls is not None:
        controls = controls.filter(tuned)
        states = states if states is None else states.filter(tuned)
        controls = None if controls.is_empty() else rename_model(controls, name, label)
        states = states if states is None else rename_model(states, name, label)
    rows = rename_model(rows, name, label)
    check_spelling(rows.drop("row"), label)
    return ReadInput(
        *(rows, label, whole.hexdigest(), notes, records, controls, states),
        checks=check_rows(rows),
        study=study,
        trainings=trainings(path, records, models, name),
    )


def _states(
    rows: pl.DataFrame, controls: pl.DataFrame, records: Sequence[IndexedRun]
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The rows of controls alone; and those of snapshots and strengths, with their last ones."""
    known = set(rows["source"].drop_nulls())
    steps = {record["run"]["source"]: record.get("steps") for record in records}
    names = [n for n in controls["source"].unique() if n not in known and task_of(n) in known]
    if not names:
        return controls, None
    # The finished adapter ends each course, under a name of its kind.
    last = {
        Strength(task_of(n), 1).name if strength(n) else Checkpoint(task_of(n), steps.get(n)).name
        for n in names
    }
    finished = [
        rows.filter(source=task_of(name)).with_columns(source=pl.lit(name))
        for name in sorted(last - known)
    ]
    apart = pl.col("source").is_in(names)
    return controls.filter(~apart), pl.concat([controls.filter(apart), *finished], how="diagonal")


def _stacked(runs: list[list[Path]], label: str, whole: Any) -> pl.DataFrame | None:
    """The rows of tables of predictions; the hash `whole` takes in their names and hashes.

    The tables of a run are checked together: that is several times as fast.
    """
    tables = []
    for files in runs:
        one = read_table(joined([read_file(file) for file in files], whole), None)
        if one.kind != "predictions":
            found = f"{one.file!r} has the format of a{'n' * (one.kind[0] == 'a')} {one.kind}"
            raise DataError(f"{label}: {found}, expected predictions")
        tables.append(one.rows.with_columns(file=pl.lit(one.file)))
    if not tables:
        return None
    rows = pl.concat(tables, how="diagonal")
    check_unique(spread_base(rows), (*CELL, "item"), label)
    return rows.drop("file")


def _matrix(tables: Sequence[ReadInput]) -> xr.Dataset:
    """The matrix of all tables; those of one kind are built together, then put side by side.

    Items that a model was not evaluated on are -1.
    """
    build: dict[Kind, Callable[[pl.DataFrame], xr.Dataset]] = {
        "pgf table": lambda rows: with_counts(from_pgf(rows)),
        "accuracy table": from_accuracy,
        "predictions": partial(from_predictions, same_tasks=False),
    }
    tasks: dict[str, tuple[set[str], set[str]]] = {}
    for table in tables:
        # Models of one study have the same tasks; those that one still lacks are unknown.
        parts = [table.rows] if table.records else table.rows.partition_by("model")
        for part in parts:
            both = set(part["source"].drop_nulls()), set(part["target"])
            tasks |= dict.fromkeys(part["model"].unique(maintain_order=True), both)
    check_same_tasks(tasks)
    of_kind: dict[Kind, list[pl.DataFrame]] = {}
    for table in tables:
        of_kind.setdefault(table.kind, []).append(table.rows.drop("row"))
    parts = [build[kind](pl.concat(rows, how="diagonal")) for kind, rows in of_kind.items()]
    if len(parts) == 1:
        return parts[0]
    order = {name: parts[0][name].values for name in ("source", "target")}
    order["seed"] = np.array(list(dict.fromkeys(s for part in parts for s in part["seed"].values)))
    blank: dict[Hashable, np.generic] = {
        name: np.int8(-1) if str(name).endswith("item_correct") else np.float64(np.nan)
        for part in parts
        for name in part.data_vars
    }
    whole = xr.concat(
        parts,
        "model",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="outer",
        fill_value=blank,
    ).reindex(order)
    for key in ("notes", "ceiling_notes"):
        whole.attrs[key] = list(dict.fromkeys(note for part in parts for note in part.attrs[key]))
    return whole
