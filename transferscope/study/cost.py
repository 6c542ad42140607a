"""What a forward and a training step cost: tokens, FLOPs and bytes, as plain functions of shapes.

A multiply-add is two FLOPs. Matrix products are counted, attention's among them; norms, activations
and other elementwise work, below 1 % at the sizes that cost anything, are not. Attention is counted
whole, as is usual where the share of a device's peak is told (Chowdhery et al., PaLM, appendix B),
though a kernel may leave out the causal half. Tokens are those of the questions; padding is not
counted.

In:   `Shapes`, and how long the questions are.
Out:  numbers.

Opens no file and knows no torch.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from transferscope.study.shapes import Shapes, Vision

BYTES = {"float32": 4, "bfloat16": 2}
"""Of a number, by precision."""

FOLDED_BYTES = 256 << 20
"""Most bytes of weights that are folded with an adapter's factors in each forward."""

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a number in NF4: four bits, a constant of one byte for 64 of them, and a constant of
four for 256 of those (Dettmers et al., QLoRA, section 3: 0.127 bits a number beside the four)."""

SHARE = 0.7
"""Part of the memory left beside the weights that training may take."""

STATES = 6
"""Float32 numbers for each number of an adapter: itself, its gradient, two moments, and two that
live while the optimiser steps."""

SCORING_LAYERS = 2
"""Layers whose activations live at once where no backward follows."""

SIDE = 112
"""Pixels along an edge of every picture on the embedded bases' path."""


class Lora(NamedTuple):
    """What is trained beside the frozen base."""

    rank: int
    targets: tuple[str, ...]
    """Names of linear layers, as a recipe gives them."""
    folded: bool = False
    """Whether the factors are added to the weights in each forward."""


class Room(NamedTuple):
    """What one training forward holds."""

    adapters: int
    """Adapters of one squad."""
    parts: int
    """Parts of a batch, one after another."""
    checkpointing: bool
    """Whether activations are computed again in the backward."""

    def smaller(self, batch: int) -> "Room | None":
        """The next thing to try; None where all has been tried. Adapters stay: they have begun."""
        if self.parts < batch:
            return self._replace(parts=min(2 * self.parts, batch))
        return None if self.checkpointing else self._replace(checkpointing=True)


# Tokens.


def grid(shapes: Shapes, height: int, width: int, most: int | None = None) -> tuple[int, int]:
    """Rows and columns of patches of a picture.

    Qwen's processors round both edges to whole tokens and keep the area within bounds, the shape
    nearly as it is; other towers, and the embedded bases' own path, see every picture at one size.

    Args:
        most: pixels at most, in place of the processor's own bound.
    """
    vision = shapes.vision
    if vision.side or shapes.small:
        edge = (vision.side or SIDE) // vision.patch
        return edge, edge
    largest = shapes.largest if most is None else most
    smallest = min(shapes.smallest, largest)
    edge = vision.patch * vision.merge
    rows, columns = (max(1, round(side / edge)) for side in (height, width))
    area = rows * columns * edge**2
    if area > largest:
        scale = math.sqrt(height * width / largest)
        rows, columns = (max(1, math.floor(side / scale / edge)) for side in (height, width))
    elif area < smallest:
        scale = math.sqrt(smallest / (height * width))
        rows, columns = (math.ceil(side * scale / edge) for side in (height, width))
    return rows * vision.merge, columns * vision.merge


def picture_tokens(shapes: Shapes, rows: int, columns: int) -> int:
    """Tokens that a picture of so many patches takes in a question."""
    return rows * columns // shapes.vision.merge**2


# FLOPs.


def forward_flops(shapes: Shapes, length: int, read: int = 1, lora: Lora | None = None) -> int:
    """Of one question of `length` tokens through the language model, scores at `read` places.

        layers x (2 x weights x length + 4 x length^2 x heads x head)
            + 2 x read x width x vocabulary

    With adapters beside the weights, 2 x rank x (in + out) more a token and layer. On the embedded
    bases' path, the last layer asks at the read places alone: keys and values are all that it
    makes of the others.
    """
    total, last = 0, shapes.layers - 1
    adapted = shapes.adapted(lora.targets) if lora and not lora.folded else set()
    for layer in range(shapes.layers):
        asked = read if shapes.small and layer == last else length
        total += _attention(shapes, asked, length)
        for name, (rows, columns) in shapes.linears().items():
            tokens = length if name in _KEYS else asked
            total += 2 * rows * columns * tokens
            if lora and name in adapted:
                total += 2 * lora.rank * (rows + columns) * tokens
    return total + _head(shapes, read)


def backward_flops(shapes: Shapes, length: int, lora: Lora, read: int = 1) -> int:
    """Of one question's backward: gradients of activations and factors, none of the base's weights.

    Each linear layer's input gets its gradient, 2 x in x out a token, as much as forward: so
    training costs two forwards and not three. Nothing flows further down than the first adapter.
    Attention costs two and a half times its forward, as fused kernels compute its scores again. An
    adapter's own factors cost 4 x rank x (in + out) a token, or, beside the weights, 4 x rank x out
    + 2 x rank x in, and 2 x rank x in where the gradient flows on.
    """
    total, last = _head(shapes, read), shapes.layers - 1
    adapted, below = shapes.adapted(lora.targets), False
    for layer in range(shapes.layers):
        asked = read if shapes.small and layer == last else length
        for stage in _STAGES:
            if stage == ():
                total += 5 * _attention(shapes, asked, length) // 2 if below else 0
                continue
            for name in stage:
                rows, columns = shapes.linears()[name]
                tokens = length if name in _KEYS else asked
                total += 2 * rows * columns * tokens if below else 0
                if name in adapted:
                    for_x = columns if below or lora.folded else 0
                    total += 2 * lora.rank * (2 * rows + columns + for_x) * tokens
            below = below or bool(adapted & set(stage))
    return total


def step_flops(
    shapes: Shapes, lora: Lora, lengths: Sequence[int], *, read: int = 1, again: bool = False
) -> int:
    """Of training on some questions of one adapter's batch, the optimiser left out.

    Args:
        again: whether activations are computed again in the backward: one forward more.
    """
    forward = sum(forward_flops(shapes, length, read, lora) for length in lengths)
    backward = sum(backward_flops(shapes, length, lora, read) for length in lengths)
    return (1 + again) * (forward + folding_flops(shapes, lora)) + backward


def folding_flops(shapes: Shapes, lora: Lora) -> int:
    """Of adding an adapter to the weights: 2 x rank x in x out for each layer it changes."""
    chosen, linears = shapes.adapted(lora.targets) if lora.folded else set(), shapes.linears()
    return shapes.layers * sum(2 * lora.rank * math.prod(linears[name]) for name in chosen)


def vision_flops(shapes: Shapes, rows: int, columns: int) -> int:
    """Of one picture of so many patches through the vision tower and what joins it to the rest."""
    its = shapes.vision
    patches = rows * columns
    # The embedded bases' path adds up the kernel's frames, which see the same picture.
    frames = 1 if shapes.small else its.frames
    first = 2 * its.channels * frames * its.patch**2 * its.width * patches
    weights = 4 * its.width**2 + (3 if its.gated else 2) * its.width * its.units
    pairs = patches**2 * (its.whole if its.window else its.layers)
    if its.window:
        spread = _squares(rows, its.window) * _squares(columns, its.window)
        pairs += spread * (its.layers - its.whole)
    joined, tokens = its.width * its.merge**2, patches // its.merge**2
    merger = 2 * tokens * (joined**2 + joined * its.out)
    if its.side:
        merger = 2 * tokens * (its.width * its.out + its.out**2)
    layers = its.layers * 2 * weights * patches + 4 * its.width * pairs
    return first + layers + (1 + its.deep) * merger


_KEYS = ("self_attn.k_proj", "self_attn.v_proj")

_STAGES = (
    ("self_attn.q_proj", *_KEYS),
    (),  # attention
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
"""A layer's linear layers, in the order in which gradients flow back, reversed."""


def _attention(shapes: Shapes, queries: int, keys: int) -> int:
    """Of the scores and of the mixture: twice 2 x queries x keys x heads x head."""
    return 4 * queries * keys * shapes.heads * shapes.head


def _head(shapes: Shapes, read: int) -> int:
    return 2 * read * shapes.width * shapes.vocabulary


def _squares(length: int, window: int) -> int:
    """The sum of squares of the pieces that windows cut a length into."""
    whole, rest = divmod(length, window)
    return whole * window**2 + rest**2


# Bytes.


def weights_bytes(shapes: Shapes, precision: str, quantization: str | None = None) -> int:
    """Of a base. In NF4 are the language model's linear layers; all else is as `precision` says."""
    quantised = 0
    if quantization is not None:
        quantised = shapes.layers * sum(map(math.prod, shapes.linears().values()))
    return round(quantised * NF4) + (shapes.parameters - quantised) * BYTES[precision]


def token_bytes(width: int, units: int, layers: int, number: int) -> int:
    """Of one token's activations, at most, where `layers` layers keep theirs.

    14 x width for a layer's inputs, norms, queries, keys, values and attention, 5 x units for its
    feed-forward block: a count of the tensors that autograd keeps.

    Args:
        number: bytes of a number.
    """
    return (14 * width + 5 * units) * layers * number


def activation_bytes(shapes: Shapes, precision: str, *, training: bool) -> int:
    """Of a token: in training what every layer keeps for the backward, else of two layers."""
    layers = shapes.layers if training else SCORING_LAYERS
    return token_bytes(shapes.width, shapes.units, layers, BYTES[precision])


def adapter_bytes(numbers: int) -> int:
    """Of an adapter of so many numbers that is being trained: see `STATES`."""
    return 4 * STATES * numbers


def feature_bytes(vision: Vision, precision: str) -> int:
    """Of what is kept of a picture for each of its tokens."""
    return vision.out * (1 + vision.deep) * BYTES[precision]


def fits(left: float, batch: int, row: int, adapter: int, *, alone: bool) -> Room:
    """How much trains at once: fewer adapters, then parts of a batch, then activations twice.

    Args:
        left: bytes beside the weights.
        batch: questions of one adapter's batch.
        row: bytes of one question's activations.
        adapter: bytes of an adapter that is being trained.
        alone: whether adapters never share a forward.
    """
    usable = SHARE * max(0.0, left)
    if adapters := int(usable // max(1, batch * row + adapter)):
        return Room(1 if alone else adapters, 1, False)
    rows = int(max(0.0, usable - adapter) // max(1, row))
    return Room(1, -(-batch // max(1, rows)), rows == 0)


def folding_pays(
    shapes: Shapes,
    targets: tuple[str, ...],
    precision: str,
    dropout: float,
    quantization: str | None = None,
) -> bool:
    """Whether a CPU folds factors into weights: small ones, not quantised, without dropout."""
    chosen, linears = shapes.adapted(targets), shapes.linears()
    weights = shapes.layers * sum(math.prod(linears[name]) for name in chosen)
    small = weights * BYTES[precision] <= FOLDED_BYTES
    return small and precision == "float32" and not dropout and quantization is None
