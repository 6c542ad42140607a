"""Stacked LoRA: many adapters beside each frozen linear layer, as one batched product.

    out[k] = base(x[k]) + scaling * dropout(x[k]) @ A[k].T @ B[k].T

Rows are grouped by adapter: of a batch of K n rows the first n belong to adapter 0. Gradients of
different adapters never mix, so a fleet equals separate runs.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.engine.compiled import eagerly
from transferscope.engine.devices import to_device

LayerDropout = Callable[[int, Tensor], Tensor]
"""Dropout of a layer's input (adapters, tokens, in), given the layer's index in the stack."""


class Stack:
    """The LoRA factors of K adapters for some linear layers.

    All parameters of an adapter on one device form one row, so that an optimizer works on two
    tensors per device.
    """

    def __init__(
        self,
        linears: dict[str, nn.Linear],
        size: int,
        rank: int,
        scaling: float,
        dtype: torch.dtype,
    ) -> None:
        """All factors of the `size` adapters are zero, on the devices of their layers."""
        self.size, self.rank, self.scaling, self.dtype = size, rank, scaling, dtype
        self._linears = linears
        num_params: Counter[torch.device] = Counter()
        for one in linears.values():
            num_params[one.weight.device] += rank * (one.in_features + one.out_features)
        self._devices = list(num_params)
        self.values = [
            torch.zeros(size, count, dtype=dtype, device=device)
            for device, count in num_params.items()
        ]
        """(adapters, parameters of an adapter) on each device."""
        self.gradients: list[Tensor] = []
        """Like `values`, after `require_gradients`."""
        self.factors = self._by_layer(self.values)
        """Layer name to A (adapters, rank, in) and B (adapters, out, rank)."""

    def require_gradients(self) -> None:
        """Make the factors require gradients, which `backward` adds up in `gradients`."""
        self.gradients = [torch.zeros_like(values) for values in self.values]
        slots = self._by_layer(self.gradients)
        self._leaves = [one.requires_grad_() for pair in self.factors.values() for one in pair]
        self._slots = [slot for name in self.factors for slot in slots[name]]

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to `gradients`."""
        # Not loss.backward(): it requires gradients to be as dense as their leaves.
        # A layer may not be part of a loss, e.g. if its output only selects attention's inputs.
        made: Any = torch.autograd.grad(loss, self._leaves, allow_unused=True)
        for slot, gradient in zip(self._slots, made, strict=True):
            if gradient is not None:
                slot.add_(gradient)

    def initialize(self, seeds: Sequence[int]) -> None:
        """PEFT's initial factors: A uniform in +-1/sqrt(in) from each adapter's seed, B zero."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for a, b in self.factors.values():
            b.zero_()
            bound = 1 / math.sqrt(a.shape[2])
            for index, generator in enumerate(generators):
                drawn = torch.rand(a.shape[1:], generator=generator, dtype=torch.float32)
                a[index] = to_device((2 * drawn - 1) * bound, a.device)

    def _by_layer(self, flats: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Views of tensors shaped like `values`, as each layer's A and B."""
        views, starts = {}, dict.fromkeys(self._devices, 0)
        by_device = dict(zip(self._devices, flats, strict=True))
        for name, one in self._linears.items():
            flat, start = by_device[one.weight.device], starts[one.weight.device]
            middle = start + self.rank * one.in_features
            end = starts[one.weight.device] = middle + self.rank * one.out_features
            views[name] = (
                flat[:, start:middle].view(self.size, self.rank, one.in_features),
                flat[:, middle:end].view(self.size, one.out_features, self.rank),
            )
        return views


@contextmanager
def attached(
    model: nn.Module, stack: Stack, dropout: LayerDropout | None = None, *, folded: bool = False
) -> Generator[None]:
    """Within this context, the model's batches are the rows of the stack's adapters, in order.

    Args:
        folded: add the factors to the weights in each forward rather than their product to the
            output. The numbers are the same, with fewer operations if tokens are many and weights
            small. Not with dropout, which the weights do not see.
    """
    assert not (folded and dropout)
    modules = {name: model.get_submodule(name) for name in stack.factors}
    # Compiled code would not notice that dropout goes on to the next step.
    with eagerly(model) if dropout is not None else nullcontext():
        try:
            for index, (name, module) in enumerate(modules.items()):
                a, b = stack.factors[name]
                if folded:
                    module.forward = _folded_forward(module, a, b, stack.scaling)
                else:
                    own = partial(dropout, index) if dropout is not None else None
                    model.set_submodule(name, LoraLinear(module, a, b, stack.scaling, own))
            yield
        finally:
            for name, module in modules.items():
                module.__dict__.pop("forward", None)
                model.set_submodule(name, module)


@contextmanager
def merged(model: nn.Module, stack: Stack, index: int) -> Generator[None]:
    """Within this context, the model's weights include one adapter; then they are put back."""
    kept: dict[str, nn.Parameter] = {}
    try:
        for name, (a, b) in stack.factors.items():
            module: Any = model.get_submodule(name)
            kept[name] = module.weight
            left, right = (factor[index].to(module.weight) for factor in (b, a))
            changed = torch.addmm(module.weight, left, right, alpha=stack.scaling)
            module.weight = nn.Parameter(changed, requires_grad=False)
        yield
    finally:
        for name, weight in kept.items():
            model.get_submodule(name).weight = weight


class LoraLinear(nn.Module):
    """A linear layer with the factors of several adapters.

    A module in the layer's place rather than a hook: compiled code takes a module's factors as
    inputs, whichever fleet's they are, but does not notice hooks that come and go.
    """

    def __init__(
        self,
        linear: nn.Module,
        a: Tensor,
        b: Tensor,
        scaling: float,
        dropout: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.linear, self.a, self.b, self.scaling, self.dropout = linear, a, b, scaling, dropout

    @property
    def weight(self) -> Any:
        """The weight of the frozen layer."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """(adapters x rows, ..., in) -> (adapters x rows, ..., out)."""
        out, size = self.linear(x), self.a.shape[0]
        rows = x if x.dim() == 3 and x.shape[1] > 1 else x.reshape(size, -1, x.shape[-1])
        if self.dropout is not None:
            rows = self.dropout(rows.reshape(size, -1, x.shape[-1])).view_as(rows)
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        if size == 1:  # all tokens in one product, the fastest form
            delta = functional.linear(functional.linear(rows, a[0]), b[0])
        else:
            # One pair of factors per row: sizes divided by the number of adapters compile slowly.
            if len(rows) != size:
                parts = len(rows) // size
                a, b = [one[:, None].expand(-1, parts, -1, -1).flatten(0, 1) for one in (a, b)]
            delta = torch.bmm(torch.bmm(rows, a.transpose(1, 2)), b.transpose(1, 2))
        # Not `baddbmm`: on a GPU it copies `out` first, and later operations cannot be fused.
        return torch.add(out, delta.view_as(out), alpha=self.scaling)


def _folded_forward(module: Any, a: Tensor, b: Tensor, scaling: float) -> Any:
    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(len(a), -1, x.shape[-1])
        out: Any = _FoldedProduct.apply(rows, module.weight, a, b, scaling)
        out = out.view(*x.shape[:-1], -1)
        return out if module.bias is None else out + module.bias

    return forward


class _FoldedProduct(torch.autograd.Function):
    """x @ (weight + scaling * B @ A).T for each adapter, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        whole = torch.baddbmm(weight.expand(len(a), -1, -1), b, a, alpha=scaling)
        ctx.save_for_backward(x, whole, a, b)
        ctx.scaling = scaling
        return torch.bmm(x, whole.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        x, whole, a, b = ctx.saved_tensors
        for_x = torch.bmm(g, whole) if ctx.needs_input_grad[0] else None
        for_a = torch.bmm(torch.bmm(g, b).transpose(1, 2), x)
        for_b = torch.bmm(g.transpose(1, 2), torch.bmm(x, a.transpose(1, 2)))
        return for_x, None, for_a.mul_(ctx.scaling), for_b.mul_(ctx.scaling), None


class Dropout:
    """Dropout with separate masks for each adapter.

    Whether a value is kept is a hash of the adapter's seed, the step, the layer, the row's place in
    the adapter's batch, the token's place in the row, and the channel. So memory, padding and other
    adapters change no mask; recomputed activations get the same one, on any device.
    """

    def __init__(self, seeds: Sequence[int], probability: float) -> None:
        self._seeds, self._probability = seeds, probability
        self.now: tuple[int, int] = (0, 0)
        """Step, and first row of the microbatch."""
        self.lengths: Sequence[int] = ()
        """Tokens of each row of the microbatch; of the first adapter's rows first."""
        self.left = False
        """Whether rows are padded on the left."""

    def __call__(self, layer: int, x: Tensor) -> Tensor:
        """Drop values of (adapters, tokens, in), the tokens of an adapter's rows in their order."""
        step, first = self.now
        size, rows = len(x), len(self.lengths) // len(x)
        length = x.shape[1] // rows
        places = np.arange(length)[None]
        if self.left or length < max(self.lengths):  # the last layer may have a row's end alone
            places = places + np.array(self.lengths)[:, None] - length
        seeds = [np.random.SeedSequence((seed, step, layer)) for seed in self._seeds]
        keys = np.array([seed.generate_state(1) for seed in seeds])
        keys = _hashed(keys ^ _hashed(np.arange(first, first + rows)[None])).reshape(-1, 1)
        keys = _hashed(keys ^ _hashed(places)).reshape(size, -1, 1)
        channels = _hashed(np.arange(x.shape[2]))
        # Only from here on there is a value for each of the input's, so the rest is kept short. 32
        # bits wrap around; the shift of a negative number clears the sign, which the product sets.
        hashes = _signed(keys, x.device) ^ _signed(channels, x.device)
        hashes.mul_(0x7FEB352D).bitwise_xor_(hashes >> 15).mul_(0x2C1B3C6D)
        kept = hashes >= round(self._probability * 2**32) - 2**31
        return x * kept / (1 - self._probability)


def _hashed(values: np.ndarray) -> np.ndarray:
    """32-bit hashes of whole numbers."""
    made = values.astype(np.uint32)
    for factor, shift in ((0x9E3779B1, 16), (0x7FEB352D, 15), (0x846CA68B, 16)):
        made = made * np.uint32(factor) + np.uint32(0x9E3779B9)
        made ^= made >> np.uint32(shift)
    return made


def _signed(values: np.ndarray, device: torch.device) -> Tensor:
    return to_device(torch.from_numpy(values.view(np.int32)), device)
