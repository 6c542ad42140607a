"""What `plan` prints on a recipe: unusual values, which path a run takes, and which layers are
adapted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.cli.costs import amount, profiling_module
from transferscope.errors import DataError, StudyError

if TYPE_CHECKING:
    from transferscope.cli.costs import Costs
    from transferscope.study import Study
    from transferscope.study.estimate import ModelCost
    from transferscope.study.plan import Plan

FAR, LARGE, MANY = 10, 1e9, 1280
"""Factor from the usual learning rate, parameters in float32, and tokens of an image (the limit
that Qwen2.5-VL's model card advises) from which on a plan warns."""


def cautions(study: Study, plan: Plan, found: Costs) -> Iterator[str]:
    """A note for each model with an unusual recipe, and which of its layers are adapted.

    Raises:
        StudyError: a recipe's target matches no layer, or experts.
    """
    trained = {run.model for run in plan.runs if run.trained}
    full = study.recipe.method == "full"
    for name, model in study.models.items():
        recipe = study.recipe_of(name)
        usual = recipe.defaults(embedded=model.embedded)
        rate, expected = recipe.learning_rate, usual["learning_rate"]
        if name in trained and not expected / FAR <= rate <= FAR * expected:
            effect = "often diverges" if rate > expected else "hardly changes the model"
            yield (
                f"{name}: the learning rate is {rate:g}; {expected:g} is usual for "
                f"{'full finetuning of' if full else 'LoRA on'} this base, and {rate:g} {effect}"
            )
        if name in trained and recipe.peft is not None:
            yield (
                f"{name}: recipe.peft: PEFT's own layers, one adapter at a time on the reference "
                "path, with a copy of the base beside it; slower than estimated here"
            )
        elif name in found.families and not model.embedded and not (full and name in trained):
            yield f"{name}: {_path(found.families[name])}"
        cost = found.models.get(name)
        tokens = cost.largest_image_tokens if cost else 0
        if recipe.max_pixels is None and not model.embedded and tokens > MANY:
            yield (
                f"{name}: recipe.max_pixels is null, and an image takes up to {tokens:,} tokens; "
                "a limit saves memory and time"
            )
        params = cost.parameters if cost else 0
        if name in trained and full:
            yield f"{name}: {_of_full(plan, name, cost)}"
        elif name in trained and not model.embedded and (layers := _layers(study, name)):
            note, params = layers
            if recipe.peft is None:
                yield f"{name}: {note}"
        if recipe.precision == "float32" and params > LARGE and not model.quantization:
            yield (
                f"{name}: the precision is float32; bfloat16 is usual for {params / 1e9:.1f} "
                "billion parameters, takes half the memory and is several times faster on a GPU"
            )
        here = not found.device.gpu and Path(model.where).is_dir()
        if recipe.precision == "bfloat16" and here and (profiling := profiling_module()):
            slower = profiling.product_rate("float32") / profiling.product_rate("bfloat16")
            if slower > 1:
                yield (
                    f"{name}: a matrix product in bfloat16 takes {slower:.1f} times as long here "
                    "as in float32; recipe.precision: float32 gives slightly other numbers"
                )


def _path(family: str) -> str:
    """Which path a base of a family takes, and what that means for its images."""
    from transferscope.engine.families import FAMILIES, OTHER

    if FAMILIES.get(family, OTHER).own_path:
        return f"{family} has its own path: images are encoded once and kept"
    return f"{family} takes the reference path: images are encoded in every forward"


def _of_full(plan: Plan, name: str, cost: ModelCost | None) -> str:
    """How a full finetuning goes, and what it takes of memory and disk."""
    line = (
        "recipe.method: full: every weight is trained, one model at a time on the reference path, "
        "beside the base; slower than estimated here"
    )
    if cost:
        kept = sum(run.model == name and run.finished.trained for run in plan.runs)
        line += (
            f"; weights, gradients and AdamW's states take {amount(cost.adapters_bytes)}, each of "
            f"{kept} models at most {amount(cost.weights_bytes)} on disk, all of them "
            f"{amount(kept * cost.weights_bytes)}"
        )
    return line


def _layers(study: Study, name: str) -> tuple[str, int] | None:
    """Which layers of a model are adapted, and its size; None if its configuration is not here."""
    profiling, model = profiling_module(), study.models[name]
    if profiling is None:
        return None
    try:
        return profiling.layers_of(
            model.where, study.recipe_of(name).targets, model.trust_remote_code
        )
    except DataError:
        return None  # the costs have a note on it
    except StudyError as error:
        raise StudyError(f"{name}: {error}") from None
