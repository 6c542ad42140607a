"""FLOPs and bytes of a forward and a training step, as plain functions of a model's shapes.

A multiply-add is two FLOPs. Matrix products are counted, attention's among them; norms, activations
and other elementwise work are not, nor is padding. Attention is counted in full, as usual for a
share of a device's peak (Chowdhery et al., PaLM, appendix B), though a causal kernel may skip half.
The embedded bases count as any other model, though their path computes less in the last layer.

`plan` and the engine decide by the same functions what fits in memory.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

from transferscope.study import Recipe
from transferscope.study.shapes import Shapes

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number, by precision."""

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a number in NF4: four bits, a one-byte constant per 64 numbers, and a four-byte
constant per 256 of those (Dettmers et al., QLoRA, section 3: 0.127 bits beside the four)."""

SHARE = 0.7
"""Share of the memory beside the weights that training may take."""

OPTIMIZER_STATES = 6
"""Float32 numbers per adapter parameter: itself, its gradient, two moments, and two temporary
ones in the optimizer step."""

SCORING_LAYERS = 1
"""Layers whose activations live at once without a backward: a forward's peak is 0.9 of one."""


class MemoryPlan(NamedTuple):
    """What one training forward holds."""

    adapters: int
    """Adapters per group."""
    parts: int
    """Microbatches of a batch, one after another."""
    checkpointing: bool
    """Whether the backward computes activations again."""

    def smaller(self, batch: int) -> "MemoryPlan | None":
        """The next plan to try; None after the last. Adapters stay, as their training has begun."""
        if self.parts < batch:
            return self._replace(parts=min(2 * self.parts, batch))
        return None if self.checkpointing else self._replace(checkpointing=True)


def grid(shapes: Shapes, height: int, width: int, limit: int | None = None) -> tuple[int, int]:
    """Rows and columns of patches of an image.

    Qwen's processors round both edges to whole tokens and keep the area within limits and the
    aspect ratio nearly; other towers resize every image to one size.

    Args:
        limit: most pixels, in place of the processor's limit.
    """
    vision = shapes.vision
    if vision.image_size:
        edge = max(1, vision.image_size // vision.patch_size)
        return edge, edge
    largest = shapes.max_pixels if limit is None else limit
    smallest = min(shapes.min_pixels, largest)
    edge = vision.patch_size * vision.spatial_merge_size
    rows, columns = (max(1, round(side / edge)) for side in (height, width))
    area = rows * columns * edge**2
    if area > largest:
        scale = math.sqrt(height * width / largest)
        rows, columns = (max(1, math.floor(side / scale / edge)) for side in (height, width))
    elif area < smallest:
        scale = math.sqrt(smallest / (height * width))
        rows, columns = (math.ceil(side * scale / edge) for side in (height, width))
    return rows * vision.spatial_merge_size, columns * vision.spatial_merge_size


def forward_flops(shapes: Shapes, length: int) -> int:
    """One sequence of `length` tokens through the language model, with logits at one place.

    2 x weights x length + 4 x layers x length^2 x heads x head size + 2 x hidden size x vocabulary
    """
    return (
        2 * shapes.linear_params * length
        + _attention_flops(shapes, length)
        + 2 * shapes.hidden_size * shapes.vocab_size
    )


def training_flops(shapes: Shapes, length: int, adapter_params: int, *, again: bool) -> int:
    """Forward and backward of one sequence with an adapter over a frozen base.

    Gradients of the base's weights are not needed, so the backward costs what the forward costs,
    but for attention two and a half times as much, as fused kernels compute its scores again. The
    factors cost 2 x parameters x length in the forward and twice that in the backward.

    Args:
        again: whether the backward computes activations again: one forward more.
    """
    factors = 2 * adapter_params * length
    forward = forward_flops(shapes, length) + factors
    backward = forward + factors + 3 * _attention_flops(shapes, length) // 2
    return (1 + again) * forward + backward


def full_training_flops(shapes: Shapes, length: int, *, again: bool) -> int:
    """As `training_flops`, where every weight of the language model is trained."""
    return (3 + again) * forward_flops(shapes, length) + _attention_flops(shapes, length) // 2


def _attention_flops(shapes: Shapes, length: int) -> int:
    return 4 * shapes.num_layers * length**2 * shapes.num_heads * shapes.head_dim


def vision_flops(shapes: Shapes, rows: int, columns: int) -> int:
    """One image of this many patches through the vision tower and the merger or projector."""
    vision, patches = shapes.vision, rows * columns
    embedding = 3 * vision.temporal_patch_size * vision.patch_size**2 * vision.hidden_size
    merged = 2 * shapes.merger_params * shapes.image_tokens(rows, columns)
    products = 2 * (embedding + vision.layer_params) * patches
    return products + 4 * vision.hidden_size * vision.attention_pairs(patches) + merged


def free_memory() -> int | None:
    """Bytes that this process may still take, within its container; None if unknown."""

    def text(path: str) -> str:
        try:
            return Path(path).read_text(encoding="ascii", errors="replace").strip()
        except OSError:  # not Linux, or no control group
            return ""

    sizes = dict(line.split(":", 1) for line in text("/proc/meminfo").splitlines() if ":" in line)
    found = [int(sizes["MemAvailable"].split()[0]) << 10] if "MemAvailable" in sizes else []
    # Weights that are mapped from their files count as available, but every step needs them.
    for line in text("/proc/self/maps").splitlines() if found else ():
        if line.endswith(".safetensors"):
            start, end = (int(place, 16) for place in line.split()[0].split("-"))
            found[0] -= end - start
    limit, used = (text(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        found.append(max(0, int(limit) - int(used)))
    return max(0, min(found)) if found else None


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def weights_bytes(shapes: Shapes, precision: str, quantization: str | None = None) -> int:
    """A base's weights. NF4 stores the language model's linear layers; the rest has `precision`."""
    quantized = 0 if quantization is None else shapes.linear_params
    return round(quantized * NF4) + (shapes.num_params - quantized) * BYTES[precision]


def token_bytes(hidden: int, intermediate: int, layers: int, number: int) -> int:
    """The activations of one token that autograd keeps of `layers` layers with LoRA.

    Of hidden size: the inputs of q, k and v, of o, and of gate and up; the queries; the keys and
    values; and in float32 the inputs of both norms. Of intermediate size: gate, its SiLU, up, and
    the input of down. Keys and values count as wide as queries. They are narrower in most models,
    which leaves 5 to 6 % for a backward's gradients (0.4 layers at most) and for norms of heads.

    Args:
        number: bytes of a number.
    """
    return ((4 * intermediate + 6 * hidden) * number + 2 * hidden * 4) * layers


def kept_activations(recipe: Recipe) -> float:
    """What a recipe keeps, as a multiple of `token_bytes`: counted, and rounded up."""
    if recipe.peft is not None:  # inputs in float32, and DoRA's products
        return 3.0
    return 1.3 if recipe.dropout or recipe.method == "full" else 1.0  # masks; a float32 copy


def activation_bytes(shapes: Shapes, precision: str, *, training: bool) -> int:
    """The activations of one token: of every layer in training, else of two layers."""
    layers = shapes.num_layers if training else SCORING_LAYERS
    return token_bytes(shapes.hidden_size, shapes.intermediate_size, layers, BYTES[precision])


def adapter_bytes(num_params: int) -> int:
    """An adapter in training, with its gradient and optimizer states."""
    return 4 * OPTIMIZER_STATES * num_params


def fits(free: float, batch: int, row: int, adapter: int, *, alone: bool) -> MemoryPlan:
    """What trains at once. If memory is short: fewer adapters, then microbatches, then
    checkpointing.

    Args:
        free: bytes beside the weights.
        batch: rows of one adapter's batch.
        row: bytes of one row's activations.
        adapter: bytes of an adapter in training.
        alone: whether adapters never share a forward.
    """
    usable = SHARE * max(0.0, free)
    if adapters := int(usable // max(1, batch * row + adapter)):
        return MemoryPlan(1 if alone else adapters, 1, False)
    rows = int(max(0.0, usable - adapter) // max(1, row))
    return MemoryPlan(1, -(-batch // max(1, rows)), rows == 0)
