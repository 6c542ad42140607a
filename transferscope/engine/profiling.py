"""How fast a device trains and scores: before a study in a few seconds, and afterwards in the log.

    matmul_ceiling   the device's fastest matrix product, which measured work is compared with
    calibrate        one rate for each step of a study on this device, for `plan`
    Profile          tokens, FLOPs and peak memory of a fleet's training or scoring, for the log

FLOPs are counted by `study.cost`; recomputed activations count once.

Writes no file.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

from transferscope.engine.base_model import Base, load_base
from transferscope.engine.devices import fix_matmul_order, layers_by_device
from transferscope.engine.forward_paths import forward_path, option_tokens
from transferscope.engine.glimpse.glimpse_path import GlimpsePath
from transferscope.engine.linears import not_adapted
from transferscope.engine.processors import first_line
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.engine.train import train_fleet
from transferscope.engine.vision_cache import keyed
from transferscope.errors import DataError
from transferscope.study import Recipe, cost
from transferscope.study.cost import Lora
from transferscope.study.estimate import CostEstimate, Device, Rates
from transferscope.study.shapes import Shapes, parse_shapes
from transferscope.tasks import Item

SECONDS = 2.0
"""Foreseen duration of the calibrated training."""
FEW = 8
"""Least items, below which the overhead of a call would count too much."""
FORESEEN = 0.2
"""Share of the ceiling that the work is expected to reach."""
PATIENCE = 10.0
"""Most seconds that a single item may take."""


def this_device() -> Device:
    """The GPU that bases are loaded onto, or the CPU, and the free memory there."""
    if torch.cuda.is_available():
        return Device(torch.cuda.get_device_name(), True, torch.cuda.mem_get_info()[0])
    return Device("CPU", False, cost.free_memory())


@cache
def matmul_ceiling(device: str, dtype: torch.dtype) -> float:
    """FLOPs per second of the fastest product of two square matrices.

    The matrices grow until a product takes 20 ms, so that the launch does not count.
    """
    fix_matmul_order()
    count, size, best = 8 if "cuda" in device else 1, 0, 0.0
    a = b = torch.empty(0)

    def seconds() -> float:
        begun = time.perf_counter()
        for _ in range(count):  # queued, so that a GPU never waits between them
            torch.mm(a, b)
        _wait(torch.device(device))
        return (time.perf_counter() - begun) / count

    for size in (256, 512, 1024, 2048, 4096, 8192):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds()  # the first call loads the kernel
        best = min(seconds() for _ in range(3))  # another process may interfere
        if best >= 0.02:
            break
    until = time.perf_counter() + 0.4
    while time.perf_counter() < until:
        best = min(best, seconds())
    return 2 * size**3 / best


def calibrate(made: CostEstimate) -> Rates:
    """Load a base, train and score some items of its study, and measure the rate of each step.

    Raises:
        DataError: a single item would take too long, or the base does not fit.
    """
    study, recipe, device, name = made.plan.study, made.recipe, made.device, made.model
    needed = made.weights_bytes
    if device.memory is not None and needed > cost.SHARE * device.memory:
        raise DataError(f"the weights, {needed / 2**30:.1f} GiB, leave too little of {device.name}")
    tasks = sorted((work.tokens, key) for key, work in made.work.items() if key[1] == "train")
    tasks = [(tokens, key) for tokens, key in tasks if key[0] not in made.plan.assumed]
    if not tasks:
        raise DataError("there are no training items to time")
    key = tasks[len(tasks) // 2][1]
    work = made.work[key]
    ceiling = matmul_ceiling("cuda" if device.gpu else "cpu", getattr(torch, recipe.precision))
    one = (work.training + work.vision) / (FORESEEN * ceiling)
    if one > PATIENCE:
        raise DataError(f"training on a single item would take about {one:.0f} s on {device.name}")
    count = max(1, int(SECONDS / one), min(FEW, int(PATIENCE / one)))
    items = list(made.plan.items.split(key[0], "train")[: min(2 * recipe.batch_size, count)])
    described = study.models[name]
    base = load_base(
        described.where,
        name=name,
        precision=recipe.precision,
        quantization=described.quantization,
        gpus=max(1, int(described.gpus)),
        trust_remote_code=described.trust_remote_code,
        max_pixels=recipe.max_pixels,
        thinking=described.thinking,
    )
    adapters = study.budget.fleet if device.gpu else 1
    once = replace(recipe, epochs=1, steps=None)
    jobs = [TrainingJob("calibration", seed, items, seed, seed, seed) for seed in range(adapters)]
    vision = len(items) * work.vision / _encoding_seconds(base, items)
    train_fleet(base, [job._replace(items=items[: once.batch_size]) for job in jobs], once)  # warm
    begun = _now(base)
    trained = train_fleet(base, jobs, once)
    between = _now(base)
    score_fleet(base, trained, items, batch_size=len(items))
    ended, passes = _now(base), adapters * len(items)
    folding = adapters * once.steps_for(len(items)) * cost.folding_flops(made.shapes, made.lora)
    scoring = work.scoring if made.scores_adapters else work.scoring_base
    return Rates(
        vision if hasattr(forward_path(base, items), "vision_cache") else None,
        (passes * work.training + folding) / (between - begun),
        passes * scoring / (ended - between),
    )


def _encoding_seconds(base: Base, items: Sequence[Item]) -> float:
    """Seconds to encode the items' distinct images, whose features then stay in memory."""
    path: Any = forward_path(base, items)
    if not hasattr(path, "vision_cache"):
        return float("inf")
    images = {image.key: image for row in path.encode(items) for image in row.images}
    begun = _now(base)
    path.vision_cache.features(list(images.values()))
    return _now(base) - begun


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
    from transformers import AutoConfig, AutoModelForImageTextToText

    local = not Path(where).is_dir()  # `plan` has downloaded a Hub model's configuration already
    try:
        config = AutoConfig.from_pretrained(
            where, trust_remote_code=trust_remote_code, local_files_only=local
        )
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(
                config, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # whatever a family's modules raise
        raise DataError(f"{where}: {first_line(error)}") from None
    return Layers(not_adapted(model, targets), model.num_parameters())


class Profile:
    """Measures the training or scoring of one fleet, from its creation on."""

    def __init__(self, base: Base) -> None:
        self._base, self._shapes = base, base_shapes(base)
        self._encoded = _images_encoded(base)
        self._gpus = [d for d in layers_by_device(base.model) if d.type == "cuda"]
        for device in self._gpus:
            torch.cuda.reset_peak_memory_stats(device)
        self._begun = time.perf_counter()

    def trained(self, jobs: Sequence[TrainingJob], recipe: Recipe) -> dict[str, Any]:
        """The log's fields after training."""
        seconds, items = time.perf_counter() - self._begun, [i for job in jobs for i in job.items]
        shapes = self._shapes_for(items)
        spent = training_spent(self._base, shapes, jobs, recipe) if shapes else (0, 0)
        return self._fields(seconds, items, shapes, *spent)

    def scored(
        self, adapters: int, items: Sequence[Item], recipe: Recipe, scoring: str
    ) -> dict[str, Any]:
        """The log's fields after so many adapters, or the base, answered some items."""
        seconds, shapes = time.perf_counter() - self._begun, self._shapes_for(items)
        spent = (0, 0)
        if shapes is not None and scoring == "letters":  # replies have an unknown length
            spent = scoring_spent(self._base, shapes, items, recipe)
        return self._fields(seconds, items, shapes, *(adapters * n for n in spent))

    def _shapes_for(self, items: Sequence[Item]) -> Shapes | None:
        """The shapes, small if these items run on the embedded bases' path."""
        if self._shapes is None:
            return None
        small = isinstance(forward_path(self._base, items), GlimpsePath)
        return replace(self._shapes, small=small)

    def _fields(
        self, seconds: float, items: Sequence[Item], shapes: Shapes | None, tokens: int, flops: int
    ) -> dict[str, Any]:
        base, fields = self._base, dict[str, Any]()
        if shapes is not None and tokens:
            encoded = _images_encoded(base) - self._encoded
            vision = round(encoded * _image_flops(base, shapes, items))
            rate, ceiling = (flops + vision) / seconds, matmul_ceiling(str(base.device), base.dtype)
            fields = {"tokens": tokens, "tokens_per_second": round(tokens / seconds, 1)}
            fields |= {"images_encoded": encoded, "vision_flops": vision}
            fields |= {"flops": flops + vision, "flops_per_second": round(rate)}
            fields |= {"ceiling_flops_per_second": round(ceiling)}
            fields |= {"share_of_ceiling": round(rate / ceiling, 4)}
        peak = sum(torch.cuda.max_memory_allocated(device) for device in self._gpus)
        if not self._gpus and resource is not None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak = peak if sys.platform == "darwin" else peak << 10
        return fields | ({"peak_memory_bytes": peak} if peak else {})


def base_shapes(base: Base) -> Shapes | None:
    """A loaded base's shapes, with its processor's limits; None if they are unknown."""
    try:
        shapes = parse_shapes(base.model.config.to_dict(), base.name)
    except DataError:
        return None
    size = dict(getattr(base.processor.image_processor, "size", None) or {})
    if {"shortest_edge", "longest_edge"} <= set(size):
        smallest, largest = size["shortest_edge"], size["longest_edge"]
        return replace(shapes, min_pixels=smallest, max_pixels=largest)
    return shapes


def lengths(base: Base, items: Sequence[Item]) -> list[int]:
    """Tokens of each item's row; [] if images are encoded in every forward, with unknown FLOPs."""
    path = forward_path(base, items)
    return [row.length for row in path.encode(items)] if hasattr(path, "vision_cache") else []


def _lora(base: Base, shapes: Shapes, recipe: Recipe) -> Lora:
    """The adapters of a recipe as this base trains them."""
    size, precision = base.dtype.itemsize, str(base.dtype).removeprefix("torch.")
    folded = cost.folding_pays(
        size * shapes.adapted_params(recipe.targets),
        precision,
        cpu=base.device.type == "cpu",
        dropout=recipe.dropout,
        quantization=base.quantization,
    )
    return Lora(recipe.rank, recipe.targets, folded)


def training_spent(
    base: Base, shapes: Shapes, jobs: Sequence[Any], recipe: Recipe
) -> tuple[int, int]:
    """Tokens and FLOPs of training, without vision; 0 if the rows' tokens are unknown."""
    words, lora = option_tokens(base.processor), _lora(base, shapes, recipe)
    read, tokens, flops = len(words.prefix) + max(map(len, words.suffixes)), 0.0, 0.0
    step = cache(
        lambda length: (
            cost.forward_flops(shapes, length, read, lora)
            + cost.backward_flops(shapes, length, lora, read)
        )
    )
    for job in jobs:
        rows = lengths(base, job.items)
        repeats = recipe.passes_for(len(job.items)) / len(job.items)
        tokens += repeats * sum(rows)
        flops += repeats * sum(step(length + read - 1) for length in rows)
        flops += recipe.steps_for(len(job.items)) * cost.folding_flops(shapes, lora)
    return round(tokens), round(flops)


def scoring_spent(
    base: Base, shapes: Shapes, items: Sequence[Item], recipe: Recipe
) -> tuple[int, int]:
    """Tokens and FLOPs of one adapter's option scores, without vision."""
    words, rows = option_tokens(base.processor), lengths(base, items)
    merged = base.device.type == "cpu" and base.mergeable
    lora = None if merged else _lora(base, shapes, recipe)
    forward, flops = cache(lambda n, read: cost.forward_flops(shapes, n, read, lora)), 0
    for length, item in zip(rows, items, strict=bool(rows)):
        tails = [1] if words.single else [len(tail) for tail in words.suffixes[: len(item.choices)]]
        flops += sum(forward(length + len(words.prefix) + read - 1, read) for read in tails)
    return sum(rows), flops


def _images_encoded(base: Base) -> int:
    """Images that the vision tower has encoded so far."""
    paths = base.paths.values()
    return sum(path.vision_cache.encoded for path in paths if hasattr(path, "vision_cache"))


def _image_flops(base: Base, shapes: Shapes, items: Sequence[Item]) -> float:
    """Vision FLOPs of an image, on average over the items' images."""
    flops = cache(
        lambda height, width: cost.vision_flops(
            shapes, *cost.grid(shapes, height, width, base.max_pixels)
        )
    )
    each = [flops(*keyed(image).shape[:2]) for item in items for image in item.images]
    return sum(each) / max(1, len(each))


def _now(base: Base) -> float:
    """The time once a GPU has finished its work."""
    _wait(base.device)
    return time.perf_counter()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
