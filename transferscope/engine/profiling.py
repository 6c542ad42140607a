"""What a study runs on: the device, a measured rate for each step, and the layers it adapts.

    this_device    the GPU or CPU, and the free memory there
    calibrate      one rate for each step of a study on this device, for `plan`
    layers_of      which layers of a model a recipe adapts

Writes no file.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from transferscope.engine import load_engine
from transferscope.engine.bases import load_study_base
from transferscope.engine.devices import fix_matmul_order
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.linears import not_adapted
from transferscope.engine.processors import first_line
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.engine.train import train_fleet
from transferscope.errors import DataError
from transferscope.study import cost
from transferscope.study.estimate import CostEstimate, Device, Rates

SECONDS = 2.0
"""Foreseen duration of the calibrated training."""
FEW = 8
"""Least items, below which the overhead of a call would count too much."""
PATIENCE = 10.0
"""Most seconds that a single item may take."""


def this_device() -> Device:
    """The GPU that bases are loaded onto, or the CPU, and the free memory there."""
    if torch.cuda.is_available():
        return Device(torch.cuda.get_device_name(), True, torch.cuda.mem_get_info()[0])
    return Device("CPU", False, cost.free_memory())


def product_rate(precision: str) -> float:
    """FLOPs per second of a matrix product on the device that bases are loaded onto."""
    fix_matmul_order()  # it holds only if it comes before the first product
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, side, dtype = 512, 1024, getattr(torch, precision)
    left, right = (torch.ones(n, side, dtype=dtype, device=device) for n in (rows, side))

    def seconds() -> float:
        begun = time.perf_counter()
        (left @ right.T).sum().item()  # `item` waits for a GPU
        return time.perf_counter() - begun

    seconds()  # warm
    return 2 * rows * side * side / min(seconds() for _ in range(3))


def calibrate(made: CostEstimate) -> Rates:
    """Load a base, train and score some items of its study, and measure the rate of each step.

    Where several processes will share the work, one is measured, and the rate is of all.

    Raises:
        DataError: a single item would take too long, or the base does not fit.
    """
    study, recipe, device, name = made.plan.study, made.recipe, made.device, made.model
    needed = made.weights_bytes
    if device.memory is not None and needed > cost.SHARE * device.memory:
        raise DataError(f"the weights, {needed / 2**30:.1f} GiB, leave too little of {device.name}")
    tasks = sorted(
        (work.tokens, task)
        for (task, split), work in made.work.items()
        if split == "train" and task not in made.plan.assumed
    )
    if not tasks:
        raise DataError("there are no training items to time")
    task = tasks[len(tasks) // 2][1]
    work = made.work[task, "train"]
    one = (work.training + work.vision) / product_rate(recipe.precision)
    if one > PATIENCE:
        raise DataError(f"training on a single item would take about {one:.0f} s on {device.name}")
    count = max(1, int(SECONDS / one), min(FEW, int(PATIENCE / one)))
    items = list(made.plan.items.split(task, "train")[: min(2 * recipe.batch_size, count)])
    base = load_study_base(study, load_engine(), name)

    def now() -> float:
        if base.device.type == "cuda":
            torch.cuda.synchronize(base.device)
        return time.perf_counter()

    adapters, path = study.budget.fleet if device.gpu else 1, forward_path(base, items)
    once = replace(recipe, epochs=1, steps=None)
    jobs = [TrainingJob("calibration", seed, items, seed, seed, seed) for seed in range(adapters)]
    threads, processes = torch.get_num_threads(), device.processes
    torch.set_num_threads(1 if processes > 1 else threads)
    begun = now()
    if cache := getattr(path, "vision_cache", None):  # the features then stay in memory
        cache.features([image for row in path.encode(items) for image in row.item.images])
    encoded = now()
    first = [job._replace(items=items[: once.batch_size]) for job in jobs]
    list(train_fleet(base, first, once))  # warm, and so are replies, which may need transformers
    score_fleet(base, [None], items[:1])
    warm = now()
    trained = [one for group in train_fleet(base, jobs, once) for one in group.values()]
    between = now()
    score_fleet(base, trained, items, batch_size=len(items))
    ended, passes = now(), processes * adapters * len(items)
    torch.set_num_threads(threads)
    return Rates(
        processes * len(items) * work.vision / (encoded - begun) if cache else None,
        passes * work.training / (between - warm),
        passes * work.scoring / (ended - between),
    )


def config_of(where: str, trust_remote_code: bool = False) -> Any:
    """A model's configuration, with the family's defaults for what its file leaves out.

    Raises:
        DataError: it is not on this machine, or of no model that transformers knows.
    """
    from transformers import AutoConfig

    local = not Path(where).is_dir()  # `plan` has downloaded a Hub model's configuration already
    try:
        return AutoConfig.from_pretrained(
            where, trust_remote_code=trust_remote_code, local_files_only=local
        )
    except Exception as error:  # a family's modules raise any class
        raise DataError(f"{where}: {first_line(error)}") from None


class Layers(NamedTuple):
    """A model's layers under a recipe."""

    note: str
    """Which are adapted, which are not, and why."""
    parameters: int
    """Of the whole model."""


def layers_of(where: str, targets: Sequence[str], trust_remote_code: bool = False) -> Layers:
    """Which layers a recipe adapts, from the model's configuration alone.

    Raises:
        DataError: the configuration is not here, or of no model that transformers knows.
        StudyError: a target matches no layer, or experts.
    """
    from transformers import AutoModelForImageTextToText

    config = config_of(where, trust_remote_code)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(
                config, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # a family's modules raise any class
        raise DataError(f"{where}: {first_line(error)}") from None
    return Layers(not_adapted(model, targets), model.num_parameters())
