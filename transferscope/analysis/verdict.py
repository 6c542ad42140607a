"""What may be concluded: checks that void a verdict, and the one rule for "beyond noise"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from transferscope.tasks.number import Interval, Number

Severity = Literal["void", "caution", "note"]
SEVERITIES: tuple[Severity, ...] = ("void", "caution", "note")
"""The worst first."""
MEAN = "mean"
"""The name of the mean over targets, where targets are named."""
MOST_LINES = 8
"""Lines that a reader is shown before the first effect."""


@dataclass(frozen=True)
class Check:
    """One thing that a reader must know before any effect; `readers.checks` finds them."""

    severity: Severity
    """`void`: no verdict on `cells` stands. `caution`: it stands with this in mind."""
    message: str
    cells: tuple[tuple[str, str | None], ...] = ()
    """(source, target) pairs that it concerns; target None is all of the source's targets."""
    model: str = ""
    """The model whose runs it concerns; empty for all."""
    copied: str = ""
    """Seed of `cells` that only repeats another of its source, and so is left out."""


def ranked(checks: Sequence[Check], most: int = MOST_LINES) -> list[str]:
    """At most `most` lines, the worst first; the last counts those that did not fit."""
    order = sorted(checks, key=lambda check: SEVERITIES.index(check.severity))
    lines = [f"{check.severity}: {check.message}" for check in order]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{len(lines) - most + 1} more; --json lists them all"]


def is_void(checks: Sequence[Check], model: str, source: str, target: str | None) -> str:
    """Why nothing can be concluded of a cell, or with target None of a whole run; else empty."""
    for check in checks:
        if check.severity == "void" and check.model in ("", model):
            for at, where in check.cells:
                if at == source and where in (None, target):
                    return check.message
    return ""


class HasInterval(Protocol):
    """A `Cell` or an `Estimate`."""

    @property
    def ci(self) -> Interval: ...


def beyond_noise(effect: HasInterval, alpha: float) -> bool | None:
    """Whether an effect can be distinguished from noise: its p-value decides, or its interval.

    Returns:
        None where that is unknown: no interval, or it was not measured.
    """
    p = getattr(effect, "p_value", None)
    if p is not None:
        return None if math.isnan(p) else bool(p <= alpha)
    low, high = effect.ci
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return not low <= 0 <= high


Kind = Literal["harms", "safe", "not settled", "nothing to test"]


@dataclass(frozen=True)
class Verdict:
    """Whether a finetune harms, in points of accuracy."""

    kind: Kind
    """`harms`: worse on some target, or on average, corrected for how many there are.
    `safe`: a loss above the tolerance is ruled out on every target."""
    harmed: list[str]
    """Targets on which it is worse, the largest loss first; `mean` for the mean over targets."""
    collapsed: list[str]
    """Targets to which it gives one answer in most seeds: a harm, at any score."""
    loss: Number
    """The largest loss that is not ruled out on some target, one-sided; a fraction of accuracy."""
    where: str
    """That target; empty where nothing is tested."""
    needed: int | None
    """Items of `where` that would show a loss within the tolerance, if it does no harm; None where
    no number of items would, or none is needed."""
    mean: Number
    """Mean change over the other targets, a fraction of accuracy."""
    mean_ci: Interval
    untested: list[str]
    """Targets without a test: not measured, too few items, or too many unreadable replies."""


def worse(change: np.ndarray, p: np.ndarray, alpha: float) -> np.ndarray:
    """Which changes of one finetune are losses, one-sided and corrected for their number.

    "Harms something" is a union over targets, so Bonferroni's correction is needed. That it harms
    nothing is an intersection, and needs none.
    """
    return (change < 0) & (p / 2 * np.isfinite(p).sum() <= alpha)
