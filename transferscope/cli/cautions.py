"""What `plan` says of a recipe before anything is spent: unusual values, and layers not adapted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.errors import DataError, StudyError
from transferscope.study import EMBEDDED, OTHERS

if TYPE_CHECKING:
    from transferscope.cli.costs import Costs
    from transferscope.engine.adapted_layers import Layers
    from transferscope.study import Study
    from transferscope.study.plan import Plan

FAR = 10
"""Times the usual learning rate, or a part of it, from which on a plan speaks up."""

LARGE = 1e9
"""Parameters from which float32 is a waste."""


def cautions(study: Study, plan: Plan, costs: Costs) -> Iterator[str]:
    """A note for each of a study's models that has something unusual.

    Raises:
        StudyError: a recipe names a layer that a model lacks, or its experts.
    """
    trained = {run.model for run in plan.runs if run.trained}
    for name, model in study.models.items():
        recipe = study.recipe_of(name)
        usual = (EMBEDDED if model.embedded else OTHERS)["learning_rate"]
        rate = recipe.learning_rate or usual
        if name in trained and rate > FAR * usual:
            yield (
                f"{name}: the learning rate is {rate:g}; {usual:g} is usual for LoRA on this "
                "base, and so much more often diverges"
            )
        elif name in trained and rate < usual / FAR:
            yield (
                f"{name}: the learning rate is {rate:g}; {usual:g} is usual for LoRA on this "
                "base, and so much less hardly changes it"
            )
        layers = _layers(study, name) if name in trained and not model.embedded else None
        parameters = layers.parameters if layers else 0
        if name in costs.models:
            parameters = costs.models[name].parameters
        if recipe.precision == "float32" and parameters > LARGE and not model.quantization:
            yield (
                f"{name}: the precision is float32; bfloat16 is usual for {parameters / 1e9:.1f} "
                "billion parameters, takes half the memory and is several times faster on a GPU"
            )
        here = not costs.device.gpu and Path(model.where).is_dir()
        if recipe.precision == "bfloat16" and here:
            yield (
                f"{name}: the precision is bfloat16, which is slow on many CPUs; "
                "recipe.precision: float32 is faster there, and gives slightly other numbers"
            )
        if layers:
            yield f"{name}: {layers.note}"


def _layers(study: Study, name: str) -> Layers | None:
    """Which layers of a model are adapted; None where its configuration cannot be had."""
    try:
        from transferscope.engine.adapted_layers import layers_of
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("transferscope"):
            raise
        return None
    model, recipe = study.models[name], study.recipe_of(name)
    try:
        return layers_of(model.where, recipe.targets, model.trust_remote_code)
    except DataError:
        return None  # which the costs say already
    except StudyError as error:
        raise StudyError(f"{name}: {error}") from None
