"""The experiment of the paper's Figure 8: is a mixture that the matrix chose any better?

It is two studies. The first, in the folder itself, measures the matrix with the study's own seeds;
a mixture is chosen from it for each target. The second, in `judging/MODEL/`, trains what competes
(`trial.arms`) with other seeds. The choice is made anew each time from the finished matrix, never
from what judges it; where it changes, the second study is another one, and what it lacks is done.

In:   a study with a `selection`, its folder, and the analysis of its matrix.
Out:  the second study's folders, `selection.json`, and a `strategies.Experiment`.

Prints nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import xarray as xr

from transferscope import results
from transferscope.analysis import Analysis
from transferscope.ledger import Event, Failure
from transferscope.matrix import Ceiling, apply_ceiling, from_predictions
from transferscope.readers import read_inputs
from transferscope.runner import Outcome, run_study
from transferscope.selection import Mixture, mixture
from transferscope.serial import plain
from transferscope.strategies import Experiment, Judgement
from transferscope.study import Study
from transferscope.study_file import suite_of
from transferscope.trial.arms import Ways, experiment_of, judging_study, unknown, ways
from transferscope.trial.judge import judge

Chosen = Mapping[str, Mapping[str, Mixture]]
"""{model: {target: mixture}}"""


class Judged(NamedTuple):
    """What came of the second study."""

    experiment: Experiment | None
    """None where nothing could be judged."""
    outcome: Outcome


def choose(study: Study, analysis: Analysis) -> Chosen:
    """The mixture for every target and model, from the matrix alone."""
    selection = experiment_of(study)
    return {
        model: {
            target: mixture(
                analysis,
                target,
                model=model,
                rule=selection.rule,
                threshold=selection.threshold,
                items=study.recipe.items,
            )
            for target in selection.targets
        }
        for model in study.models
    }


def carry_out(
    study: Study, analysis: Analysis, out: str | Path, *, tell: Callable[[Event], None]
) -> Judged:
    """Choose, train what competes, and judge.

    Args:
        analysis: of the whole matrix of the study, with its own seeds.

    Raises:
        StudyError, DataError, MissingExtra: as `runner.run_study`.
    """
    chosen = choose(study, analysis)
    contests = {model: contests_of(study, its) for model, its in chosen.items()}
    record = _record(analysis, contests)
    results.write_whole(Path(out, results.SELECTION), results.as_json(record))
    cells = of = adapters = 0
    failed: list[Failure] = []
    models: dict[str, Judgement] = {}
    asked: dict[str, int] = {}
    for model, its in contests.items():
        folder = results.judging_folder(out, model)
        done = run_study(second := judging_study(study, model, its), folder, tell=tell)
        cells, of, adapters = cells + done.cells, of + done.of, adapters + done.adapters
        failed += done.failed
        if done.adapters:
            matrix = _matrix(folder, second.ceilings or 1.0)
            asked = Counter(matrix["item_target"].values.tolist())
            models[model] = judge(matrix, model, its, chosen[model], analysis.settings)
    found = _experiment(study, models, asked) if models else None
    return Judged(found, Outcome(cells, of, adapters, tuple(failed)))


def contests_of(study: Study, chosen: Mapping[str, Mixture]) -> dict[str, Ways]:
    """What competes for each target, now that the mixtures are known."""
    return {
        target: ways(study, target, _shares(study, mix), taught=target in _taught(study))
        for target, mix in chosen.items()
    }


def unknown_contests(study: Study) -> dict[str, Ways]:
    """As many adapters as compete for each target at most, before the mixtures are known."""
    targets, taught = experiment_of(study).targets, _taught(study)
    return {target: unknown(study, target, taught=target in taught) for target in targets}


def _taught(study: Study) -> list[str]:
    """Tasks with training data of their own."""
    suite = suite_of(study)
    return list(getattr(suite, "sources", [task.name for task in suite.tasks]))


def _shares(study: Study, mix: Mixture) -> dict[str, float]:
    """The sources of a mixture that get an item, with what they get of all."""
    return {
        choice.source: choice.items / study.recipe.items for choice in mix.choices if choice.items
    }


def _record(analysis: Analysis, contests: Mapping[str, Mapping[str, Ways]]) -> dict[str, Any]:
    """What was chosen, and from which matrix: the hash of its tables."""
    return {
        "matrix": [one.sha256 for one in analysis.inputs],
        "models": {
            model: {
                target: {name: plain(way) for name, way in its.items()}
                for target, its in targets.items()
            }
            for model, targets in contests.items()
        },
    }


def _matrix(folder: Path, ceiling: Ceiling) -> xr.Dataset:
    """All that was judged, mixtures beside tasks."""
    (read,) = read_inputs(folder)
    rows = [read.table.rows, *([] if read.controls is None else [read.controls])]
    matrix = from_predictions(pl.concat(rows, how="diagonal").drop("row"))
    return matrix if ceiling == 1.0 else apply_ceiling(matrix, ceiling)


def _experiment(study: Study, models: dict[str, Judgement], asked: Mapping[str, int]) -> Experiment:
    selection = experiment_of(study)
    return Experiment(
        rule=selection.rule,
        threshold=selection.threshold,
        items=study.recipe.items,
        draws=selection.draws,
        informed_by=[str(seed) for seed in study.seeds],
        judged_by=[str(seed) for seed in selection.seeds],
        questions=dict(asked),
        other_items=selection.items is not None,
        models=models,
        notes=[],
    )
