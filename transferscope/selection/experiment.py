"""The experiment of the paper's Figure 8: is a mixture that the matrix chose any better?

It has two stages. The study's own seeds measure the matrix, in the folder itself, and a mixture is
chosen from it for each target. Then the contenders for a target (`trials`) are trained with other
seeds: a separate study in `judging/MODEL/TARGET/`. The choice is made anew each time from the
finished matrix, never from what judges it. If it changes, that study changes, and the run does
what is then missing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from transferscope import store as results
from transferscope.analysis import Analysis
from transferscope.analysis.json_file import plain
from transferscope.analysis.parts import STRATEGIES, Experiment, Judgement, Strategy
from transferscope.errors import DataError, StudyError
from transferscope.execution.run_state import Event, RunState
from transferscope.execution.runner import Outcome, run_study
from transferscope.matrix import apply_ceiling, from_predictions
from transferscope.selection import Mixture, mixture, trials
from transferscope.selection.trials import Contender, Contenders, experiment_of, judging_study
from transferscope.store import atomic
from transferscope.store.parquet import all_answers
from transferscope.store.progress import progress_of
from transferscope.study import Study
from transferscope.study.file import suite_of
from transferscope.study.items import hashed
from transferscope.study.plan import Plan, plan_study
from transferscope.tasks.untrusted import load_yaml, shown

Contests = dict[str, dict[str, Contenders]]
"""{model: {target: contenders}}"""


class ExperimentResult(NamedTuple):
    experiment: Experiment | None
    """None if nothing could be judged."""
    outcome: Outcome


def choose(study: Study, analysis: Analysis) -> Mapping[str, Mapping[str, Mixture]]:
    """{model: {target: mixture}}, from the matrix alone."""
    its, items = experiment_of(study), study.recipe.items
    options: Any = {"rule": its.rule, "threshold": its.threshold, "items": items}
    return {
        model: {target: mixture(analysis, target, model=model, **options) for target in its.targets}
        for model in study.models
    }


def carry_out(
    study: Study,
    analysis: Analysis,
    out: str | Path,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    executor: Callable[[RunState], None] | None = None,
) -> ExperimentResult:
    """Choose, train the contenders, and judge.

    Args:
        analysis: of the whole matrix of the study, with the study's seeds.
        executor: as for `runner.run_study`.

    Raises:
        StudyError, DataError, MissingExtra: as `runner.run_study`.
    """
    trainable = suite_of(study).sources
    contests: Contests = {model: {} for model in study.models}
    seconds: dict[tuple[str, str], Study] = {}
    for model, mixes in choose(study, analysis).items():
        for target, mix in mixes.items():
            shares, trains = _shares(study, mix), target in trainable
            competing = trials.contenders(study, target, shares, has_training_data=trains)
            contests[model][target] = competing
            seconds[model, target] = judging_study(study, model, target, competing)
    plans = {key: plan_study(second) for key, second in seconds.items()}
    wanted = study.recipe.items
    notes = [
        f"{shown(name)} is trained on {count} items, not {wanted}: one of its tasks has no more."
        for plan in plans.values()
        for name, count in plan.training_counts.items()
        if count < wanted
    ]
    record = {"from": _origin(study, out), "models": plain(contests), "notes": notes}
    atomic.write_whole(Path(out, results.SELECTION), results.as_json(record))
    done: list[Outcome] = []
    last = {key: _start(plan) for key, plan in plans.items()}

    def report(key: tuple[str, str], event: Event) -> None:
        last[key] = event
        counted = ("cells", "of", "work", "total")
        sums = {name: sum(getattr(each, name) for each in last.values()) for name in counted}
        on_event(event._replace(**sums))

    for (model, target), second in seconds.items():
        report_one = partial(report, (model, target))
        chosen = contests[model][target]["informed"].mixtures.values()
        names = ", ".join(shown(name) for one in chosen for name in one) or "nothing"
        note = f"{model}: chosen for {shown(target)}: {names}; judging it now"
        report_one(_start(plans[model, target])._replace(note=note))
        folder = results.judging_folder(out, model, target)
        done.append(run_study(second, folder, on_event=report_one, executor=executor))
    whole = Outcome(
        cells=sum(one.cells for one in done),
        of=sum(one.of for one in done),
        adapters=sum(one.adapters for one in done),
        failed=tuple(failure for one in done for failure in one.failed),
    )
    return ExperimentResult(_judged(study, out, analysis), whole)


def judged(folder: str | Path, analysis: Analysis) -> Experiment | None:
    """The experiment in a folder, judged from its answers; None if the folder has none.

    Nothing is trained and no suite is opened. A target is left out, with a note, if its judging is
    not finished, or if the settings of this analysis choose another mixture than the one tried.

    Args:
        analysis: of the folder's matrix alone, its models under the study's names.

    Raises:
        StudyError: the study in the folder is damaged.
    """
    data = results.read_beside(folder, results.STUDY)
    if data is None or not results.read_json(Path(folder, results.SELECTION)):
        return None
    try:
        study = Study.model_validate(load_yaml(data.decode()))
    except ValueError:
        raise StudyError(f"{folder}: {results.STUDY} cannot be read as a study") from None
    if study.selection is None or set(study.models) != set(analysis.models):
        return None
    return _judged(study, folder, analysis)


def _judged(study: Study, folder: str | Path, analysis: Analysis) -> Experiment | None:
    """The experiment from the answers in `judging/`; None if there are none."""
    selection, known = experiment_of(study), recorded(study, folder) or {}
    lines = results.read_json(Path(folder, results.SELECTION)).get("notes")
    notes = [str(line) for line in lines] if isinstance(lines, list) else []
    models: dict[str, Judgement] = {}
    eval_items: Counter[str] = Counter()
    for model, mixes in choose(study, analysis).items():
        contests: dict[str, Contenders] = {}
        for target, mix in mixes.items():
            competing = known.get(model, {}).get(target, {})
            place = results.judging_folder(folder, model, target)
            if why := _not_judged(study, place, competing, mix):
                notes.append(f"{model}: nothing was judged for {shown(target)}: {why}.")
            else:
                contests[target] = competing
        if contests:
            matrix = _matrix(study, [results.judging_folder(folder, model, t) for t in contests])
            eval_items = Counter(matrix["item_target"].values.tolist())
            there = set(matrix["target"].values.tolist())
            contests = {target: contests[target] for target in contests if target in there}
            models[model] = trials.judge(matrix, model, contests, mixes, analysis.settings)
    if not models:
        return None
    if selection.items is None:
        notes.append(
            "Judged on the items that informed the choice: the informed mixture shares their luck "
            "and looks better than it is."
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
        questions=dict(eval_items),
        other_items=selection.items is not None,
        models=models,
        notes=list(dict.fromkeys(notes)),
    )


def _matrix(study: Study, folders: list[Path]) -> xr.Dataset:
    """All answers of the judging studies of one model, mixtures beside tasks."""
    matrix = from_predictions(pl.concat(map(all_answers, folders), how="diagonal"))
    ceiling = study.ceilings or 1.0
    if isinstance(ceiling, dict):
        ceiling = {target: ceiling[target] for target in matrix["target"].values.tolist()}
    return apply_ceiling(matrix, ceiling)


def _not_judged(study: Study, folder: Path, competing: Contenders, mix: Mixture) -> str:
    """Why a target cannot be judged; empty if it can."""
    if set(competing) != set(STRATEGIES):
        return "nothing was tried with this matrix; run the study again"
    tried = list(competing["informed"].mixtures.values())
    if tried != ([shares] if (shares := _shares(study, mix)) else []):
        return "with these settings the matrix chooses another mixture than the one that was tried"
    try:
        state = progress_of(folder).state
    except DataError:
        state = "stopped"
    if state not in ("done", "failed in part"):
        return "its judging is not finished; run the study again"
    runs = results.run_records(folder)  # the first is the base's
    return "" if len(runs) > 1 else "its training failed"


def second_stage(study: Study, out: str | Path) -> Iterator[tuple[Path, Study]]:
    """The studies that judge, each with its folder.

    Before anything is chosen, each has the most adapters and items that it may have.
    """
    known, trainable = recorded(study, out) or {}, suite_of(study).sources
    for model in study.models:
        for target in experiment_of(study).targets:
            trains = target in trainable
            most = trials.most_contenders(study, target, has_training_data=trains)
            competing = known.get(model, {}).get(target, most)
            folder = results.judging_folder(out, model, target)
            yield folder, judging_study(study, model, target, competing)


def recorded(study: Study, out: str | Path) -> Contests | None:
    """The contenders for each target, as they were chosen.

    None if nothing was chosen yet, or if the study or its matrix has changed since.
    """
    record = results.read_json(Path(out, results.SELECTION))
    if record.get("from") != _origin(study, out):
        return None
    try:
        contests = TypeAdapter(dict[str, dict[str, dict[Strategy, Contender]]])
        return contests.validate_python(record.get("models"))
    except ValidationError:
        return None


def _origin(study: Study, out: str | Path) -> str:
    """Hash of all that determines a choice: the study, and the tables of its matrix."""
    tables = [*results.prediction_files(out), *results.control_files(out)]
    sums = [[path.name, results.checksum(path)] for path in tables]
    # Defaults are left out, so that a setting of a later version changes nothing.
    return hashed([study.model_dump(mode="json", exclude_defaults=True), sums])


def _shares(study: Study, mix: Mixture) -> dict[str, float]:
    """The sources of a mixture that get at least one item, with their shares of all items."""
    return {one.source: one.items / study.recipe.items for one in mix.choices if one.items}


def _start(plan: Plan) -> Event:
    """The progress of a study that has not begun."""
    training = sum(plan.training_work(run) for run in plan.runs)
    return Event("", 0, plan.cells, 0.0, training + plan.eval_count * len(plan.runs))
