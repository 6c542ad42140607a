"""The experiment of the paper's Figure 8: is a mixture that the matrix chose any better?

It has two stages. The study's own seeds measure the matrix, in the folder itself, and a mixture is
chosen from it for each target. Then what competes for a target (`trial.arms`) is trained with other
seeds: a study of its own in `judging/MODEL/TARGET/`. The choice is made anew each time from the
finished matrix, never from what judges it; where it changes, that study changes, and what it then
lacks is done.

In:   a study with a `selection`, its folder, and the analysis of its matrix.
Out:  those studies' folders, `selection.json`, and a `strategies.Experiment`.

Prints nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from transferscope import store as results
from transferscope.analysis import Analysis
from transferscope.analysis.json_file import plain
from transferscope.analysis.settings import Settings
from transferscope.analysis.strategies import STRATEGIES, Experiment, Judgement, Strategy
from transferscope.errors import DataError, StudyError
from transferscope.execution.run_state import Event, RunState
from transferscope.execution.runner import Outcome, run_study
from transferscope.matrix import apply_ceiling, from_predictions
from transferscope.predictions import shown
from transferscope.readers import read_inputs
from transferscope.selection import Mixture, mixture
from transferscope.selection.arms import Way, Ways, experiment_of, judging_study, unknown, ways
from transferscope.selection.judge import judge
from transferscope.store import atomic
from transferscope.store.progress import progress_of
from transferscope.study import Study
from transferscope.study.file import suite_of
from transferscope.study.items import hashed
from transferscope.study.plan import Plan, plan_study
from transferscope.tasks.untrusted import load_yaml

Chosen = Mapping[str, Mapping[str, Mixture]]
"""{model: {target: mixture}}"""


class Judged(NamedTuple):
    """What came of the second stage."""

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
    study: Study,
    analysis: Analysis,
    out: str | Path,
    *,
    tell: Callable[[Event], None],
    executor: Callable[[RunState], None] | None = None,
) -> Judged:
    """Choose, train what competes, and judge.

    Args:
        analysis: of the whole matrix of the study, with its own seeds.
        executor: as for `runner.run_study`.

    Raises:
        StudyError, DataError, MissingExtra: as `runner.run_study`.
    """
    chosen = choose(study, analysis)
    contests = {model: contests_of(study, its) for model, its in chosen.items()}
    seconds = {
        (model, target): judging_study(study, model, target, its)
        for model, targets in contests.items()
        for target, its in targets.items()
    }
    plans = {key: plan_study(second) for key, second in seconds.items()}
    notes = [note for key, plan in plans.items() for note in _shortfalls(seconds[key], plan)]
    record = {"from": _origin(study, out), "models": plain(contests), "notes": notes}
    atomic.write_whole(Path(out, results.SELECTION), results.as_json(record))
    done: list[Outcome] = []
    says = overall(tell, list(plans.values()))
    for ((model, target), second), say in zip(seconds.items(), says, strict=True):
        note = _told(model, target, contests[model][target])
        say(_before(plans[model, target])._replace(note=note))
        folder = results.judging_folder(out, model, target)
        done.append(run_study(second, folder, tell=say, executor=executor))
        if not done[-1].adapters:
            notes.append(f"{model}: nothing was judged for {shown(target)}: its training failed.")
            contests[model].pop(target)
    found = _judged(study, out, contests, chosen, analysis.settings, notes)
    whole = Outcome(
        cells=sum(one.cells for one in done),
        of=sum(one.of for one in done),
        adapters=sum(one.adapters for one in done),
        failed=tuple(failure for one in done for failure in one.failed),
    )
    return Judged(found, whole)


def judged(folder: str | Path, analysis: Analysis) -> Experiment | None:
    """The experiment that a folder holds, judged from its answers; None where it holds none.

    Nothing is trained and no suite is opened. A target is left out, and a note says so, where what
    judges it is not finished, or where the settings of this analysis choose another mixture for it
    than the one that was tried.

    Args:
        analysis: of the folder's matrix alone, its models under the study's names.

    Raises:
        StudyError: the study in the folder is damaged.
    """
    data = results.read_beside(folder, results.STUDY)
    record = results.read_json(Path(folder, results.SELECTION))
    if data is None or not record:
        return None
    try:
        study = Study.model_validate(load_yaml(data.decode()))
    except ValueError:
        raise StudyError(f"{folder}: {results.STUDY} cannot be read as a study") from None
    if study.selection is None or set(study.models) != set(analysis.models):
        return None
    known, chosen = recorded(study, folder) or {}, choose(study, analysis)
    said = record.get("notes")
    notes = [str(note) for note in said] if isinstance(said, list) else []
    contests: dict[str, dict[str, Ways]] = {model: {} for model in study.models}
    for model, targets in chosen.items():
        for target, mix in targets.items():
            its = known.get(model, {}).get(target)
            if why := _why_not(study, results.judging_folder(folder, model, target), its, mix):
                notes.append(f"{model}: nothing was judged for {shown(target)}: {why}.")
            elif its is not None:
                contests[model][target] = its
    return _judged(study, folder, contests, chosen, analysis.settings, notes)


def _why_not(study: Study, folder: Path, its: Ways | None, mix: Mixture) -> str:
    """Why what was tried for a target cannot be judged; empty where it can."""
    if its is None or set(its) != set(STRATEGIES):
        return "nothing was tried with this matrix; run the study again"
    tried = list(its["informed"].mixtures.values())
    if tried != ([shares] if (shares := _shares(study, mix)) else []):
        return "with these settings the matrix chooses another mixture than the one that was tried"
    try:
        state = progress_of(folder).state
    except DataError:
        state = "stopped"
    if state not in ("done", "failed in part"):
        return "what judges it is not finished; run the study again"
    runs = results.run_records(folder)
    return "" if len(runs) > 1 else "its training failed"  # the first is the base's


def _judged(
    study: Study,
    out: str | Path,
    contests: Mapping[str, Mapping[str, Ways]],
    chosen: Chosen,
    settings: Settings,
    notes: list[str],
) -> Experiment | None:
    """What the answers in `judging/` say; None where there are none."""
    models: dict[str, Judgement] = {}
    asked: dict[str, int] = {}
    for model, targets in contests.items():
        folders = [results.judging_folder(out, model, target) for target in targets]
        if not folders:
            continue
        matrix = _matrix([table for folder in folders for table in _rows(folder)], study)
        its = {t: targets[t] for t in targets if t in matrix["target"].values}
        asked = Counter(matrix["item_target"].values.tolist())
        models[model] = judge(matrix, model, its, chosen[model], settings)
    return _experiment(study, models, asked, notes) if models else None


def contests_of(study: Study, chosen: Mapping[str, Mixture]) -> dict[str, Ways]:
    """What competes for each target, now that the mixtures are known."""
    return {
        target: ways(study, target, _shares(study, mix), taught=target in _taught(study))
        for target, mix in chosen.items()
    }


def second_stage(study: Study, out: str | Path) -> Iterator[tuple[Path, Study]]:
    """The studies that judge, each with its folder.

    Where nothing was chosen yet they have as many adapters, on as many items, as they will at most.
    """
    known, taught = recorded(study, out) or {}, _taught(study)
    for model in study.models:
        for target in experiment_of(study).targets:
            its = known.get(model, {}).get(target)
            its = its or unknown(study, target, taught=target in taught)
            folder = results.judging_folder(out, model, target)
            yield folder, judging_study(study, model, target, its)


def _taught(study: Study) -> list[str]:
    """Tasks with training data of their own."""
    suite = suite_of(study)
    return list(suite.sources)


def _shares(study: Study, mix: Mixture) -> dict[str, float]:
    """The sources of a mixture that get an item, with what they get of all."""
    return {
        choice.source: choice.items / study.recipe.items for choice in mix.choices if choice.items
    }


def recorded(study: Study, out: str | Path) -> dict[str, dict[str, Ways]] | None:
    """What competes for each target, as it was chosen; None where the study or its matrix is not
    what it was then, or nothing was chosen yet."""
    record = results.read_json(Path(out, results.SELECTION))
    if record.get("from") != _origin(study, out):
        return None
    try:
        return TypeAdapter(dict[str, dict[str, dict[Strategy, Way]]]).validate_python(
            record.get("models")
        )
    except ValidationError:
        return None


def overall(tell: Callable[[Event], None], plans: Sequence[Plan]) -> list[Callable[[Event], None]]:
    """For each of several studies, done one after the other, what tells how far all of them are."""
    last = [_before(plan) for plan in plans]

    def of_one(place: int) -> Callable[[Event], None]:
        def say(event: Event) -> None:
            last[place] = event
            tell(
                event._replace(
                    cells=sum(each.cells for each in last),
                    of=sum(each.of for each in last),
                    work=sum(each.work for each in last),
                    total=sum(each.total for each in last),
                )
            )

        return say

    return [of_one(place) for place in range(len(plans))]


def _before(plan: Plan) -> Event:
    """Where a study stands that is not begun."""
    learning = sum(plan.training_work(run) for run in plan.runs)
    return Event("", 0, plan.cells, 0.0, learning + plan.eval_count * len(plan.runs))


def _told(model: str, target: str, its: Ways) -> str:
    """What is judged next, for who watches."""
    found = [name for shares in its["informed"].mixtures.values() for name in shares]
    chosen = ", ".join(map(shown, found)) or "nothing"
    return f"{model}: chosen for {shown(target)}: {chosen}; now to judge it"


def _origin(study: Study, out: str | Path) -> str:
    """Hash of all that a choice follows from: the study, and the tables of its matrix."""
    tables = [*results.prediction_files(out), *results.control_files(out)]
    sums = [[path.name, results.checksum(path)] for path in tables]
    # What is as usual is left out, so that a setting of a later version changes nothing.
    return hashed([study.model_dump(mode="json", exclude_defaults=True), sums])


def _shortfalls(second: Study, plan: Plan) -> list[str]:
    """A note for each adapter that learns from fewer items than the others."""
    wanted = second.recipe.items
    return [
        f"{shown(name)} learns from {count} items, not {wanted}: a task in it has no more."
        for name, count in plan.training_counts.items()
        if count < wanted
    ]


def _rows(folder: Path) -> list[pl.DataFrame]:
    """All that was answered in a folder, by tasks and mixtures alike."""
    (read,) = read_inputs(folder)
    return [read.table.rows, *([] if read.controls is None else [read.controls])]


def _matrix(rows: list[pl.DataFrame], study: Study) -> xr.Dataset:
    """All that was judged on one model, mixtures beside tasks."""
    matrix = from_predictions(pl.concat(rows, how="diagonal").drop("row"))
    ceiling = study.ceilings or 1.0
    if isinstance(ceiling, dict):
        ceiling = {target: ceiling[target] for target in matrix["target"].values.tolist()}
    return matrix if ceiling == 1.0 else apply_ceiling(matrix, ceiling)


def _experiment(
    study: Study, models: dict[str, Judgement], asked: Mapping[str, int], notes: list[str]
) -> Experiment:
    selection = experiment_of(study)
    if selection.items is None:
        notes.append(
            "Judged on the items that informed the choice: by their luck the informed mixture "
            "looks better than it is."
        )
    if len(selection.seeds) == 1:
        notes.append(
            "A single seed judges: intervals account for items alone, not for another training."
        )
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
        notes=list(dict.fromkeys(notes)),
    )
