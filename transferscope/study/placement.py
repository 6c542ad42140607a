"""How a large base fits on GPUs: whole on one, in NF4 on one, or its layers over two.

In:   a study, a model's shapes, the size of a GPU.
Out:  a `Way` for each, with its `Memory`.

Several GPUs count as one of their memory together: layers are dealt out evenly, and each holds
its own weights, activations and adapters. Loads nothing, knows no torch.
"""

from typing import Any, NamedTuple

from transferscope.study import cost
from transferscope.study.cost_record import Device, Memory
from transferscope.study.shapes import Shapes
from transferscope.study.study_cost import Whole, estimate

LARGE = 24 << 30
"""Bytes of weights from which it is a question where a base fits."""

CARD = 80 * 10**9
"""Bytes of a GPU where none is at hand and no size is given."""

CHOICES = ((None, 1), ("nf4", 1), (None, 2))
"""Quantization and GPUs."""


class Way(NamedTuple):
    """One way to place a base."""

    quantization: str | None
    precision: str
    gpus: int
    gpu_bytes: int
    """Of each GPU."""
    memory: Memory
    """On all of them together."""

    def record(self) -> dict[str, Any]:
        """Its numbers, units in the names."""
        return self._asdict() | {"memory": self.memory._asdict()}


def ways(whole: Whole, model: str, shapes: Shapes, device: Device) -> list[Way]:
    """The ways to place one of a study's bases; none where it is small.

    Args:
        device: its memory is a GPU's if it is one; else `CARD` is.
    """
    study = whole.study
    precision = study.recipe_of(model).precision
    if cost.weights_bytes(shapes, precision) < LARGE:
        return []
    each = device.memory if device.gpu and device.memory is not None else CARD
    found = []
    for quantization, gpus in CHOICES:
        stored = study.models[model].model_copy(update={"quantization": quantization})
        changed = study.model_copy(update={"models": {**study.models, model: stored}})
        place = Device(f"{gpus} GPUs", True, gpus * each)
        memory = estimate(whole._replace(study=changed), model, shapes, place).memory
        found.append(Way(quantization, precision, gpus, each, memory))
    return found
