"""A study's finished cells: which the results folder has, and in which table.

A cell is found by its key, whatever table it is in, so what a study asked for once is never done
again: tables that it no longer asks for are set aside, out of the analysis's way, and taken from
there when they are asked for again. Every table has a record beside it with its checksum and the
keys of its cells; a table whose checksum differs counts as missing.

In:   a results folder that is `locked`, and the runs that a plan asks for.
Out:  tables in place, all of a shard's or none.

Knows no torch and makes no answer.
"""

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from transferscope import store as results
from transferscope.errors import DataError, StudyError
from transferscope.predictions import COLUMNS
from transferscope.store import atomic
from transferscope.study import Study
from transferscope.study.file import resolved
from transferscope.study.plan import Run
from transferscope.tasks import Item
from transferscope.tasks.untrusted import load_yaml

LIBRARIES = (
    *("transferscope", "torch", "transformers", "peft", "numpy"),
    *("tokenizers", "pillow", "torchvision"),
)
"""What can change a number; pictures are made by torchvision where it is, else by pillow."""


class Wanted(NamedTuple):
    """A run as the plan wants it."""

    run: Run
    path: Path
    """Its table, relative to the folder."""
    base: str
    """Hash of the base's weights."""
    training: str
    """Its training key."""
    cells: dict[str, str]
    """Target to key, in the plan's order."""
    gold: dict[str, str]
    """Target to the hash of its right answers."""


@dataclass
class Store:
    """The finished cells of a folder."""

    folder: Path
    tables: dict[Path, dict[str, str]] = field(default_factory=dict)
    """Whole tables, relative to the folder, with their cells: target to key."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the tables must know of the items."""

    def place(self, key: str) -> tuple[Path, str] | None:
        """A table that has the cell, and the target in it."""
        if self._index is None:
            self._index = {
                key: (path, name)
                for path, cells in self.tables.items()
                for name, key in cells.items()
            }
        return self._index.get(key)

    def missing(self, wanted: Wanted) -> tuple[str, ...]:
        """The targets whose cells no table has."""
        return tuple(name for name, key in wanted.cells.items() if self.place(key) is None)

    def set_table(self, path: Path, cells: dict[str, str] | None) -> None:
        """Note that a table is there, or no more."""
        if cells is None:
            self.tables.pop(path, None)
        else:
            self.tables[path] = cells
        self._index = None

    _index: dict[str, tuple[Path, str]] | None = None


def path_of(study: Study, run: Run) -> Path:
    """Where a run's table lies: models in the study's order, each with its base first."""
    rank = f"{list(study.models).index(run.model) + 1:02}"
    parts = ("base",) if run.kind == "base" else (f"seed-{run.seed}", run.source or "")
    return results.table_path(rank, run.model, *parts, beside=run.auxiliary)


def adapter_folder(run: Run) -> Path:
    """Where the adapter of a run lies that the study trains."""
    return results.adapter_path(run.model, run.source or "", run.seed or 0)


def has_adapter(store: Store, wanted: Wanted) -> bool:
    """Whether a run's adapter need not be trained: it lies in the folder, whole."""
    if not wanted.run.trained:
        return True
    folder = store.folder / adapter_folder(wanted.run)
    record = results.read_json(results.record_of(folder))
    whole = record.get("key") == wanted.training and "files" in record
    return whole and results.checksums(folder) == record["files"] and _finite(folder)


def _finite(folder: Path) -> bool:
    """Whether all numbers of an adapter are finite: earlier versions also kept those that diverged.

    Of safetensors, whose numbers here are all float32: the length of the header (8 bytes), the
    header, the numbers.
    """
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        numbers = data[8 + int.from_bytes(data[:8], "little") :]
        if not np.isfinite(np.frombuffer(numbers[: len(numbers) // 4 * 4], "<f4")).all():
            return False
    return True


def claim(study: Study, folder: Path) -> None:
    """Write the study into its folder.

    Raises:
        StudyError: the folder is another study's.
    """
    path = folder / results.STUDY
    if path.exists():
        try:
            before = load_yaml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        other = before.get("name") if isinstance(before, dict) else None
        if other not in (None, study.name):
            raise StudyError(
                f"{folder}: holds the study {other!r}, this one is {study.name!r}; "
                f"give another --out"
            )
    atomic.write_whole(path, resolved(study))


def open_store(folder: Path, planned: set[Path], note: Callable[[str], None]) -> Store:
    """The folder's finished cells; tables of no planned run are set aside.

    Args:
        planned: the tables of the plan's runs, relative to the folder.
        note: gets one line for each damaged table.
    """
    store = Store(folder)
    for path in results.tables(folder):
        record = results.read_json(results.record_of(folder / path))
        if results.checksum(folder / path) == record.get("sha256", "no record"):
            store.set_table(path, record.get("cells", {}))
        elif path.parent.name != results.ASIDE:
            then = "it is made again" if path in planned else "it is set aside"
            note(f"{path} is damaged, its checksum differs; {then}")
            results.log(folder, "damaged", file=path.as_posix())
    for path in results.tables(folder):
        if path.parent.name != results.ASIDE and path not in planned:
            _put_aside(store, path)
    return store


def _put_aside(store: Store, path: Path) -> None:
    """Move a table and its record out of the way of the analysis."""
    folder = store.folder
    old = results.record_of(folder / path)
    # By the record: equal answers may be those of different cells.
    aside = results.aside_path(path, results.checksum(old) or results.checksum(folder / path))
    new = results.record_of(aside)
    with atomic.staged(folder) as stage:
        (stage / aside).parent.mkdir()
        shutil.copyfile(folder / path, stage / aside)
        if old.exists():
            shutil.copyfile(old, stage / new)
    (folder / path).unlink()
    old.unlink(missing_ok=True)
    if path in store.tables:
        store.set_table(aside, store.tables[path])
        store.set_table(path, None)


def keep(
    store: Store, wanted: Sequence[Wanted], fresh: Mapping[Run, Mapping[str, pl.DataFrame]]
) -> None:
    """Put the runs' tables in place, all or none, from what is fresh and what is there.

    Args:
        fresh: each run's answers to the targets that were missing.
    """
    stale = [one for one in wanted if store.tables.get(one.path) != one.cells]
    for one in stale:
        if set(store.tables.get(one.path, {}).values()) - set(one.cells.values()):
            _put_aside(store, one.path)
    if not stale:
        return
    with atomic.staged(store.folder) as stage:
        for one in stale:
            own = fresh.get(one.run, {})
            parts = [
                own[name] if name in own else _rows(store, one.run, key)
                for name, key in one.cells.items()
            ]
            buffer = io.BytesIO()
            pl.concat(parts).write_parquet(buffer)
            (stage / one.path).parent.mkdir(exist_ok=True)
            (stage / one.path).write_bytes(buffer.getvalue())
            record: dict[str, Any] = {"run": asdict(one.run), "base": one.base}
            record |= {"training": one.training, "cells": one.cells, "versions": versions()}
            record |= {"gold": one.gold, "notes": store.notes}
            record["sha256"] = results.checksum(stage / one.path)
            results.record_of(stage / one.path).write_bytes(results.as_json(record))
    for one in stale:
        store.set_table(one.path, one.cells)


def _rows(store: Store, run: Run, key: str) -> pl.DataFrame:
    """A cell's rows out of whatever table has them, under the run's own names."""
    place = store.place(key)
    assert place is not None, f"{run}: a cell is neither fresh nor finished"
    path = store.folder / place[0]
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    names = {"model": run.model, "seed": _text(run.seed), "source": run.source}
    return frame.filter(pl.col("target") == place[1]).with_columns(
        pl.lit(value, dtype=pl.String).alias(name) for name, value in names.items()
    )


def as_table(run: Run, items: Sequence[Item], answers: Sequence[Any]) -> pl.DataFrame:
    """A run's answers as a predictions table.

    Args:
        answers: for each item its `choice` (None where unreadable), `margin` and `logprobs`; where
            the answer is a number, its `score`, None where no number can be read.
    """
    rows = [
        (*(run.model, _text(run.seed), run.source, item.task, item.id), *_given(item, one))
        for item, one in zip(items, answers, strict=True)
    ]
    read_here = {name: kind for name, kind in COLUMNS.items() if name != "read_by"}
    return pl.DataFrame(rows, schema=read_here, orient="row")


def _given(item: Item, given: Any) -> tuple[Any, ...]:
    """An answer as the rest of its row: choice, answer, correct, unreadable, margin and so on."""
    if item.truth is None:
        right = given.choice == item.answer
        logprobs = list(given.logprobs)
        return given.choice, item.answer, right, given.choice is None, given.margin, logprobs, None
    score = given.score or 0.0
    return None, None, score == 1, given.score is None, None, None, score


def _text(seed: int | None) -> str | None:
    return None if seed is None else str(seed)


@cache
def versions() -> dict[str, str]:
    """Of `LIBRARIES`."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
