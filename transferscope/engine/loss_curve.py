"""How an adapter learned: its loss and the norm of its gradient at every step.

In:   losses and norms as training makes them, kept where they are computed until it ends.
Out:  a `Curve` for each adapter, which also says where it failed.

Knows torch only while training: a process that merely keeps the accounts has none.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

POINTS = 50
"""Steps of a curve that are written down, evenly spaced, the first and the last among them."""

LOOK = 16
"""Steps between two looks at whether any adapter still has a finite loss."""


class Curve(NamedTuple):
    """The course of one adapter's training."""

    losses: tuple[float, ...] = ()
    """Mean cross-entropy of each step's batch, in nats a token."""
    norms: tuple[float, ...] = ()
    """Norm of each step's gradient before clipping."""
    failed: str = ""
    """Why the adapter must not be kept; empty where nothing is wrong with it."""

    def record(self) -> dict[str, Any]:
        """As a line of a log has it; numbers that are not finite are null."""
        count = len(self.losses)
        if not count:
            return {"steps": 0}
        every = -(-count // POINTS)
        steps = sorted({*range(0, count, every), count - 1})
        tail = self.losses[-max(1, count // 10) :]
        return {
            "steps": count,
            "first": _number(self.losses[0]),
            "last": _number(self.losses[-1]),
            "mean_of_last_tenth": _number(sum(tail) / len(tail)),
            "step": [step + 1 for step in steps],
            "loss": [_number(self.losses[step]) for step in steps],
            "gradient_norm": [_number(self.norms[step]) for step in steps],
        }


class Log:
    """Losses and norms of adapters that are trained together."""

    def __init__(self, steps: Sequence[int]) -> None:
        """Args:
        steps: how many each adapter takes.
        """
        self._steps = steps
        self._losses: list[Any] = []
        self._norms: list[Any] = []

    def add(self, losses: Any, norms: Any) -> bool:
        """Note a step's losses and norms (adapters,); answers with whether to go on.

        There is no point in it once no loss is finite.
        """
        step = len(self._losses)
        self._losses.append(losses)
        self._norms.append(norms)
        if step % LOOK != LOOK - 1:
            return True
        finite = losses.isfinite().tolist()
        return any(its for its, steps in zip(finite, self._steps, strict=True) if step < steps)

    def curves(self) -> list[Curve]:
        """Each adapter's curve; `failed` where a loss is not finite."""
        import torch

        tables = [torch.stack(its).T.tolist() for its in (self._losses, self._norms)]
        made = []
        for losses, norms, steps in zip(*tables, self._steps, strict=True):
            own = tuple(losses[:steps])
            bad = next((step for step, its in enumerate(own, 1) if not isfinite(its)), None)
            why = f"diverged: its loss is not finite at step {bad} of {steps}" if bad else ""
            made.append(Curve(own, tuple(norms[:steps]), why))
        return made


def judged(curve: Curve, tensors: Any, learning_rate: float) -> Curve:
    """A curve with what its adapter's weights add: they must be finite, and change something.

    Args:
        tensors: the adapter's weights, by PEFT's keys.
    """
    why = curve.failed
    if not why and not all(its.isfinite().all() for its in tensors.values()):
        why = "diverged: its weights are not finite"
    if why:
        why += f"; lower the learning rate, which is {learning_rate:g}"
    elif not any(its.any() for key, its in tensors.items() if ".lora_B." in key):
        why = "learned nothing: all of its lora_B weights are zero, so it changes no answer"
    return curve._replace(failed=why)


def _number(value: float) -> float | None:
    return round(value, 6) if isfinite(value) else None
