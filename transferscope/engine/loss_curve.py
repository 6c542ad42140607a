"""How an adapter's training went: the loss and the gradient norm of every step.

Imports torch only while training, so a process that only keeps records needs none.
"""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

MAX_POINTS = 50
"""Steps of a curve that are logged, evenly spaced, with the first and the last."""

CHECK_EVERY = 16
"""Steps between two checks whether any adapter still has a finite loss."""

FACTOR = re.compile(r"(.+\.lora_(?:embedding_)?)([AB])(?:\.weight)?")
"""PEFT's key of one of the two factors of a layer."""


class LossCurve(NamedTuple):
    """The course of one adapter's training."""

    losses: tuple[float, ...] = ()
    """Mean cross-entropy of each step's batch, in nats per token."""
    norms: tuple[float, ...] = ()
    """Norm of each step's gradient before clipping."""
    failed: str = ""
    """Why the adapter must not be kept; empty if nothing is wrong with it."""

    def record(self) -> dict[str, Any]:
        """As a line of the log; numbers that are not finite are null."""
        if not (count := len(self.losses)):
            return {"steps": 0}
        every = -(-count // MAX_POINTS)
        steps = sorted({*range(0, count, every), count - 1})
        last_tenth = self.losses[-max(1, count // 10) :]
        return {
            "steps": count,
            "first": _number(self.losses[0]),
            "last": _number(self.losses[-1]),
            "mean_of_last_tenth": _number(sum(last_tenth) / len(last_tenth)),
            "step": [step + 1 for step in steps],
            "loss": [_number(self.losses[step]) for step in steps],
            "gradient_norm": [_number(self.norms[step]) for step in steps],
        }


class LossLog:
    """Losses and gradient norms of adapters trained together, on their device until the end."""

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = steps
        self._losses: list[Any] = []
        self._norms: list[Any] = []

    def add(self, losses: Any, norms: Any) -> bool:
        """Add a step's losses and norms (adapters,); False if no loss is finite any more."""
        step = len(self._losses)
        self._losses.append(losses)
        self._norms.append(norms)
        if step % CHECK_EVERY != CHECK_EVERY - 1:  # a check waits for the GPU
            return True
        finite = losses.isfinite().tolist()
        return any(one for one, steps in zip(finite, self._steps, strict=True) if step < steps)

    def curves(self) -> list[LossCurve]:
        """Each adapter's curve; `failed` if a loss is not finite."""
        import torch

        tables = [torch.stack(rows).T.tolist() for rows in (self._losses, self._norms)]
        made = []
        for losses, norms, steps in zip(*tables, self._steps, strict=True):
            own = tuple(losses[:steps])
            bad = next((step for step, loss in enumerate(own, 1) if not isfinite(loss)), None)
            why = f"diverged: its loss is not finite at step {bad} of {steps}" if bad else ""
            made.append(LossCurve(own, tuple(norms[:steps]), why))
        return made


def checked_curve(
    curve: LossCurve, tensors: Any, learning_rate: float, *, whole: bool = False
) -> LossCurve:
    """A curve that also fails if the adapter's weights are not finite, or change nothing.

    `whole`: the tensors are those weights of a model that differ from the base's.
    """
    why = curve.failed
    if not why and not all(one.isfinite().all() for one in tensors.values()):
        why = "diverged: its weights are not finite"
    if why:
        why += f"; lower the learning rate, which is {learning_rate:g}"
    elif whole and not tensors:
        why = "learned nothing: all of its weights equal the base's, so it changes no answer"
    elif not whole and not adds_something(tensors):
        why = "learned nothing: in every layer lora_A or lora_B is zero, so it changes no answer"
    return curve._replace(failed=why)


def adds_something(tensors: Mapping[str, Any]) -> bool:
    """Whether both factors of any layer, by PEFT's keys, have weights other than zero."""
    keys = [FACTOR.fullmatch(key) for key, one in tensors.items() if one.any()]
    layers = [key[1] for key in keys if key]
    return len(set(layers)) < len(layers)


def _number(value: float) -> float | None:
    return round(value, 6) if isfinite(value) else None
