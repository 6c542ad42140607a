"""What a fleet's training or scoring took, in the terms in which a plan is made.

A watch is started before the work and read after it: seconds, items, tokens, FLOPs (by `cost`, what
is computed twice counted once), the share of the device's own ceiling for matrix products, and peak
memory. Where a base's shapes are not known, or replies are generated, seconds and items are all.

In:   a base; afterwards what was trained or asked.
Out:  fields of a line in a study's log.

Writes nothing. Needs torch only where there is a base.
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from transferscope.errors import DataError
from transferscope.study import cost
from transferscope.study.cost import Lora
from transferscope.study.shapes import Shapes, parse_shapes
from transferscope.tasks import Item


class Spent(NamedTuple):
    """What the work amounted to."""

    tokens: int
    flops: int


class Watch:
    """Started when it is made."""

    def __init__(self, base: Any) -> None:
        self._base, self._shapes = base, base_shapes(base)
        self._looked = _looked(base)
        if _on_gpu(base):
            import torch

            for device in _devices(base):
                torch.cuda.reset_peak_memory_stats(device)
        self._begun = time.perf_counter()

    def trained(self, jobs: Sequence[Any], recipe: Any) -> dict[str, Any]:
        """The log's fields after a fleet was trained."""
        seconds = time.perf_counter() - self._begun
        passes = sum(recipe.passes_for(len(job.items)) for job in jobs)
        items, spent = [item for job in jobs for item in job.items], None
        if self._shapes is not None:
            self._shapes = as_run(self._base, self._shapes, items)
            spent = training_spent(self._base, self._shapes, jobs, recipe)
        return self._fields(passes, items, seconds, spent)

    def scored(
        self, adapters: int, items: Sequence[Item], recipe: Any, scoring: str
    ) -> dict[str, Any]:
        """The log's fields after so many adapters, or the base, were asked some items."""
        seconds, spent = time.perf_counter() - self._begun, None
        if self._shapes is not None and scoring == "letters":
            self._shapes = as_run(self._base, self._shapes, items)
            one = scoring_spent(self._base, self._shapes, items, recipe)
            spent = Spent(one.tokens * adapters, one.flops * adapters) if one else None
        return self._fields(len(items) * adapters, items, seconds, spent)

    def _fields(
        self, answered: int, items: Sequence[Item], seconds: float, spent: Spent | None
    ) -> dict[str, Any]:
        fields: dict[str, Any] = {"items": answered, "seconds": round(seconds, 3)}
        fields["items_per_second"] = round(answered / seconds, 2) if seconds else None
        if spent is not None and self._shapes is not None and seconds:
            looked = _looked(self._base) - self._looked
            vision = looked * _picture_flops(self._base, self._shapes, items)
            flops, ceiling = spent.flops + vision, _ceiling(self._base)
            fields |= {
                "tokens": spent.tokens,
                "tokens_per_second": round(spent.tokens / seconds, 1),
            }
            fields |= {"pictures_looked_at": looked, "vision_flops": vision, "flops": flops}
            fields |= {"flops_per_second": round(flops / seconds)}
            fields |= {"ceiling_flops_per_second": round(ceiling)}
            fields |= {"share_of_ceiling": round(flops / seconds / ceiling, 4)}
        peak = peak_memory(self._base)
        return fields | ({} if peak is None else {"peak_memory_bytes": peak})


def base_shapes(base: Any) -> Shapes | None:
    """A loaded base's shapes, with its processor's bounds; None where they are not known."""
    model = getattr(base, "model", None)
    if model is None:
        return None
    try:
        shapes = parse_shapes(model.config.to_dict(), base.name)
    except DataError:
        return None
    size = dict(getattr(base.processor.image_processor, "size", None) or {})
    if {"shortest_edge", "longest_edge"} <= set(size):
        return replace(shapes, smallest=size["shortest_edge"], largest=size["longest_edge"])
    return shapes


def as_run(base: Any, shapes: Shapes, items: Sequence[Item]) -> Shapes:
    """The shapes, small where these items run on the embedded bases' path."""
    from transferscope.engine.forward_paths import forward_path
    from transferscope.engine.glimpse.glimpse_path import GlimpsePath

    return replace(shapes, small=isinstance(forward_path(base, items), GlimpsePath))


def lengths(base: Any, items: Sequence[Item]) -> list[int]:
    """Tokens of each item's row; empty where pictures are looked at in every forward, whose work
    is not known."""
    from transferscope.engine.forward_paths import forward_path

    path = forward_path(base, items)
    return [row.length for row in path.encode(items)] if hasattr(path, "vision_cache") else []


def lora_of(base: Any, shapes: Shapes, recipe: Any) -> Lora:
    """The adapters of a recipe as this base trains them."""
    precision = str(base.dtype).removeprefix("torch.")
    alone = base.device.type == "cpu"
    folded = alone and cost.folding_pays(
        shapes, recipe.targets, precision, recipe.dropout, base.quantization
    )
    return Lora(recipe.rank, recipe.targets, folded)


def training_spent(base: Any, shapes: Shapes, jobs: Sequence[Any], recipe: Any) -> Spent | None:
    """Tokens and FLOPs of training, pictures left out; None where tokens are not known."""
    from transferscope.engine.forward_paths import option_tokens

    words, lora = option_tokens(base.processor), lora_of(base, shapes, recipe)
    read = len(words.prefix) + max(map(len, words.suffixes))
    counts: dict[int, float] = {}
    steps = 0
    for job in jobs:
        own = lengths(base, job.items)
        if not own:
            return None
        times = recipe.passes_for(len(own)) / len(own)
        for length in own:
            counts[length] = counts.get(length, 0) + times
        steps += recipe.steps_for(len(own))
    flops: float = steps * cost.folding_flops(shapes, lora)
    for length, count in counts.items():
        said = length + read - 1
        each = cost.step_flops(shapes, lora, [said], read=read) - cost.folding_flops(shapes, lora)
        flops += count * each
    tokens = sum(length * count for length, count in counts.items())
    return Spent(round(tokens), round(flops))


def scoring_spent(base: Any, shapes: Shapes, items: Sequence[Item], recipe: Any) -> Spent | None:
    """Tokens and FLOPs of one adapter's letters, pictures left out; None: tokens are not known."""
    from transferscope.engine.forward_paths import option_tokens

    words, own = option_tokens(base.processor), lengths(base, items)
    if not own:
        return None
    merged = base.device.type == "cpu" and base.mergeable
    lora = None if merged else lora_of(base, shapes, recipe)
    tails = [1] if words.single else [len(its) for its in words.suffixes]
    flops = 0
    for length, count in Counter(
        zip(own, (len(its.choices) for its in items), strict=True)
    ).items():
        for read in tails[: length[1]]:
            said = length[0] + len(words.prefix) + read - 1
            flops += count * cost.forward_flops(shapes, said, read, lora)
    return Spent(sum(own), flops)


def peak_memory(base: Any) -> int | None:
    """Bytes: of the base's GPUs since the watch was started, else of this process so far."""
    if _on_gpu(base):
        import torch

        return sum(torch.cuda.max_memory_allocated(device) for device in _devices(base))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _devices(base: Any) -> list[Any]:
    from transferscope.engine.devices import layers_by_device

    return list(layers_by_device(base.model))


def _on_gpu(base: Any) -> bool:
    return hasattr(base, "device") and base.device.type == "cuda"


def _looked(base: Any) -> int:
    """Pictures that the vision tower has looked at so far."""
    paths = getattr(base, "paths", {}).values()
    return sum(path.vision_cache.encoded for path in paths if hasattr(path, "vision_cache"))


def _picture_flops(base: Any, shapes: Shapes, items: Sequence[Item]) -> int:
    """Of a picture, on average over the items'."""
    from transferscope.engine.vision_cache import keyed

    sizes = [keyed(picture).shape for item in items for picture in item.images]
    grids = Counter(cost.grid(shapes, size[0], size[1], base.max_pixels) for size in sizes)
    total = sum(
        cost.vision_flops(shapes, rows, columns) * count for (rows, columns), count in grids.items()
    )
    return round(total / max(1, len(sizes)))


def _ceiling(base: Any) -> float:
    from transferscope.engine.ceiling import matmul_ceiling

    return matmul_ceiling(str(base.device), base.dtype)
