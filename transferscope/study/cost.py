"""FLOPs and bytes of a forward and a training step, as plain functions of a model's shapes.

A multiply-add is two FLOPs. Matrix products are counted, attention's among them; norms, activations
and other elementwise work are below 1 % at the sizes that matter and are not. Attention is counted
in full, as usual for a share of a device's peak (Chowdhery et al., PaLM, appendix B), though a
causal kernel may skip half of it. Padding is not counted.

`plan` and the engine decide by the same functions what fits in memory and what runs folded.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transferscope.study.shapes import Shapes

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number, by precision."""

FOLDED_BYTES = 256 << 20
"""Largest base weights to which a CPU adds the adapter's product in each forward."""

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a number in NF4: four bits, a one-byte constant per 64 numbers, and a four-byte
constant per 256 of those (Dettmers et al., QLoRA, section 3: 0.127 bits beside the four)."""

SHARE = 0.7
"""Share of the memory beside the weights that training may take."""

OPTIMIZER_STATES = 6
"""Float32 numbers per adapter parameter: itself, its gradient, two moments, and two temporary
ones in the optimizer step."""

SCORING_LAYERS = 2
"""Layers whose activations live at once without a backward."""

GLIMPSE_PIXELS = 112
"""Pixels along an edge of every image in the embedded bases' forward."""

_KEYS = ("self_attn.k_proj", "self_attn.v_proj")
_ATTENTION = "attention"
_ORDER = (
    ("self_attn.q_proj", *_KEYS),
    (_ATTENTION,),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
"""The products of a layer in the order of the forward; those of one group have one input."""


class Lora(NamedTuple):
    """The adapter on a frozen base."""

    rank: int
    targets: tuple[str, ...]
    """Names of linear layers, as a recipe gives them."""
    folded: bool = False
    """Whether the factors' product is added to the weights in each forward."""


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


# Tokens


def grid(shapes: Shapes, height: int, width: int, limit: int | None = None) -> tuple[int, int]:
    """Rows and columns of patches of an image.

    Qwen's processors round both edges to whole tokens and keep the area within limits and the
    aspect ratio nearly; other towers, and the embedded bases' path, resize every image to one size.

    Args:
        limit: most pixels, in place of the processor's limit.
    """
    vision = shapes.vision
    if vision.image_size or shapes.small:
        edge = (vision.image_size or GLIMPSE_PIXELS) // vision.patch_size
        return edge, edge
    largest = shapes.max_pixels if limit is None else limit
    smallest = min(shapes.min_pixels, largest)
    edge = vision.patch_size * vision.merge_size
    rows, columns = (max(1, round(side / edge)) for side in (height, width))
    area = rows * columns * edge**2
    if area > largest:
        scale = math.sqrt(height * width / largest)
        rows, columns = (max(1, math.floor(side / scale / edge)) for side in (height, width))
    elif area < smallest:
        scale = math.sqrt(smallest / (height * width))
        rows, columns = (math.ceil(side * scale / edge) for side in (height, width))
    return rows * vision.merge_size, columns * vision.merge_size


def image_tokens(shapes: Shapes, rows: int, columns: int) -> int:
    """Tokens of an image with this many patches."""
    return rows * columns // shapes.vision.merge_size**2


# FLOPs


def forward_flops(shapes: Shapes, length: int, read: int = 1, lora: Lora | None = None) -> int:
    """One sequence of `length` tokens through the language model, with logits at `read` places.

        layers x (2 x weights x length + 4 x length^2 x heads x head size)
            + 2 x read x hidden size x vocabulary

    An adapter that is not folded adds 2 x rank x (in + out) per token and layer. The last layer of
    the embedded bases' path computes only keys and values at the other places.
    """
    total = 2 * read * shapes.hidden_size * shapes.vocab_size
    adapted = shapes.adapted(lora.targets) if lora and not lora.folded else set()
    linears = shapes.linears()
    for layer in range(shapes.num_layers):
        queries = read if shapes.small and layer == shapes.num_layers - 1 else length
        total += 4 * queries * length * shapes.num_heads * shapes.head_dim
        for name, (rows, columns) in linears.items():
            tokens = length if name in _KEYS else queries
            total += 2 * rows * columns * tokens
            if lora and name in adapted:
                total += 2 * lora.rank * (rows + columns) * tokens
    return total


def backward_flops(shapes: Shapes, length: int, lora: Lora, read: int = 1) -> int:
    """The backward of one sequence: gradients of activations and factors, not of the base.

    The gradient of each linear layer's input costs as much as its forward, so training costs two
    forwards and not three. No gradient flows below the first adapter. Attention costs two and a
    half forwards, as fused kernels compute its scores again. The factors cost 4 x rank x
    (in + out) per token if folded, else 4 x rank x out + 2 x rank x in, and 2 x rank x in more if
    the gradient flows on.
    """
    total = 2 * read * shapes.hidden_size * shapes.vocab_size
    adapted, linears, below = shapes.adapted(lora.targets), shapes.linears(), False
    for layer in range(shapes.num_layers):
        queries = read if shapes.small and layer == shapes.num_layers - 1 else length
        for group in _ORDER:
            if group == (_ATTENTION,):
                attention = 4 * queries * length * shapes.num_heads * shapes.head_dim
                total += 5 * attention // 2 if below else 0
                continue
            for name in group:
                rows, columns = linears[name]
                tokens = length if name in _KEYS else queries
                total += 2 * rows * columns * tokens if below else 0
                if name in adapted:
                    for_input = columns if below or lora.folded else 0
                    total += 2 * lora.rank * (2 * rows + columns + for_input) * tokens
            below = below or bool(adapted & set(group))
    return total


def step_flops(
    shapes: Shapes, lora: Lora, lengths: Sequence[int], *, read: int = 1, again: bool = False
) -> int:
    """Training on one batch of sequences, without the optimizer.

    Args:
        again: whether the backward computes activations again: one forward more.
    """
    forward = sum(forward_flops(shapes, length, read, lora) for length in lengths)
    backward = sum(backward_flops(shapes, length, lora, read) for length in lengths)
    return (1 + again) * (forward + folding_flops(shapes, lora)) + backward


def folding_flops(shapes: Shapes, lora: Lora) -> int:
    """Adding an adapter to the weights: 2 x rank x in x out for each layer it adapts."""
    return 2 * lora.rank * shapes.adapted_params(lora.targets) if lora.folded else 0


def vision_flops(shapes: Shapes, rows: int, columns: int) -> int:
    """One image of this many patches through the vision tower and the merger or projector."""
    v, patches = shapes.vision, rows * columns
    # The embedded bases' path sums the kernel over its frames, which see the same image.
    frames = 1 if shapes.small else v.frames
    embedding = 2 * v.channels * frames * v.patch_size**2 * v.hidden_size * patches
    weights = 4 * v.hidden_size**2 + (3 if v.gated else 2) * v.hidden_size * v.intermediate_size
    pairs = patches**2 * (v.full_layers if v.window else v.num_layers)
    if v.window:  # windows at the edges are smaller
        squares = [n // v.window * v.window**2 + (n % v.window) ** 2 for n in (rows, columns)]
        pairs += math.prod(squares) * (v.num_layers - v.full_layers)
    joined, tokens = v.hidden_size * v.merge_size**2, patches // v.merge_size**2
    merger = 2 * tokens * (joined**2 + joined * v.out_size)
    if v.image_size:
        merger = 2 * tokens * (v.hidden_size * v.out_size + v.out_size**2)
    layers = v.num_layers * 2 * weights * patches + 4 * v.hidden_size * pairs
    return embedding + layers + (1 + v.deepstack) * merger


def folding_pays(
    size: int, precision: str, *, cpu: bool, dropout: float, quantization: str | None
) -> bool:
    """Whether to add the factors' product to the weights: on a CPU, for small full-precision ones.

    Args:
        size: bytes of the adapted base weights, of all adapters in one forward.
    """
    plain = precision in ("float32", "float64") and quantization is None
    return cpu and plain and not dropout and size <= FOLDED_BYTES


# Bytes


def free_memory() -> int | None:
    """Bytes that this process may still take, within its container; None if unknown."""

    def text(path: str) -> str:
        try:
            return Path(path).read_text(encoding="ascii").strip()
        except OSError:  # not Linux, or no control group
            return ""

    sizes = dict(line.split(":", 1) for line in text("/proc/meminfo").splitlines() if ":" in line)
    found = [int(sizes["MemAvailable"].split()[0]) << 10] if "MemAvailable" in sizes else []
    limit, used = (text(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        found.append(max(0, int(limit) - int(used)))
    return min(found, default=None)


def weights_bytes(shapes: Shapes, precision: str, quantization: str | None = None) -> int:
    """A base's weights. NF4 stores the language model's linear layers; the rest has `precision`."""
    quantized = 0 if quantization is None else shapes.adapted_params(("all",))
    return round(quantized * NF4) + (shapes.num_params - quantized) * BYTES[precision]


def token_bytes(hidden: int, intermediate: int, layers: int, number: int) -> int:
    """The activations of one token, at most, in `layers` layers.

    14 x hidden size for a layer's inputs, norms, queries, keys, values and attention, 5 x
    intermediate size for its feed-forward block: a count of the tensors that autograd keeps.

    Args:
        number: bytes of a number.
    """
    return (14 * hidden + 5 * intermediate) * layers * number


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
