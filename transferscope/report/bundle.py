"""The results of a folder as a bundle that other software can read: cells, answers, provenance.

A folder that `analyze` made from tables has no answers; what is missing is listed in the bundle and
returned. Images, adapters, the page and its figures are left out, and so is every path of the
machine that made the folder.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import polars as pl
import xarray as xr
import yaml

from transferscope import store as results
from transferscope.analysis import Analysis
from transferscope.analysis.accuracies import Effect
from transferscope.analysis.json_file import from_json
from transferscope.errors import DataError, StudyError
from transferscope.matrix import measure
from transferscope.matrix.control_runs import effects
from transferscope.predictions import some
from transferscope.readers import matrix_of, read_inputs
from transferscope.report.template import template
from transferscope.store import archive, atomic
from transferscope.store.progress import measured_costs
from transferscope.study.controls import PLACEBOS, REORDERED
from transferscope.tasks.choices import DIRECT
from transferscope.tasks.untrusted import load_yaml, shown

FORMAT = 1
"""Of the bundle; raised when a reader of an older one would be misled."""

JUDGED = f"the answers by which the choice of data was judged: {results.JUDGING}/ holds studies"
COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("model", "seed", "kind", "source", "target"), pl.String),
    **dict.fromkeys(("items", "base_correct", "tuned_correct"), pl.Int64),
    **dict.fromkeys(("base", "tuned", "ceiling", "pgf"), pl.Float64),
}
"""Of `cells.csv`; the bundle's README explains each."""


def export(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[str]:
    """Write the bundle of a results folder.

    Returns:
        A line for each thing that is missing from the bundle.

    Raises:
        DataError: there is nothing to bundle, something in the folder is damaged or does not fit
            together, or the zip cannot be written.
        StudyError: a run uses the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if atomic.is_locked(folder):
        raise StudyError(f"{folder}: a run uses this folder; export it when the run has ended")
    has_analysis = (folder / results.ANALYSIS).is_file()
    text = results.read_analysis(folder) if has_analysis else b""
    analysis = from_json(text, str(folder / results.ANALYSIS)) if has_analysis else None
    rows, missing = _cells(folder, analysis)
    given = results.read_beside(folder, results.STUDY)
    study, places = ({}, {}) if given is None else portable(given, folder)
    tables = [*results.prediction_files(folder), *results.control_files(folder)]
    files: dict[str, bytes | Path] = {path.relative_to(folder).as_posix(): path for path in tables}
    index = results.read_index(folder)
    records = index["runs"] if index else []
    if index and records:
        listed = {name: index["tables"][name] for name in files}
        current = {**index, "tables": listed, "adapters": {}}
        files[results.INDEX] = _without_paths(results.as_json(current), places)
    if losses := _losses(folder):
        files[results.LOG] = _without_paths(losses, places)
    if given is not None:
        files[results.STUDY] = yaml.safe_dump(study, sort_keys=False, allow_unicode=True).encode()
    if analysis is not None:
        files[results.ANALYSIS] = _without_paths(text, places)
    judged = sum(path.is_dir() for path in (folder / results.JUDGING).glob("*/*"))
    empty = rows.filter(pl.all_horizontal(pl.col("tuned", "pgf").is_null())).height
    result = f"; {results.ANALYSIS} has the result" * bool(analysis and analysis.experiment)
    lacks = {
        f"{results.STUDY}: the folder was not made by `transferscope run`": given is None,
        f"{results.ANALYSIS}: the folder had not been analyzed": analysis is None,
        f"{results.INDEX}, and with it versions and hashes": bool(tables) and not records,
        f"{JUDGED} to export one by one ({judged}){result}": judged > 0,
        f"{empty:,} of {rows.height:,} cells, which were not measured": empty > 0,
    }
    missing += [text for text, is_so in lacks.items() if is_so]
    facts = {**_provenance(folder, study, analysis, records), "missing": missing}
    files[archive.CELLS] = rows.write_csv().encode()
    files[archive.PROVENANCE] = _without_paths(results.as_json(facts), places)
    readme = template("bundle_readme.txt.jinja").render(
        title=f"Results of the study {study['name']!r}" if study.get("name") else "Results",
        tables=any(name.startswith(results.PREDICTIONS) for name in files),
        controls=any(name.startswith(results.CONTROLS) for name in files),
        names=set(files),
        missing=missing,
    )
    files[archive.README] = f"{readme}\n".encode()
    archive.pack(out, files)
    return missing


def _losses(folder: Path) -> bytes:
    """The lines of the folder's log that tell how its adapters learned, without times."""
    lines = [one for one in results.logged(folder) if one.get("event") in ("begin", "curve")]
    if not any(one["event"] == "curve" for one in lines):
        return b""
    return b"".join(json.dumps({**one, "time": ""}).encode() + b"\n" for one in lines)


def _cells(folder: Path, analysis: Analysis | None) -> tuple[pl.DataFrame, list[str]]:
    """The rows of `cells.csv`, and what they lack."""
    if not results.prediction_files(folder):
        if analysis is None:
            raise DataError(f"{folder}: neither predictions nor an analysis; nothing to export")
        return _cells_of_analysis(analysis), [
            "predictions: the folder was analyzed from tables, so single answers are not known; "
            f"the cells are those of {results.ANALYSIS}, without counts of answers"
        ]
    (read,) = read_inputs(folder)
    if analysis is None:
        return cells(matrix_of([read])), []
    if read.sha256 not in [one.sha256 for one in analysis.inputs]:
        raise DataError(
            f"{folder}: {results.ANALYSIS} was not made from the tables in this folder; "
            f"`transferscope analyze {folder} --out {folder}` makes it again"
        )
    others = [name for name in analysis.models if name not in read.models]
    missing = f"results of {some(map(shown, others))}: {results.ANALYSIS} has them, the folder not"
    return cells(matrix_of([read], ceiling=analysis.settings.ceiling)), [missing] if others else []


def cells(matrix: xr.Dataset) -> pl.DataFrame:
    """The cells of a matrix, one row each: of each model first its sources, then its controls.

    A cell that was not measured has empty numbers; a seed that a model never had has no row.
    """
    parts = [_rows(matrix, "source", matrix["pgf"])]
    if "control" in matrix.dims:
        parts.append(_rows(matrix, "control", effects(matrix, "pgf")))
    order = pl.Enum(matrix["model"].values.tolist())
    return pl.concat(parts).sort(pl.col("model").cast(order), maintain_order=True)


def _rows(matrix: xr.Dataset, dim: str, pgf: xr.DataArray) -> pl.DataFrame:
    """All cells of sources, or of controls."""
    dims, prefix = ("model", "seed", dim, "target"), "" if dim == "source" else "control_"
    numbers = {
        "items": matrix[f"{prefix}total"],
        "base_correct": matrix[f"{prefix}paired_base_correct"],
        "tuned_correct": matrix[f"{prefix}correct"],
        "base": matrix[f"{prefix}paired_base_accuracy"],
        "tuned": matrix[f"{prefix}accuracy"],
        "ceiling": matrix["ceiling"],
        "pgf": pgf,
    }
    arrays = zip(numbers, xr.broadcast(pgf, *numbers.values())[1:], strict=True)
    values = {name: pl.Series(array.transpose(*dims).values.ravel()) for name, array in arrays}
    labels = list(product(*(matrix[d].values.tolist() for d in dims)))
    frame = pl.DataFrame(labels, ["model", "seed", "source", "target"], orient="row")
    kinds = pl.Series(["source" if dim == "source" else _kind(name) for name in frame["source"]])
    frame = frame.with_columns(kind=kinds, **values).with_columns(pl.col(pl.Float64).fill_nan(None))
    measured = pl.any_horizontal(pl.col("tuned", "pgf").is_not_null()).any()
    owner = ["model", "seed"] if dim == "source" else ["model", "seed", "source"]
    return frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items()).filter(
        measured.over(owner)
    )


def _kind(control: str) -> str:
    return "control" if control in (*PLACEBOS, REORDERED) else "mixture"


def _cells_of_analysis(analysis: Analysis) -> pl.DataFrame:
    """The cells of an analysis, which has no counts, and no value for the ceiling `self`."""
    ceilings, name, rows = analysis.settings.ceiling, analysis.settings.measure, []
    for model, one in analysis.models.items():
        runs: list[tuple[str, str, Mapping[str, Effect]]]
        runs = [("source", source, row) for source, row in one.pgf.items()]
        runs += [(_kind(run), run, result.targets) for run, result in one.controls.items()]
        cells = [(kind, run, t, cell) for kind, run, row in runs for t, cell in row.items()]
        for (kind, run, target, cell), seed in product(cells, one.seeds):
            ceiling = ceilings.get(target, np.nan) if isinstance(ceilings, dict) else ceilings
            ceiling = np.nan if isinstance(ceiling, str) else float(ceiling)
            effect = cell.seeds.get(seed, np.nan)
            base = one.base_seeds.get(target, {}).get(seed, np.nan)
            tuned = round(base + measure.MEASURES[name].change(effect, base, ceiling), 12)
            gap = ceiling if ceiling > base else np.nan  # PGF is undefined at the ceiling
            again = float(measure.pgf(*map(np.float64, (base, tuned, gap))))
            pgf = effect if name == "pgf" else again
            labels = (model, seed, kind, run, target, None, None, None)
            rows.append((*labels, base, tuned, ceiling, pgf))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _provenance(
    folder: Path,
    study: Mapping[str, Any],
    analysis: Analysis | None,
    records: Sequence[results.IndexedRun],
) -> dict[str, Any]:
    """Where the numbers are from; `docs/bundle.md` explains each field."""

    def values_of(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """Each name with its values, mostly one."""
        found: dict[str, dict[str, None]] = {}
        for name, value in pairs:
            found.setdefault(name, {})[value] = None
        return {name: list(values) for name, values in found.items()}

    adapters = []
    for run in (one["run"] for one in records):
        if run["source"] is not None and run["seed"] is not None:
            place = folder / results.adapter_path(run["model"], run["source"], run["seed"])
            adapters += [made] if (made := results.read_json(place / results.RUN)) else []
    evaluation = study.get("evaluation")
    style = evaluation.get("prompt") if isinstance(evaluation, dict) else None
    inputs = [] if analysis is None else [asdict(one) for one in analysis.inputs]
    return {
        "bundle": FORMAT,
        "written_by": f"transferscope {version('transferscope')}",
        "study": study.get("name"),
        "versions": values_of(pair for one in records for pair in one["versions"].items()),
        "bases": values_of((one["run"]["model"], one["base"]) for one in records),
        "right_answers": values_of(pair for one in records for pair in one["gold"].items()),
        "prompt": {"style": style, "added": DIRECT if style == "direct" else ""},
        "adapters": adapters,
        "took": measured_costs(folder),
        "analysis": analysis and {"version": analysis.version, "inputs": inputs},
    }


def portable(data: bytes, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A study file's values with every absolute path as one relative to it; and those paths.

    `/data/weights` becomes `./weights`; a second folder of that name `./weights-2`.

    Raises:
        DataError: it is not a study file.
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
        if not isinstance(value, str):
            return value
        windows = PureWindowsPath(value)
        absolute = PurePosixPath(value).is_absolute() or bool(windows.drive)
        if not absolute and not value.startswith(("~", "\\")):
            return value
        if value not in places:
            taken = [place.removeprefix("./") for place in places.values()]
            # A Windows path knows both kinds of slash.
            places[value] = f"./{results.safe_name(windows.name or 'folder', taken)}"
        return places[value]

    return replaced(study), places


def _without_paths(data: bytes, places: Mapping[str, str]) -> bytes:
    """JSON without the study's absolute paths and without the user's home."""
    home = str(Path.home())
    known = dict(places) | ({f"{home}/": "~/"} if len(home) > 1 else {})
    for path in sorted(known, key=len, reverse=True):
        data = data.replace(json.dumps(path)[1:-1].encode(), known[path].encode())
    return data
