"""Predict a transfer matrix before any adapter is trained, from gradients where all of them start.

A small step of gradient descent on source i's loss changes target j's loss, to first order, by the
step's length times minus the product of both gradients. So the forecast is

    predicted[i, j] = < g_i, g_j > / | g_i |

with g the gradient of a task's mean loss in the numbers that LoRA trains: how much of target j's
loss, in nats, a step of length 1 along source i's gradient takes away. Above 0 it helps, below 0 it
harms. At the start B is zero, so A has no gradient, and the forward is the base's own; A is drawn
once, for all tasks.

Source i's loss is on its training items, target j's on its evaluation items with their right
answers: the forecast sees labels of what the study will be judged on, as the study does.

In:   a `Study`.
Out:  a `Forecast` for each of its models.

Trains nothing, prints nothing; writes only vision features that the study's budget keeps on disk.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.errors import StudyError
from transferscope.fleet.train import Job, start_gradients
from transferscope.lab import Lab
from transferscope.lab.bases import check_places, open_base
from transferscope.models.vlm import Base
from transferscope.number import Number
from transferscope.plan import TRAINING, Plan, Run, derived_seed, learned, plan_study
from transferscope.study import Study
from transferscope.study.stock import Stock, stock_of
from transferscope.suite import Item

ITEMS = 200
"""Items of each task that a gradient is taken from, where nothing is said."""


@dataclass(frozen=True)
class Forecast:
    """A predicted matrix, and what it took."""

    predicted: dict[str, dict[str, Number]]
    """{source: {target: loss taken away, in nats, by a step of length 1}}."""
    left_out: dict[str, str]
    """{task or mixture: why it has no row or no column}."""
    items: dict[str, int]
    """{`train TASK` or `eval TASK`: items that its gradient comes from}."""
    base: str
    """Hash of the base's weights."""
    seconds: float
    share: float
    """Its work as a part of the study's, both counted in evaluations of an item."""


Tell = Callable[[str, int, int], None]
"""Called with what is being done, the items done and the items of all tasks; 0 where unknown."""


def forecasts(
    study: Study, lab: Lab, folder: Path, *, items: int = ITEMS, tell: Tell
) -> dict[str, Forecast]:
    """The forecast for each model of a study.

    Args:
        folder: the results folder, which vision features may be kept in.
        items: of each task at most.

    Raises:
        StudyError: the study has no sources, a model is nowhere, or see `forecast`.
    """
    if not study.sources:
        raise StudyError(f"{study.name}: nothing to forecast: the study has no sources")
    check_places(study)
    stock = stock_of(study)
    plan, found = plan_study(study, stock), {}
    for name in study.models:
        tell(f"{name}: loading", 0, 0)
        base = open_base(study, lab, name, folder)
        found[name] = forecast(
            study, stock, plan, base, items=items, progress=partial(tell, f"{name}: gradients")
        )
    return found


def forecast(
    study: Study,
    stock: Stock,
    plan: Plan,
    base: Base,
    *,
    items: int = ITEMS,
    progress: Callable[[int, int], None] | None = None,
) -> Forecast:
    """The forecast for one base of a study.

    Args:
        items: of each task at most.
        progress: called with the items done and the items of all tasks.

    Raises:
        StudyError: the study has no source to train or no target that letters answer.
    """
    begun = time.perf_counter()
    left_out = dict.fromkeys(study.mixtures, "a mixture, which is no row of the matrix")
    lessons: dict[str, Sequence[Item]] = {}
    for name in study.sources or ():
        if plan.lessons[name]:
            lessons[name] = learned(study, stock, Run(base.name, "source", name, study.seeds[0]))
        else:
            left_out[name] = "its adapters are brought, so it has no training items"
    asked: dict[str, Sequence[Item]] = {}
    for name, count in plan.targets.items():
        questions = stock.questions(name, min(items, count))
        if any(item.truth is not None for item in questions):
            left_out[name] = "its answers are numbers, so it has no letters to take a loss of"
        else:
            asked[name] = questions
    if not lessons or not asked:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise StudyError(f"{study.name}: nothing to forecast: {why}")
    start = derived_seed(study.seeds[0], "forecast", "")
    jobs = [
        Job(name, 0, its[:items], start, 0, 0)
        for part in (lessons, asked)
        for name, its in part.items()
    ]
    found = start_gradients(base, jobs, study.recipe_of(base.name), progress=progress)
    table = predicted(found[: len(lessons)], found[len(lessons) :])
    work = TRAINING * sum(len(job.items) for job in jobs)
    return Forecast(
        predicted={
            source: dict(zip(asked, line, strict=True))
            for source, line in zip(lessons, table.tolist(), strict=True)
        },
        left_out=left_out,
        items={f"train {name}": min(items, len(its)) for name, its in lessons.items()}
        | {f"eval {name}": len(its) for name, its in asked.items()},
        base=base.weights_hash,
        seconds=time.perf_counter() - begun,
        share=work / study_work(plan, base.name),
    )


def study_work(plan: Plan, model: str) -> float:
    """What a study takes on one model, in evaluations of an item."""
    runs = [run for run in plan.runs if run.model == model]
    return sum(map(plan.training_work, runs)) + len(runs) * plan.questions


def predicted(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Products of gradients (source, target), each source's at length 1.

    A source whose gradient is zero predicts nothing: 0.
    """
    rows: list[Any] = []
    for its in sources:
        unit = its / its.norm().clamp(min=torch.finfo(its.dtype).tiny)
        rows.append(torch.stack([unit @ other for other in targets]))
    return torch.stack(rows).double()
