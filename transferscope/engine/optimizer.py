"""AdamW for a fleet: elementwise, so one step on stacked parameters is the step of each adapter.

Each adapter has a separate learning rate schedule and gradient clipping, and stops after its last
step.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from transferscope.engine.devices import to_device
from transferscope.study import FullRecipe

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def lr_lambda(schedule: str, warmup: float, step: int, steps: int) -> float:
    """The factor on the peak learning rate at a step (0 is the first) of an adapter's `steps`.

    It rises linearly over the share `warmup` of the steps, then stays at 1, or falls linearly or as
    a cosine to 0, which would be reached one step after the last.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    remaining = (steps - step) / max(1, steps - rising)
    if schedule == "constant":
        return 1.0
    return remaining if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - remaining)))


def clip_gradients(gradients: Sequence[Tensor], max_grad_norm: float) -> Tensor:
    """Scale each adapter's gradient to a norm of at most `max_grad_norm` (0: any), in place.

    Args:
        gradients: (adapters, parameters) on each device.

    Returns:
        The norms (adapters,) before clipping.
    """
    norms = [torch.linalg.vector_norm(one, dim=1, keepdim=True) for one in gradients]
    whole = reduce(torch.hypot, [norm.to(norms[0].device) for norm in norms])
    if max_grad_norm > 0:
        factor = (max_grad_norm / (whole + 1e-6)).clamp(max=1.0)
        for one in gradients:
            one.mul_(factor.to(one.device))
    return whole[:, 0]


class AdamW:
    """The optimizer state of a fleet's parameters (adapters, parameters)."""

    def __init__(self, values: Tensor, recipe: FullRecipe, steps: list[int]) -> None:
        """`step` changes `values`; each adapter has its number of `steps`."""
        self._values, self._recipe = values, recipe
        factors = [
            [lr_lambda(recipe.schedule, recipe.warmup, now, own) * (now < own) for own in steps]
            for now in range(max(steps))
        ]
        self._lr_factors = to_device(torch.tensor(factors, dtype=values.dtype), values.device)
        self._first, self._second = torch.zeros_like(values), torch.zeros_like(values)
        self._taken = 0

    def step(self, gradients: Tensor) -> None:
        """One step of every adapter that is not finished."""
        recipe = self._recipe
        rates = self._lr_factors[self._taken, :, None] * recipe.learning_rate
        self._taken += 1
        if recipe.weight_decay:
            self._values.mul_(1 - rates * recipe.weight_decay)
        self._first.lerp_(gradients, 1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
        correction = math.sqrt(1 - BETAS[1] ** self._taken)
        divisor = (self._second.sqrt() / correction).add_(EPSILON)
        update = (self._first / divisor).mul_(rates / (1 - BETAS[0] ** self._taken))
        self._values.sub_(update)
