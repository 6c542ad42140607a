"""Finished cells: one immutable Parquet file per run and target, found by its content key.

`index.json` holds
    runs      the runs that the study asks for, in its order. Of each: `run` (model, kind, source,
              seed), `base` (hash of the base's weights), `training` (key of the adapter), `gold`
              (target to the hash of its right answers), `cells` (target to file), `versions`
              (of libraries) and `notes` (what a reader must know of the items)
    tables    every table that was ever finished: file to `target`, `key` and `sha256`
    adapters  every adapter that was ever finished: folder to key

Replacing the index is what makes a shard's files count: all of them or none, whenever a process
dies. A cell that was once computed is never computed again, whichever run or study needs it;
tables that the study no longer asks for stay in `tables` and leave `runs`.
"""

import io
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from transferscope import store as results
from transferscope.errors import DataError, StudyError
from transferscope.predictions import COLUMNS
from transferscope.store import atomic
from transferscope.study.plan import Run
from transferscope.tasks import Item
from transferscope.tasks.untrusted import load_yaml

LIBRARIES = (
    *("transferscope", "torch", "transformers", "peft", "numpy"),
    *("tokenizers", "pillow", "torchvision"),
)
"""Libraries that can change a number; torchvision resizes images where installed, else pillow."""


@dataclass
class Store:
    """The finished cells and adapters of a results folder; see the module for the fields."""

    folder: Path
    models: Sequence[str]
    """In the study's order."""
    runs: dict[Run, results.IndexedRun] = field(default_factory=dict)
    tables: dict[str, results.IndexedTable] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a reader of the tables must know of the items."""
    _saved: bytes = b""
    """The index as it was saved last."""

    def keys(self, run: Run) -> dict[str, str]:
        """Target to content key of a run's current cells."""
        cells = self.runs[run]["cells"] if run in self.runs else {}
        return {target: self.tables[file]["key"] for target, file in cells.items()}

    def missing(self, cells: Mapping[str, str]) -> tuple[str, ...]:
        """The targets whose content key no table has."""
        known = {table["key"] for table in self.tables.values()}
        return tuple(target for target, key in cells.items() if key not in known)

    def has_adapter(self, run: Run, key: str) -> bool:
        """Whether the folder has the run's adapter under this key, with every file intact."""
        folder = self.folder / adapter_folder(run)
        record = results.read_json(folder / results.RUN)
        listed = self.adapters.get(adapter_folder(run).as_posix())
        return (
            listed == key == record.get("key")
            and "files" in record
            and results.checksums(folder) == record["files"]
        )

    def put_adapters(
        self,
        runs: Sequence[Run],
        records: Sequence[Mapping[str, Any]],
        write: Callable[[int, Path], None],
    ) -> None:
        """Write the adapters of a shard; all of them count in the end, or none.

        Args:
            records: how each was made; `key` is its content key.
            write: writes the files of one, by its place in `runs`, into a new folder.
        """
        keys = {}
        for number, (run, record) in enumerate(zip(runs, records, strict=True)):
            with atomic.whole_folder(self.folder / adapter_folder(run)) as folder:
                write(number, folder)
                content = {**record, "files": results.checksums(folder)}
                (folder / results.RUN).write_bytes(results.as_json(content))
            keys[adapter_folder(run).as_posix()] = record["key"]
        self.adapters |= keys
        self.save()

    def put_cells(
        self,
        run: Run,
        keys: Mapping[str, str],
        fresh: Mapping[str, pl.DataFrame],
        record: Mapping[str, Any],
    ) -> None:
        """Write a run's cells, from fresh answers and finished tables; they count once saved.

        Args:
            keys: target to content key, in the study's order.
            fresh: target to its answers; every other target must have a finished table.
            record: the run's hashes, as the index keeps them.
        """
        if list(self.keys(run).items()) == list(keys.items()):
            return
        files = {}
        for target, key in keys.items():
            files[target] = name = table_name(run, target, key)
            if name in self.tables:
                continue
            rows = fresh[target] if target in fresh else self._finished(run, key)
            rows.write_parquet(buffer := io.BytesIO())
            path = atomic.write_whole(self.folder / name, buffer.getvalue(), sync=True)
            self.tables[name] = {"target": target, "key": key, "sha256": results.checksum(path)}
        self.runs[run] = {
            "run": results.RunFields(**asdict(run)),
            "base": record["base"],
            "training": record["training"],
            "gold": record["gold"],
            "cells": files,
            "versions": versions(),
            "notes": self.notes,
        }

    def _finished(self, run: Run, key: str) -> pl.DataFrame:
        """The rows of a finished cell under the run's own names."""
        path = self.folder / next(
            name for name, table in self.tables.items() if table["key"] == key
        )
        try:
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        names = {"model": run.model, "seed": _text(run.seed), "source": run.source}
        return frame.with_columns(
            pl.lit(value, dtype=pl.String).alias(name) for name, value in names.items()
        )

    def save(self) -> None:
        """Replace the index, so that all that was put counts."""

        def place(run: Run) -> tuple[Any, ...]:
            rank = self.models.index(run.model)
            return rank, run.kind != "base", f"seed-{run.seed}", run.source or ""

        runs = [self.runs[run] for run in sorted(self.runs, key=place)]
        index = {"schema": 1, "runs": runs, "tables": self.tables, "adapters": self.adapters}
        if (data := results.as_json(index)) != self._saved:
            atomic.write_whole(self.folder / results.INDEX, data, sync=True)
        self._saved = data


def table_name(run: Run, target: str, key: str) -> str:
    """Where a cell's table lies, relative to the folder."""
    part = results.CONTROLS if run.auxiliary else results.PREDICTIONS
    source = () if run.kind == "base" else (results.unique_name(run.source or ""), str(run.seed))
    names = (results.unique_name(run.model), *(source or ("base",)))
    return "/".join((part, *names, f"{results.unique_name(target)}-{key[:12]}.parquet"))


def adapter_folder(run: Run) -> Path:
    """Where the adapter of a run lies that the study trains, relative to the folder."""
    return results.adapter_path(run.model, run.source or "", run.seed or 0)


def read_store(folder: Path, models: Sequence[str]) -> Store:
    """What the index of a folder lists; no table is checked.

    Raises:
        DataError: the index is damaged.
    """
    index = results.read_index(folder)
    if index is None:
        return Store(folder, models)
    runs = {Run(**record["run"]): record for record in index["runs"]}
    runs = {run: record for run, record in runs.items() if run.model in models}
    return Store(folder, models, runs, index["tables"], index["adapters"])


def open_store(
    folder: Path, models: Sequence[str], planned: Set[Run], note: Callable[[str], None]
) -> Store:
    """The folder's finished cells, each checked; runs that are not planned leave the index.

    Args:
        note: gets a line for each damaged table.
    """
    store = read_store(folder, models)
    current = {file for record in store.runs.values() for file in record["cells"].values()}
    for name, table in list(store.tables.items()):
        if results.checksum(folder / name) != table["sha256"]:
            del store.tables[name]
            if name in current:
                note(f"{name} is damaged, its checksum differs; it is computed again")
                results.log(folder, "damaged", file=name)
    store.runs = {run: record for run, record in store.runs.items() if run in planned}
    for record in store.runs.values():
        record["cells"] = {
            target: name for target, name in record["cells"].items() if name in store.tables
        }
    store.save()
    return store


def claim(folder: Path, name: str, study: bytes) -> None:
    """Write the study file into its folder.

    Args:
        study: the file's content.

    Raises:
        StudyError: the folder holds a study of another name.
    """
    path = folder / results.STUDY
    if path.exists():
        try:
            before = load_yaml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        other = before.get("name") if isinstance(before, dict) else None
        if other not in (None, name):
            raise StudyError(
                f"{folder}: holds the study {other!r}, this one is {name!r}; give another --out"
            )
    atomic.write_whole(path, study)


def as_table(run: Run, items: Sequence[Item], answers: Sequence[Any]) -> pl.DataFrame:
    """A run's answers as a predictions table.

    Args:
        answers: for each item its `choice` (None where unreadable), `margin` and `logprobs`; where
            the answer is a number, its `score`, None where the reply has no number.
    """
    rows = []
    for item, given in zip(items, answers, strict=True):
        names = (run.model, _text(run.seed), run.source, item.task, item.id)
        if item.truth is None:
            right, unreadable = given.choice == item.answer, given.choice is None
            more = (given.margin, list(given.logprobs), None)
            rows.append((*names, given.choice, item.answer, right, unreadable, *more))
        else:
            score = given.score or 0.0
            rows.append((*names, None, None, score == 1, given.score is None, None, None, score))
    schema = {name: kind for name, kind in COLUMNS.items() if name != "read_by"}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _text(seed: int | None) -> str | None:
    return None if seed is None else str(seed)


@cache
def versions() -> dict[str, str]:
    """Installed versions of `LIBRARIES`."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
