"""How fast this machine trains and scores with a base: a few seconds of the engine's own work.

In:   a study with a base that lies on this machine.
Out:  `Speeds`, from which a plan's times follow; nothing is kept.

Trains adapters that nobody sees and writes no file.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

from transferscope.engine import Engine, TrainingJob
from transferscope.engine.base_model import Base
from transferscope.engine.ceiling import matmul_ceiling
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.meter import as_run, base_shapes, lengths, scoring_spent, training_spent
from transferscope.engine.score import score_fleet
from transferscope.engine.train import train_fleet
from transferscope.errors import DataError
from transferscope.study import cost
from transferscope.study.cost_record import Device, Speeds
from transferscope.study.machine import free_memory
from transferscope.study.shapes import Shapes
from transferscope.study.study_cost import Whole, estimated_lengths, lora
from transferscope.tasks import Item

SECONDS = 2.0
"""Of training, and of scoring, as far as they can be foreseen."""

FEW = 8
"""Items below which what a call costs beside them would count for too much."""

FORESEEN = 0.2
"""Share of the ceiling at which work is expected to run."""

PATIENCE = 10.0
"""Seconds that a single item may take."""


def device_at_hand() -> Device:
    """The GPU that bases are loaded onto, or the CPU, and the memory that is free there."""
    if torch.cuda.is_available():
        return Device(torch.cuda.get_device_name(), True, torch.cuda.mem_get_info()[0])
    return Device("CPU", False, free_memory())


def share_cores(workers: int, device: Device) -> None:
    """Go on with the threads that one of several workers on this machine's cores has."""
    if not device.gpu:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def calibrate(whole: Whole, model: str, shapes: Shapes, device: Device, engine: Engine) -> Speeds:
    """Train and score some items of a study, which a warm-up has seen before.

    Raises:
        DataError: a single item would take too long, the base does not fit, or it is of a kind
            whose work is not known.
    """
    recipe = whole.study.recipe_of(model)
    task, count = _amount(whole, model, shapes, device)
    described, begun = whole.study.models[model], time.perf_counter()
    base = engine.load_base(
        described.where,
        name=model,
        precision=recipe.precision,
        quantization=described.quantization,
        gpus=max(1, int(described.gpus)),
        trust_remote_code=described.trust_remote_code,
        max_pixels=recipe.max_pixels,
        thinking=described.thinking,
    )
    loading, loaded = time.perf_counter() - begun, base_shapes(base)
    if loaded is None:
        raise DataError(f"{described.where}: its shapes are not known")
    items = list(whole.stock.split(task, "train")[:count])
    sampled = {key: lengths(base, own) for key, own in whole.sampled.items.items()}
    vision = _look(base, loaded, [*items, *whole.sampled.items[task, "train"]])
    once = recipe.model_copy(update={"epochs": 1, "steps": None})
    adapters = whole.study.budget.fleet if device.gpu else 1
    learned, asked = _timed(base, as_run(base, loaded, items), items, once, adapters)
    return Speeds(*learned, *asked, vision, sampled, loading)


def _amount(whole: Whole, model: str, shapes: Shapes, device: Device) -> tuple[str, int]:
    """A task of middling length, and how many of its items are trained in `SECONDS`."""
    recipe = whole.study.recipe_of(model)
    stored = whole.study.models[model].quantization
    need = cost.weights_bytes(shapes, recipe.precision, stored)
    if device.memory is not None and need > cost.SHARE * device.memory:
        raise DataError(f"its weights, {need / 2**30:.1f} GiB, leave too little of {device.name}")
    own = {
        task: sorted(its)[len(its) // 2]
        for (task, split), its in estimated_lengths(
            shapes, whole.sampled, recipe.max_pixels
        ).items()
        if split == "train"
    }
    if not own:
        raise DataError("nothing is trained")
    task = sorted(own, key=lambda name: own[name])[len(own) // 2]
    place = "cuda" if device.gpu else "cpu"
    rate = FORESEEN * matmul_ceiling(place, getattr(torch, recipe.precision))
    sizes = whole.sampled.sizes[task, "train"][0]
    grids = [cost.grid(shapes, *size, recipe.max_pixels) for size in sizes]
    looking = sum(cost.vision_flops(shapes, *grid) for grid in grids)
    one = (
        cost.step_flops(shapes, lora(shapes, recipe, device, stored), [own[task]]) + looking
    ) / rate
    if one > PATIENCE:
        raise DataError(f"training on a single item would take about {one:.0f} s on {device.name}")
    available = len(whole.stock.split(task, "train"))
    count = max(int(SECONDS / one), min(FEW, int(PATIENCE / one)))
    return task, max(1, min(2 * recipe.batch_size, available, count))


def _look(base: Base, shapes: Shapes, items: Sequence[Item]) -> float | None:
    """FLOPs a second of the vision tower on some items' pictures; None where it is not apart."""
    path: Any = forward_path(base, items)
    if not hasattr(path, "vision_cache"):
        return None
    its = as_run(base, shapes, items)
    distinct = {one.key: one for row in path.encode(items) for one in row.images}
    pictures, (eyes, begun) = list(distinct.values()), (path.vision_cache, time.perf_counter())
    eyes.features(pictures)
    _wait(base)
    seconds = time.perf_counter() - begun
    grids = [cost.grid(its, one.shape[0], one.shape[1], base.max_pixels) for one in pictures]
    return sum(cost.vision_flops(its, *grid) for grid in grids) / seconds


def _timed(
    base: Base, shapes: Shapes, items: list[Item], recipe: Any, adapters: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Items and FLOPs a second of training on some items and of asking them, once all is warm."""
    jobs = [TrainingJob("calibration", seed, items, seed, seed, seed) for seed in range(adapters)]
    train_fleet(base, [job._replace(items=items[: recipe.batch_size]) for job in jobs], recipe)
    _wait(base)
    begun = time.perf_counter()
    trained = train_fleet(base, jobs, recipe)
    _wait(base)
    training, begun = time.perf_counter() - begun, time.perf_counter()
    score_fleet(base, trained, items, batch_size=len(items))
    _wait(base)
    scoring, count = time.perf_counter() - begun, len(items) * adapters
    learned = training_spent(base, shapes, jobs, recipe)
    asked = scoring_spent(base, shapes, items, recipe)
    if learned is None or asked is None:
        raise DataError(f"{base.name}: its tokens are not known before they are processed")
    return (
        (count / training, learned.flops / training),
        (count / scoring, adapters * asked.flops / scoring),
    )


def _wait(base: Base) -> None:
    """Until a GPU has done what it was told."""
    if base.device.type == "cuda":
        torch.cuda.synchronize(base.device)
