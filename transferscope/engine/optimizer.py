"""AdamW for a fleet: elementwise, so one step on stacked numbers is the step of each adapter.

Each adapter has its own learning rate schedule, its own clipped gradient, and stops after its own
last step.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from transferscope.engine.devices import sent

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def rate_share(schedule: str, warmup: float, step: int, steps: int) -> float:
    """The part of the highest learning rate at a step (0 is the first) of an adapter's `steps`.

    It grows linearly over the share `warmup` of the steps, then stays, falls linearly, or falls as
    a cosine to 0, which would be reached one step after the last.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    left = (steps - step) / max(1, steps - rising)
    if schedule == "constant":
        return 1.0
    return left if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left)))


def clip(gradients: Sequence[Tensor], most: float) -> Tensor:
    """Scale each adapter's gradient to a norm of at most `most`, in place.

    Args:
        gradients: (adapters, numbers) on each device.

    Returns:
        The norms (adapters,) before.
    """
    norms = [torch.linalg.vector_norm(its, dim=1, keepdim=True) for its in gradients]
    whole = reduce(torch.hypot, [its.to(norms[0].device) for its in norms])
    if most > 0:
        share = (most / (whole + 1e-6)).clamp(max=1.0)
        for its in gradients:
            its.mul_(share.to(its.device))
    return whole[:, 0]


class AdamW:
    """The moments of a fleet's numbers (adapters, numbers)."""

    def __init__(self, values: Tensor, recipe: Any, steps: list[int]) -> None:
        """Args:
        values: changed by `step`.
        recipe: for `learning_rate`, `schedule`, `warmup` and `weight_decay`.
        steps: how many each adapter takes.
        """
        self._values, self._recipe = values, recipe
        shares = [
            [
                rate_share(recipe.schedule, recipe.warmup, now, its) if now < its else 0.0
                for its in steps
            ]
            for now in range(max(steps))
        ]
        self._shares = sent(torch.tensor(shares, dtype=values.dtype), values.device)
        self._first, self._second = torch.zeros_like(values), torch.zeros_like(values)
        self._taken = 0

    def step(self, gradients: Tensor) -> None:
        """One step of every adapter that has one left."""
        recipe = self._recipe
        rates = self._shares[self._taken, :, None] * recipe.learning_rate
        self._taken += 1
        if recipe.weight_decay:
            self._values.mul_(1 - rates * recipe.weight_decay)
        self._first.lerp_(gradients, 1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
        correction = math.sqrt(1 - BETAS[1] ** self._taken)
        divisor = (self._second.sqrt() / correction).add_(EPSILON)
        update = (self._first / divisor).mul_(rates / (1 - BETAS[0] ** self._taken))
        self._values.sub_(update)
