"""What a study will cost on a device, before anything is loaded: tokens, FLOPs, memory and time.

A few items of every task stand for the others. Text tokens are estimated without a tokenizer. FLOPs
follow from the plan and the model's shapes (`cost`). Time needs one rate for each step: measured
(`engine.profiling`) or given by the user; without rates there are no times.

In:   a plan; a model's shapes; a device.
Out:  a `ModelCost` for each model.

Draws items, opens no file, needs no torch.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

from transferscope.study import cost
from transferscope.study.cost import MemoryPlan
from transferscope.study.plan import Plan, Run
from transferscope.study.shapes import Shapes
from transferscope.tasks import Item, Split
from transferscope.tasks.choices import fixed_choices

GIB = 1 << 30
SAMPLED = 6
"""Items drawn of each task and split."""
PROCESS = 400 << 20
"""Bytes of a process with torch and transformers loaded; measured on Linux."""

_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_+|\n+")

Key = tuple[str, Split]
"""A task and a split of it."""


class Device(NamedTuple):
    """Where a study will run."""

    name: str
    gpu: bool
    memory: int | None
    """Free bytes; None if unknown."""
    processes: int = 1
    """That share the work, each with one thread; 1: a single one, with a thread per core."""


class Rates(NamedTuple):
    """FLOPs per second of each step on a device, in FLOPs as this module estimates them."""

    vision: float | None
    """None if images are encoded within the forward."""
    train: float
    score: float


class Sample(NamedTuple):
    """Items that stand for the others."""

    items: dict[Key, list[Item]]
    sizes: dict[Key, list[list[tuple[int, int]]]]
    """Height and width of each item's images."""
    available: dict[Key, int]
    """Items that the split has."""
    seconds: float
    """To draw or read one item."""


class ItemWork(NamedTuple):
    """One item of a task: means over the sampled items."""

    tokens: float
    longest: int
    """Tokens of the longest item."""
    largest: int
    """Tokens of the largest image."""
    images: float
    vision: float
    """FLOPs of encoding the images."""
    training: float
    """FLOPs of a forward and a backward, without the forward of vision."""
    scoring: float
    """FLOPs of a forward, without vision."""
    feature_bytes: float
    pixel_bytes: float


@dataclass(frozen=True)
class ModelCost:
    """One model's part of a study: counts, FLOPs, bytes and seconds (None without rates)."""

    parameters: int
    train_items: int
    train_tokens: int
    train_flops: int
    score_items: int
    score_tokens: int
    score_flops: int
    images: int
    """Distinct images."""
    largest_image_tokens: int
    images_encoded: int
    """More than the distinct images if their features do not stay in memory or on disk, or the
    family has no path of its own."""
    vision_flops: int
    flops: int
    weights_bytes: int
    features_bytes: int
    """Vision features in memory, within their budget."""
    features_wanted_bytes: int
    """Vision features of all images."""
    adapters_bytes: int
    training_bytes: int
    """Activations of a training forward."""
    scoring_bytes: int
    """Activations of a scoring forward."""
    host_bytes: int
    """The process and an embedded suite's images, in the computer's memory."""
    peak_memory_bytes: int
    """On the device; on a CPU with the processes and their images."""
    adapters_at_once: int
    microbatches: int
    checkpointing: bool
    fits: bool | None
    """None if the device's memory is unknown."""
    reading_seconds: float
    vision_seconds: float | None = None
    train_seconds: float | None = None
    score_seconds: float | None = None
    seconds: float | None = None
    seconds_left: float | None = None
    """Without what the results folder has already."""
    longest_shard_seconds: float | None = None


def sample(plan: Plan) -> Sample:
    """A few evenly spread items of each task and split in a plan, with images decoded."""
    keys: dict[Key, None] = {(name, "eval"): None for name in plan.targets}
    keys |= {(name, "train"): None for parts in plan.parts.values() for name in parts}
    begun, found = time.perf_counter(), Sample({}, {}, {}, 0.0)
    for key in keys:
        task, split = key
        assumed = split == "train" and task in plan.assumed
        items = plan.items.split(task, "eval" if assumed else split)
        count = min(SAMPLED, len(items))
        found.available[key] = plan.recipe.items if assumed else len(items)
        found.items[key] = [items[k * len(items) // count] for k in range(count)]
        shapes = [[image.pixels().shape for image in item.images] for item in found.items[key]]
        found.sizes[key] = [[(shape[0], shape[1]) for shape in one] for one in shapes]
    drawn = max(1, sum(map(len, found.items.values())))
    return found._replace(seconds=(time.perf_counter() - begun) / drawn)


def text_tokens(text: str) -> int:
    """Tokens of a text, nearly: one per word, digit, run of marks and run of line ends.

    Byte-pair tokenizers split English so before they merge. Rare words take more tokens, so this
    is a little low.
    """
    return len(_PIECE.findall(text))


class CostEstimate:
    """One model's part of a plan on a device."""

    def __init__(
        self, plan: Plan, sampled: Sample, model: str, shapes: Shapes, device: Device
    ) -> None:
        self.plan, self.sampled, self.model = plan, sampled, model
        self.shapes, self.device = shapes, device
        self.recipe = recipe = plan.study.recipe_of(model)
        self.runs = [run for run in plan.runs if run.model == model]
        self.shards = [shard.runs for shard in plan.shards if shard.model == model]
        self.full = recipe.method == "full"
        self.adapter_params = shapes.num_params
        if not self.full:
            self.adapter_params = shapes.adapter_params(recipe.targets, recipe.rank)
        self.weights_bytes = cost.weights_bytes(
            shapes, recipe.precision, plan.study.models[model].quantization
        )
        self.work = {key: self._item_work(key) for key in sampled.items}

    def cost(self, rates: Rates | None = None, left: float = 1.0) -> ModelCost:
        """The cost; without rates there are no times.

        Args:
            left: the share of the work that the results folder does not have yet.
        """
        memory, answers, distinct = self.memory(), self._answers(), self._distinct()
        shapes = self.shapes
        if memory["checkpointing"]:
            self.work = {key: self._item_work(key, again=True) for key in self.work}
        train = {run: self._total(self._passes(run), "training") for run in self.runs}
        passes: Counter[Key] = Counter()
        for run in self.runs:
            passes.update(self._passes(run))
        encoded: Mapping[Key, float] = distinct
        budget = self.plan.study.budget
        limit = max(budget.memory, budget.disk) * GIB  # features in memory may be on disk too
        if not shapes.exact:  # on the reference path, with every row of a forward
            encoded = {**passes, **{key: len(self.runs) * n for key, n in answers.items()}}
        elif self.full or memory["features_wanted_bytes"] > limit:
            # Each pass encodes its training images again, and each shard those of the targets.
            times = 1 + len(self.shards)
            targets: dict[Key, float] = {
                (task, "eval"): n * times for task, n in self.plan.targets.items()
            }
            encoded = {**passes, **targets}
        drawn = sum(sum(self._parts(run).values()) for run in self.runs)
        vision, score = self._total(encoded, "vision"), self._total(answers, "scoring")
        runs, train_flops = len(self.runs), sum(train.values())
        found = ModelCost(
            parameters=shapes.num_params,
            train_items=round(passes.total()),
            train_tokens=round(self._total(passes, "tokens")),
            train_flops=round(train_flops),
            score_items=round(runs * sum(answers.values())),
            score_tokens=round(runs * self._total(answers, "tokens")),
            score_flops=round(runs * score),
            images=round(self._total(distinct, "images")),
            largest_image_tokens=max(work.largest for work in self.work.values()),
            images_encoded=round(self._total(encoded, "images")),
            vision_flops=round(vision),
            flops=round(train_flops) + round(runs * score) + round(vision),
            reading_seconds=self.sampled.seconds * (drawn + self.plan.eval_count),
            **memory,
        )
        if rates is None:
            return found
        seconds = {run: flops / rates.train + score / rates.score for run, flops in train.items()}
        steps = {
            "vision_seconds": found.vision_flops / rates.vision if rates.vision else 0.0,
            "train_seconds": found.train_flops / rates.train,
            "score_seconds": found.score_flops / rates.score,
        }
        longest = max((sum(seconds[run] for run in runs) for runs in self.shards), default=0.0)
        total = found.reading_seconds + sum(steps.values())
        steps |= {"seconds": total, "seconds_left": left * total, "longest_shard_seconds": longest}
        return replace(found, **steps)

    def memory(self) -> dict[str, Any]:
        """The peak memory, and what the engine does to make it fit, as fields of `ModelCost`."""
        shapes, recipe, study = self.shapes, self.recipe, self.plan.study
        gpu, free, precision = self.device.gpu, self.device.memory, recipe.precision
        trained = {key for run in self.runs for key in self._passes(run)}
        longest = max((self.work[key].longest for key in trained), default=0)
        token = cost.activation_bytes(shapes, precision, training=True)
        row = round(longest * token * cost.kept_activations(recipe))
        adapter = cost.adapter_bytes(self.adapter_params)
        most = max((len({run.finished for run in runs}) for runs in self.shards), default=1)
        plan = MemoryPlan(most if gpu else 1, 1, False)
        if free is not None and trained:
            left = free - self.weights_bytes
            plan = cost.fits(left, recipe.batch_size, row, adapter, alone=not gpu)
            plan = plan._replace(adapters=min(most, plan.adapters))
        rows = plan.adapters * -(-recipe.batch_size // plan.parts)
        training, adapters = rows * row, plan.adapters * adapter if trained else 0
        if plan.checkpointing:  # one layer's activations, and the inputs of every layer
            kept = shapes.num_layers * shapes.hidden_size * cost.BYTES[precision]
            training = training // shapes.num_layers + rows * longest * kept
        scored = max(self.work[task, "eval"].longest for task in self.plan.targets)
        scored *= min(study.evaluation.batch_size, round(sum(self._answers().values())))
        scoring = scored * cost.activation_bytes(shapes, precision, training=False)
        wanted = round(self._total(self._distinct(), "feature_bytes")) if shapes.exact else 0
        features, host = min(round(study.budget.memory * GIB), wanted), PROCESS
        if self.plan.items.stable:  # images are drawn, and kept while a shard needs them
            pixels = fmean(work.pixel_bytes for work in self.work.values())
            host += round(pixels * (self.plan.eval_count + most * recipe.items))
        peak = self.weights_bytes + features + max(adapters + training, scoring)
        peak = (peak + (0 if gpu else host)) * self.device.processes
        return {
            "weights_bytes": self.weights_bytes,
            "features_bytes": features,
            "features_wanted_bytes": wanted,
            "adapters_bytes": adapters,
            "training_bytes": training,
            "scoring_bytes": scoring,
            "host_bytes": host,
            "peak_memory_bytes": peak,
            "adapters_at_once": plan.adapters,
            "microbatches": plan.parts,
            "checkpointing": plan.checkpointing,
            "fits": None if free is None else peak <= free,
        }

    def _item_work(self, key: Key, *, again: bool = False) -> ItemWork:
        """The work of one item of a task; `again`: with a second forward for checkpointing."""
        shapes, items, sizes = self.shapes, self.sampled.items[key], self.sampled.sizes[key]
        # A chat template's tokens around the text; Qwen2-VL's has a system prompt of 11.
        around = 19 if shapes.family in ("qwen2_vl", "qwen2_5_vl") else 8
        around = 5 if self.plan.study.models[self.model].embedded else around
        features = shapes.hidden_size * (1 + len(shapes.vision.deepstack_visual_indexes))
        limit = self.recipe.max_pixels
        grids = [[cost.grid(shapes, *size, limit) for size in one] for one in sizes]
        of_image = [[shapes.image_tokens(*grid) for grid in one] for one in grids]
        tokens = list(map(sum, of_image))
        lengths = [
            text_tokens(item.prompt) + around + 2 * len(item.images) + of_images
            for item, of_images in zip(items, tokens, strict=True)
        ]
        vision = fmean(sum(cost.vision_flops(shapes, *g) for g in one) for one in grids)
        training, more = partial(cost.training_flops, adapter_params=self.adapter_params), 0.0
        if self.full:  # with the backward of the vision tower
            training, more = cost.full_training_flops, 2 * vision
        return ItemWork(
            tokens=fmean(lengths),
            longest=max(lengths),
            largest=max(count for one in of_image for count in one),
            images=fmean(map(len, grids)),
            vision=vision,
            training=fmean(training(shapes, length, again=again) for length in lengths) + more,
            scoring=fmean(cost.forward_flops(shapes, length) for length in lengths),
            feature_bytes=features * cost.BYTES[self.recipe.precision] * fmean(tokens),
            pixel_bytes=fmean(sum(3 * height * width for height, width in one) for one in sizes),
        )

    def _answers(self) -> dict[Key, float]:
        """Forwards of one run for each target: one for each item, or rotation of its options."""
        found: dict[Key, float] = {}
        for task, count in self.plan.targets.items():
            items, turns = self.sampled.items[task, "eval"], 1.0
            if self.plan.study.evaluation.choice_order != "given" and not fixed_choices(items):
                turns = fmean(max(1, len(item.choices)) for item in items)
            found[task, "eval"] = count * turns
        return found

    def _parts(self, run: Run) -> dict[str, int]:
        return self.plan.parts[run.source or ""] if run.trained else {}

    def _passes(self, run: Run) -> dict[Key, float]:
        """Training items of each task in all of a run's steps, repeated ones counted again."""
        parts = self._parts(run)
        drawn = sum(parts.values())
        repeats = self.recipe.passes_for(drawn) / drawn if drawn else 0.0
        return {(task, "train"): repeats * n for task, n in parts.items()}

    def _distinct(self) -> dict[Key, float]:
        """Items of each task that are used at all; at most, as training sets overlap."""
        found: Counter[Key] = Counter({(task, "eval"): n for task, n in self.plan.targets.items()})
        for run in self.runs:
            found.update({(task, "train"): n for task, n in self._parts(run).items()})
        return {key: min(n, self.sampled.available[key]) for key, n in found.items()}

    def _total(self, counts: Mapping[Key, float], field: str) -> float:
        return sum(n * getattr(self.work[key], field) for key, n in counts.items())


def least_seconds(costs: Iterable[ModelCost], workers: int) -> float | None:
    """A bound on the makespan: no schedule on this many workers is faster. None without times.

    An even share of all work, or the longest shard; loading bases is not counted.
    """
    found = list(costs)
    seconds = [each.seconds for each in found if each.seconds is not None]
    longest = [each.longest_shard_seconds or 0.0 for each in found]
    return max(sum(seconds) / workers, *longest) if len(seconds) == len(found) else None
