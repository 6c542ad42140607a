"""Finished cells: one immutable Parquet file per run and target, found by its content key.

Replacing the index is what makes a shard's files count: all of them or none, whenever a process
dies. A cell that was once computed is never computed again, whichever run or study needs it;
tables that the study no longer has stay in the index's `tables` and leave its `runs`.
"""

import io
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
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

SAME = 1e-5
"""How far apart equal log-probabilities may be: rounding in float32, which also depends on the
number of rows that are scored together."""
MIN_REPLIES = 100
"""Equal replies that show that two runs answer alike. Fewer may be equal by chance, as replies to
easy questions are, where equal log-probabilities never are."""


@dataclass
class Store:
    """The finished cells and adapters of a results folder; `Index` explains the fields."""

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

    def leave_other_bases(self, model: str, base: str) -> None:
        """Keep cells of a model whose weights have changed since out of results."""
        for run, record in self.runs.items():
            if run.model == model and record["base"] != base and record["cells"]:
                record["cells"], record["gold"] = {}, {}
        self.save()

    def has_adapter(self, run: Run, key: str) -> bool:
        """Whether the folder has the run's adapter under this key, with every file intact."""
        folder = self.folder / adapter_folder(run)
        record = results.read_json(folder / results.RUN)
        listed = self.adapters.get(adapter_folder(run).as_posix())
        same_key = listed == key == record.get("key")
        return same_key and results.checksums(folder) == record.get("files")

    def put_adapters(
        self, records: Mapping[Run, Mapping[str, Any]], write: Callable[[Run, Path], None]
    ) -> None:
        """Write adapters that were trained together; all of them count in the end, or none.

        A record lists how one was made; `key` is its content key. `write` fills a new folder.
        """
        for run, record in records.items():
            with atomic.whole_folder(self.folder / adapter_folder(run)) as folder:
                write(run, folder)
                content = {**record, "files": results.checksums(folder)}
                (folder / results.RUN).write_bytes(results.as_json(content))
        self.adapters |= {adapter_folder(run).as_posix(): records[run]["key"] for run in records}
        self.save()

    def put_cells(
        self,
        run: Run,
        keys: Mapping[str, str],
        fresh: Mapping[str, pl.DataFrame],
        hashes: Mapping[str, Any],
    ) -> None:
        """Write a run's cells, from fresh answers and finished tables; they count once saved.

        Args:
            keys: target to content key, in the study's order.
            fresh: target to its answers; every other target must have a finished table.
            hashes: `base`, `training`, `gold` and of snapshots `steps`, as the index keeps them.
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
        self.runs[run] = results.IndexedRun(
            run=results.RunFields(**asdict(run)),
            **hashes,
            cells=files,
            versions=versions(),
            notes=self.notes,
        )

    def _finished(self, run: Run, key: str) -> pl.DataFrame:
        """The rows of a finished cell under the run's own names."""
        name = next(k for k, table in self.tables.items() if table["key"] == key)
        model, seed, source = (pl.lit(name, dtype=pl.String) for name in _names(run))
        return self._read(name).with_columns(model=model, seed=seed, source=source)

    def _read(self, name: str) -> pl.DataFrame:
        path = self.folder / name
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None

    def same_answers(self, run: Run, other: Run) -> bool:
        """Whether two runs with the same targets give the same answer to every item.

        That is, the same replies and log-probabilities, which differ by rounding alone. False where
        there are no log-probabilities and less than `MIN_REPLIES` replies.
        """
        scored, replies = False, 0
        for target, name in self.runs[run]["cells"].items():
            names = (name, self.runs[other]["cells"][target])
            one, two = (self._read(file).sort("item") for file in names)
            ours, theirs = (its["logprobs"].explode().drop_nulls().to_numpy() for its in (one, two))
            if len(ours) != len(theirs) or not one["reply"].equals(two["reply"]):
                return False
            if not np.allclose(ours, theirs, rtol=0, atol=SAME, equal_nan=True):
                return False
            scored = scored or bool(np.isfinite(ours).any())
            replies += len(one) - one["reply"].null_count()
        return scored or replies >= MIN_REPLIES

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
    """The place of a cell's table, relative to the folder."""
    part = results.CONTROLS if run.auxiliary else results.PREDICTIONS
    source = () if run.kind == "base" else (results.unique_name(run.source or ""), str(run.seed))
    names = (results.unique_name(run.model), *(source or ("base",)))
    return "/".join((part, *names, f"{results.unique_name(target)}-{key[:12]}.parquet"))


def adapter_folder(run: Run) -> Path:
    """The place of the adapter of a run that the study trains, relative to the folder."""
    finished = run.finished
    folder = results.adapter_path(run.model, finished.source or "", run.seed or 0)
    return folder if run.step is None else folder.with_name(f"{run.seed}-{run.step}")


def read_store(folder: Path, models: Sequence[str]) -> Store:
    """What the index of a folder lists; no table is checked. Errors as for `read_index`."""
    index = results.read_index(folder)
    if index is None:
        return Store(folder, models)
    runs = {Run(**one["run"]): one for one in index["runs"] if one["run"]["model"] in models}
    return Store(folder, models, runs, index["tables"], index["adapters"])


def open_store(
    folder: Path, models: Sequence[str], planned: Set[Run], note: Callable[[str], None]
) -> Store:
    """The folder's finished cells, each checked; runs that are not planned leave the index.

    `note` gets a line for each damaged table.
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
    for one in store.runs.values():
        one["cells"] = {t: name for t, name in one["cells"].items() if name in store.tables}
    store.save()
    return store


def claim(folder: Path, name: str, study: bytes) -> None:
    """Write the study file, or raise a `StudyError` if the folder is another study's."""
    path, other = folder / results.STUDY, None
    with suppress(OSError, ValueError):  # it is missing, or not a study
        before = load_yaml(path.read_text(encoding="utf-8"))
        other = before.get("name") if isinstance(before, dict) else None
    if other not in (None, name):
        problem = f"holds the study {other!r}, this one is {name!r}; give another --out"
        raise StudyError(f"{folder}: {problem}")
    atomic.write_whole(path, study)


def as_table(run: Run, items: Sequence[Item], answers: Sequence[Any]) -> pl.DataFrame:
    """A run's answers, one for each item, as a predictions table.

    An answer has `choice` (None where unreadable), `margin` and `logprobs`; an open one has
    `score` (None where the reply could not be read) and `reply`.
    """
    rows = []
    for item, given in zip(items, answers, strict=True):
        names = (*_names(run), item.task, item.id, getattr(given, "reply", "") or None)
        if item.truth is None:
            right, unreadable = given.choice == item.answer, given.choice is None
            more = (given.margin, list(given.logprobs), None, item.group)
            rows.append((*names, given.choice, item.answer, right, unreadable, *more))
        else:
            score = given.score or 0.0
            marks = (score == 1, given.score is None, None, None, score)
            rows.append((*names, None, None, *marks, item.group))
    schema = {name: kind for name, kind in COLUMNS.items() if name != "read_by"}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _names(run: Run) -> tuple[str, str | None, str | None]:
    """A run's model, seed and source as text."""
    return run.model, None if run.seed is None else str(run.seed), run.source


@cache
def versions() -> dict[str, str]:
    """Installed versions of `LIBRARIES`."""
    found = dict.fromkeys(LIBRARIES, "not installed")
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
