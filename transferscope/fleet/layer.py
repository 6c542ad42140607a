"""Stacked LoRA: the adapters of a fleet beside each frozen linear layer, as one batched product.

    out[k] = base(x[k]) + scaling * dropout(x[k]) @ A[k].T @ B[k].T

Rows are grouped by adapter: of a batch of K n rows the first n belong to adapter 0. Gradients of
different adapters never mix, so a fleet equals separate runs.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Drop = Callable[[Tensor], Tensor]
"""Dropout of a layer's input (adapters, tokens, in)."""


class Stack:
    """The LoRA factors of K adapters for some linear layers.

    All numbers of an adapter stand in one row, so that an optimiser works on two tensors.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        size: int,
        rank: int,
        scaling: float,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """All factors zero.

        Args:
            shapes: layer name to (out, in).
            size: how many adapters.
        """
        width = sum(rank * (rows + columns) for rows, columns in shapes.values())
        self.size, self.rank, self.scaling = size, rank, scaling
        self.values = torch.zeros(size, width, dtype=dtype, device=device)
        """(adapters, numbers of an adapter)."""
        self.gradients = torch.zeros(0, dtype=dtype, device=device)
        """Like `values`, once training has begun."""
        self._shapes = dict(shapes)
        self.factors = self._parted(self.values)
        """Layer name to A (adapters, rank, in) and B (adapters, out, rank)."""

    def train(self) -> None:
        """From now on the factors require gradients, which `backward` adds up in `gradients`."""
        self.gradients = torch.zeros_like(self.values)
        parted = self._parted(self.gradients)
        self._leaves = [its.requires_grad_() for pair in self.factors.values() for its in pair]
        self._slots = [slot for name in self.factors for slot in parted[name]]

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to `gradients`."""
        # Not loss.backward(): it wants gradients as dense as their leaves.
        made = torch.autograd.grad(loss, self._leaves)
        torch._foreach_add_(self._slots, list(made))

    def initialise(self, seeds: Sequence[int]) -> None:
        """Give every adapter PEFT's start: A uniform in +-1/sqrt(in) from its own seed, B zero."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for a, b in self.factors.values():
            b.zero_()
            bound = 1 / math.sqrt(a.shape[2])
            for index, generator in enumerate(generators):
                drawn = torch.rand(a.shape[1:], generator=generator, dtype=torch.float32)
                a[index] = (2 * drawn - 1) * bound

    def _parted(self, flat: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Views of (adapters, numbers) as each layer's two factors."""
        parted, start = {}, 0
        for name, (rows, columns) in self._shapes.items():
            middle, end = start + self.rank * columns, start + self.rank * (rows + columns)
            parted[name] = (
                flat[:, start:middle].view(self.size, self.rank, columns),
                flat[:, middle:end].view(self.size, rows, self.rank),
            )
            start = end
        return parted


@contextmanager
def attached(model: nn.Module, stack: Stack, drop: Drop | None = None) -> Iterator[None]:
    """While this is open, the model's batches are the stack's adapters' rows, one after another."""
    handles = [
        model.get_submodule(name).register_forward_hook(_hook(a, b, stack.scaling, drop))
        for name, (a, b) in stack.factors.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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


def _hook(a: Tensor, b: Tensor, scaling: float, drop: Drop | None) -> Any:
    def add(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = inputs[0].reshape(len(a), -1, inputs[0].shape[-1])
        if drop is not None:
            x = drop(x)
        low = torch.bmm(x, a.to(x.dtype).transpose(1, 2))
        full = torch.baddbmm(
            out.reshape(len(a), -1, out.shape[-1]), low, b.to(x.dtype).transpose(1, 2),
            alpha=scaling,
        )  # fmt: skip
        return full.view_as(out)

    return add
