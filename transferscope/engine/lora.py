"""Stacked LoRA: the adapters of a fleet beside each frozen linear layer, as one batched product.

    out[k] = base(x[k]) + scaling * dropout(x[k]) @ A[k].T @ B[k].T

Rows are grouped by adapter: of a batch of K n rows the first n belong to adapter 0. Gradients of
different adapters never mix, so a fleet equals separate runs.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.engine.compiled import eagerly
from transferscope.engine.devices import sent

Drop = Callable[[int, Tensor], Tensor]
"""Dropout of a layer's input (adapters, tokens, in), given the layer's number in the stack."""


class Stack:
    """The LoRA factors of K adapters for some linear layers.

    All numbers of an adapter on one device stand in one row, so that an optimiser works on two
    tensors for each device.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        size: int,
        rank: int,
        scaling: float,
        *,
        dtype: torch.dtype,
        devices: Mapping[str, torch.device],
    ) -> None:
        """All factors zero.

        Args:
            shapes: layer name to (out, in).
            size: how many adapters.
            devices: layer name to where its factors lie.
        """
        self.size, self.rank, self.scaling, self.dtype = size, rank, scaling, dtype
        self._shapes, self._devices = dict(shapes), devices
        widths = dict.fromkeys((devices[name] for name in shapes), 0)
        for name, its in shapes.items():
            widths[devices[name]] += rank * sum(its)
        self.values = [
            torch.zeros(size, width, dtype=dtype, device=device) for device, width in widths.items()
        ]
        """(adapters, numbers of an adapter) on each device."""
        self.gradients: list[Tensor] = []
        """Like `values`, once training has begun."""
        self.factors = self.parted(self.values)
        """Layer name to A (adapters, rank, in) and B (adapters, out, rank)."""

    def train(self) -> None:
        """From now on the factors require gradients, which `backward` adds up in `gradients`."""
        self.gradients = [torch.zeros_like(values) for values in self.values]
        parted = self.parted(self.gradients)
        self._leaves = [its.requires_grad_() for pair in self.factors.values() for its in pair]
        self._slots = [slot for name in self.factors for slot in parted[name]]

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to `gradients`."""
        # Not loss.backward(): it wants gradients as dense as their leaves.
        # A layer may have no part in a loss, as one whose output only picks what attention sees.
        made = torch.autograd.grad(loss, self._leaves, allow_unused=True)
        for slot, gradient in zip(self._slots, made, strict=True):
            if gradient is not None:
                slot.add_(gradient)

    def initialise(self, seeds: Sequence[int]) -> None:
        """Give every adapter PEFT's start: A uniform in +-1/sqrt(in) from its own seed, B zero."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for a, b in self.factors.values():
            b.zero_()
            bound = 1 / math.sqrt(a.shape[2])
            for index, generator in enumerate(generators):
                drawn = torch.rand(a.shape[1:], generator=generator, dtype=torch.float32)
                a[index] = sent((2 * drawn - 1) * bound, a.device)

    def parted(self, flats: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Views of numbers like `values`, as each layer's A and B."""
        parted, starts = {}, dict.fromkeys(self._devices.values(), 0)
        order = dict.fromkeys(self._devices[name] for name in self._shapes)
        by_device = dict(zip(order, flats, strict=True))
        for name, (rows, columns) in self._shapes.items():
            device = self._devices[name]
            flat, start = by_device[device], starts[device]
            middle, end = start + self.rank * columns, start + self.rank * (rows + columns)
            parted[name] = (
                flat[:, start:middle].view(self.size, self.rank, columns),
                flat[:, middle:end].view(self.size, rows, self.rank),
            )
            starts[device] = end
        return parted


@contextmanager
def attached(
    model: nn.Module, stack: Stack, drop: Drop | None = None, *, folded: bool = False
) -> Iterator[None]:
    """While this is open, the model's batches are the stack's adapters' rows, one after another.

    Args:
        folded: add the factors to the weights in each forward rather than their product to the
            output: the same numbers for fewer operations, where tokens are many and weights small.
            Not with dropout, which the weights do not see.
    """
    assert not (folded and drop)
    modules = {name: model.get_submodule(name) for name in stack.factors}
    # Masks are drawn by generators that nothing compiled can hold.
    with eagerly(model) if drop is not None else nullcontext():
        try:
            for number, (name, module) in enumerate(modules.items()):
                a, b = stack.factors[name]
                if folded:
                    module.forward = _folding(module, a, b, stack.scaling)
                else:
                    its_drop = partial(drop, number) if drop is not None else None
                    model.set_submodule(name, Tuned(module, a, b, stack.scaling, its_drop))
            yield
        finally:
            for name, module in modules.items():
                module.__dict__.pop("forward", None)
                model.set_submodule(name, module)


@contextmanager
def merged(model: nn.Module, stack: Stack, index: int) -> Iterator[None]:
    """While this is open, the model's weights include one adapter of the stack.

    The base's own weights are put back as they were, the same tensors.
    """
    kept: dict[str, nn.Parameter] = {}
    try:
        for name, (a, b) in stack.factors.items():
            module: Any = model.get_submodule(name)
            kept[name] = module.weight
            changed = torch.addmm(
                module.weight, b[index].to(module.weight), a[index].to(module.weight),
                alpha=stack.scaling,
            )  # fmt: skip
            module.weight = nn.Parameter(changed, requires_grad=False)
        yield
    finally:
        for name, weight in kept.items():
            model.get_submodule(name).weight = weight


class Tuned(nn.Module):
    """A linear layer with the factors of its adapters.

    A module in the layer's place rather than a hook: what is compiled takes the factors as inputs,
    whichever fleet's they are, while hooks that come and go it does not see.
    """

    def __init__(
        self,
        linear: nn.Module,
        a: Tensor,
        b: Tensor,
        scaling: float,
        drop: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.linear, self.a, self.b, self.scaling, self.drop = linear, a, b, scaling, drop

    @property
    def weight(self) -> Any:
        """The layer's own."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """(adapters x rows, ..., in) -> (adapters x rows, ..., out)."""
        out, size = self.linear(x), self.a.shape[0]
        rows = x if x.dim() == 3 else x.reshape(size, -1, x.shape[-1])
        if self.drop is not None:
            rows = self.drop(rows.reshape(size, -1, x.shape[-1])).view_as(rows)
        a, b = (its.to(x.dtype) for its in (self.a, self.b))
        if size == 1:  # all tokens in one product, which is as fast as products get
            said = functional.linear(functional.linear(rows, a[0]), b[0])
        else:
            # Each row meets its own factors: sizes that divide by the adapters are slow to compile.
            a, b = (_of_rows(its, len(rows)) for its in (a, b))
            said = torch.bmm(torch.bmm(rows, a.transpose(1, 2)), b.transpose(1, 2))
        # Not `baddbmm`: on a GPU it copies `out` first, and what follows cannot be fused with it.
        return torch.add(out, said.view_as(out), alpha=self.scaling)


def _of_rows(factor: Tensor, rows: int) -> Tensor:
    """Factors (adapters, ., .) as those of each row (rows, ., .)."""
    if factor.shape[0] == rows:
        return factor
    return factor[:, None].expand(-1, rows // factor.shape[0], -1, -1).flatten(0, 1)


def _folding(module: Any, a: Tensor, b: Tensor, scaling: float) -> Any:
    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(len(a), -1, x.shape[-1])
        out: Any = _Folded.apply(rows, module.weight, a, b, scaling)
        out = out.view(*x.shape[:-1], -1)
        return out if module.bias is None else out + module.bias

    return forward


class _Folded(torch.autograd.Function):
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
    """Dropout in which each adapter draws its own masks.

    A mask is a function of the adapter's seed, the step, the part of the batch and the layer, so
    that activations that are computed again meet the same one.
    """

    def __init__(self, seeds: Sequence[int], share: float) -> None:
        self._seeds, self._share = seeds, share
        self._generators: dict[torch.device, torch.Generator] = {}
        self.now: tuple[int, int] = (0, 0)
        """Step and first row of the part."""

    def __call__(self, layer: int, x: Tensor) -> Tensor:
        masks = []
        if x.device not in self._generators:
            self._generators[x.device] = torch.Generator(x.device)
        generator = self._generators[x.device]
        for seed, one in zip(self._seeds, x, strict=True):
            (mixed,) = np.random.SeedSequence((seed, *self.now, layer)).generate_state(1)
            drawn = torch.empty(one.shape, device=x.device)
            masks.append(drawn.uniform_(generator=generator.manual_seed(int(mixed))))
        kept = torch.stack(masks) >= self._share
        return x * kept / (1 - self._share)
