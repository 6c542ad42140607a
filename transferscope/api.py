"""The functions of `import transferscope` that need several packages: load, analyze, run, save.

In:   paths as a person types them, a matrix, or an analysis.
Out:  an `Analysis` or a `Comparison`, as the command of the same name makes it.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope import store
from transferscope.analysis import Analysis, comparison, json_file
from transferscope.analysis.comparison import Comparison
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

    from transferscope.readers import Inputs, PathLike


def load(folder: PathLike) -> Analysis | Comparison:
    """What a results folder holds: an analysis, else a comparison; else its results are analyzed.

    Args:
        folder: what `run`, `demo`, `analyze` or `compare` wrote, or the JSON file in it.

    Raises:
        DataError: there is no such folder, or it holds neither of them, or it is damaged.
    """
    path = Path(folder)
    if path.name in (store.ANALYSIS, store.COMPARISON):
        path = path.parent
    if not path.is_dir():
        found = "a file" if path.is_file() else "nothing"
        raise DataError(
            f"{path}: must be a results folder, found {found}; `analyze` reads tables, `compare` "
            "reads the files of evaluation harnesses"
        )
    if (data := store.read_beside(path, store.ANALYSIS, None)) is not None:
        return json_file.from_json(data, str(path))
    if (data := store.read_beside(path, store.COMPARISON, None)) is not None:
        return comparison.from_json(data, str(path))
    return analyze(path)


def analyze(results: xr.Dataset | Inputs, settings: Settings | None = None) -> Analysis:
    """The analysis of results.

    Args:
        results: a matrix from `read_results`, or what `read_results` takes: a path, several, or
            several by the names of their models.
        settings: every choice that can change a number; default: those of `Settings`, with a
            study's own ceilings. `ceiling` is that of a matrix, which was applied to it already.

    Raises:
        DataError: an input is missing, damaged or invalid.
        StudyError: a setting is out of range, or the measure needs what the results lack.
    """
    import xarray as xr

    from transferscope.analysis.analyze import analyze as analyze_matrix

    if isinstance(results, xr.Dataset):
        return analyze_matrix(results, settings or Settings())
    from transferscope.readers import read_results
    from transferscope.selection.experiment import judged
    from transferscope.study.file import ceilings_of

    folder = Path(results) if isinstance(results, str | os.PathLike) else None
    folder = folder if folder and folder.is_dir() else None
    if settings is None:
        study = None if folder is None else store.read_beside(folder, store.STUDY)
        own = 1.0 if study is None else ceilings_of(study, f"{folder}: {store.STUDY}")
        settings = Settings(ceiling=own)
    analysis = analyze_matrix(read_results(results, ceiling=settings.ceiling), settings)
    return replace(analysis, experiment=judged(folder, analysis)) if folder else analysis


def run(
    study: PathLike,
    out: PathLike | None = None,
    *,
    executor: str = "local",
    workers: int | None = None,
) -> Analysis:
    """Carry out a study as `transferscope run` does: train, score, analyze, and write it all.

    Interrupt it at any time; the same call continues. Needs the extra `train`.

    Args:
        study: the study file.
        out: the results folder or its address; default: the study's name.
        executor: `local`, or `ray` for several GPUs.
        workers: processes; default: with `ray` one for each GPU; with `local` one per core where
            bases are small, else one.

    Raises:
        StudyError: the study file is invalid.
        DataError: too many runs failed to analyze the others. A warning names runs that failed
            where the others can be analyzed.
    """
    from transferscope import report
    from transferscope.cli.places import worked_on
    from transferscope.cli.results import exhibits_of
    from transferscope.cli.studies import carried_out
    from transferscope.execution import open_executor
    from transferscope.matrix import examples
    from transferscope.study.file import read_study

    read = read_study(Path(study))
    with worked_on(str(out or read.name)) as at:
        try:
            done = carried_out(read, at, open_executor(executor, workers))
        except SystemExit:  # the command ends where it is interrupted; a notebook goes on
            raise KeyboardInterrupt from None
        failed = "; ".join(f"{', '.join(f.runs)}: {f.error}" for f in done.outcome.failed)
        if done.analysis is None:
            raise DataError(f"{at.folder}: not analyzed, as runs are missing: {failed}")
        shown = exhibits_of(done.read, images=True)
        data = None if shown is None else examples.to_json(shown)
        page = report.page(done.analysis, shown)
        store.save(at.folder, json_file.to_json(done.analysis), page, exhibits_json=data)
    if failed:
        warnings.warn(f"{at.folder}: runs are missing: {failed}", stacklevel=2)
    return done.analysis


def save(analysis: Analysis, folder: PathLike) -> None:
    """Write `analysis.json` and `report.html`; see `Analysis.save`."""
    from transferscope import report
    from transferscope.matrix import examples

    data, shown, kept = json_file.to_json(analysis), None, None
    if store.read_beside(folder, store.ANALYSIS, None) == data:
        kept = store.read_beside(folder, store.EXHIBITS, examples.MOST_BYTES)
    if kept is not None:
        shown = examples.from_json(kept, os.path.join(folder, store.EXHIBITS))
    store.save(folder, data, report.page(analysis, shown), exhibits_json=kept)


def save_comparison(found: Comparison, folder: PathLike) -> None:
    """Write `comparison.json` and `report.html`; see `Comparison.save`."""
    from transferscope.report.comparison_forms import page

    data = json.dumps(found.to_dict(), indent=1, ensure_ascii=False) + "\n"
    store.save_comparison(folder, data.encode(), page(found))
