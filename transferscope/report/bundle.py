"""What a results folder says, as a bundle that is read without this package.

Every cell as a row, every answer as the folder keeps it, the analysis, and where all of it is from.
A folder that `analyze` made from tables has no answers; what is missing is said in words, in the
bundle itself and to the caller. Images, adapters, the page and its figures are not in it, and no
path of the machine that it was made on.

In:   a results folder.
Out:  the files of a `bundle`, and what is missing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import polars as pl
import yaml

from transferscope import store as results
from transferscope.analysis import Analysis
from transferscope.analysis.json_file import from_json
from transferscope.errors import DataError, StudyError
from transferscope.predictions import shown, some
from transferscope.readers import matrix_of, read_inputs
from transferscope.report.bundle_cells import cells, cells_told
from transferscope.report.bundle_provenance import provenance
from transferscope.report.bundle_readme import readme
from transferscope.store import atomic, bundle
from transferscope.tasks.untrusted import load_yaml


class Export(NamedTuple):
    """What goes into a bundle."""

    files: dict[str, bytes | Path]
    missing: list[str]
    """What is not in it that could be, in words."""


def export(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[str]:
    """Write the bundle of a results folder.

    Returns:
        What is not in it that could be, in words.

    Raises:
        DataError: there is nothing to bundle, something in the folder is damaged or does not fit
            together, or the zip cannot be written.
        StudyError: a run works in the folder.
    """
    files, missing = gathered(Path(folder))
    bundle.pack(out, files)
    return missing


def gathered(folder: Path) -> Export:
    """The files of the folder's bundle; raises as `export`."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if atomic.is_locked(folder):
        raise StudyError(f"{folder}: a run works in this folder; export it when that has ended")
    has_analysis = (folder / results.ANALYSIS).is_file()
    text = results.read_analysis(folder) if has_analysis else b""
    analysis = from_json(text, str(folder / results.ANALYSIS)) if has_analysis else None
    rows, missing = _cells(folder, analysis)
    given = results.read_beside(folder, results.STUDY, bundle.MOST_TEXT)
    study, places = ({}, {}) if given is None else portable(given, folder)
    files: dict[str, bytes | Path] = {}
    records = {}
    for path in [*results.prediction_files(folder), *results.control_files(folder)]:
        record = results.record_of(path)
        records[path] = results.read_json(record)
        files[f"{path.parent.name}/{path.name}"] = path
        if records[path]:
            files[f"{path.parent.name}/{record.name}"] = _without(record.read_bytes(), places)
    if given is not None:
        files[results.STUDY] = yaml.safe_dump(study, sort_keys=False, allow_unicode=True).encode()
    if analysis is not None:
        files[results.ANALYSIS] = _without(text, places)
    missing += _absent(given, analysis, sum(not record for record in records.values()))
    if judged := sum(path.is_dir() for path in (folder / results.JUDGING).glob("*/*")):
        told = analysis is not None and analysis.experiment is not None
        missing.append(
            "the answers by which the choice of data was judged: "
            f"{results.JUDGING}/ holds studies to export one by one ({judged})"
            f"{f'; {results.ANALYSIS} has what came of them' if told else ''}"
        )
    if empty := rows.filter(pl.all_horizontal(pl.col("tuned", "pgf").is_null())).height:
        missing.append(f"{empty:,} of {rows.height:,} cells, which were not measured")
    facts = provenance(folder, study, analysis, [*filter(None, records.values())])
    facts["missing"] = missing
    files[bundle.CELLS] = rows.write_csv().encode()
    files[bundle.PROVENANCE] = _without(results.as_json(facts), places)
    files[bundle.README] = readme(files, str(study.get("name") or ""), missing).encode()
    return Export(files, missing)


def _cells(folder: Path, analysis: Analysis | None) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the table of cells, and what they lack."""
    if not results.prediction_files(folder):
        if analysis is None:
            raise DataError(f"{folder}: neither predictions nor an analysis; nothing to export")
        return cells_told(analysis), [
            "predictions: the folder was analysed from tables, so single answers are not known; "
            f"the cells are those of {results.ANALYSIS}, without counts of answers"
        ]
    (read,) = read_inputs(folder)
    if analysis is None:
        return cells(matrix_of([read])), []
    if read.sha256 not in [one.sha256 for one in analysis.inputs]:
        raise DataError(
            f"{folder}: {results.ANALYSIS} is not of the tables that are there now; "
            f"`transferscope analyze {folder} --out {folder}` makes it anew"
        )
    others = [name for name in analysis.models if name not in read.models]
    told = f"results of {some(map(shown, others))}: {results.ANALYSIS} tells of them, the folder "
    told += "does not have them"
    return cells(matrix_of([read], ceiling=analysis.settings.ceiling)), [told] if others else []


def _absent(given: bytes | None, analysis: Analysis | None, unrecorded: int) -> Iterator[str]:
    """What of the folder is not there."""
    if given is None:
        yield f"{results.STUDY}: the folder was not made by `transferscope run`"
    if analysis is None:
        yield f"{results.ANALYSIS}: the folder had not been analysed"
    if unrecorded:
        yield f"records of {unrecorded} tables, and with them versions and hashes"


def portable(data: bytes, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A study file's values with every absolute path as one relative to it; and those paths.

    `/data/weights` becomes `./weights`; a second folder of that name `./weights-2`.

    Raises:
        DataError: it is no study file.
    """
    try:
        study = load_yaml(data.decode())
    except ValueError:
        study = None
    if not isinstance(study, dict):
        raise DataError(f"{folder / results.STUDY}: cannot be read as a study file")
    places: dict[str, str] = {}

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(one) for key, one in value.items()}
        if isinstance(value, list):
            return [replaced(one) for one in value]
        if not isinstance(value, str) or not _is_absolute(value):
            return value
        if value not in places:
            last = PureWindowsPath(value).name or "folder"  # it knows both kinds of slash
            taken = [place.removeprefix("./") for place in places.values()]
            places[value] = f"./{results.safe_name(last, taken)}"
        return places[value]

    return replaced(study), places


def _is_absolute(text: str) -> bool:
    windows = PureWindowsPath(text)
    return PurePosixPath(text).is_absolute() or bool(windows.drive) or text.startswith(("~", "\\"))


def _without(data: bytes, places: Mapping[str, str]) -> bytes:
    """JSON without the study's own paths, nor the home of whoever ran it."""
    home = str(Path.home())
    known = dict(places) | ({f"{home}/": "~/"} if len(home) > 1 else {})
    for path in sorted(known, key=len, reverse=True):
        data = data.replace(json.dumps(path)[1:-1].encode(), known[path].encode())
    return data
