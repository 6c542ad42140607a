"""What may be concluded: checks that void a verdict, and the one rule for "beyond noise"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from transferscope.tasks.number import Interval

Severity = Literal["void", "caution", "note"]
SEVERITIES: tuple[Severity, ...] = ("void", "caution", "note")
"""The worst first."""
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
    """Whether an effect can be distinguished from noise.

    It can where its interval leaves 0 out and, where it is known which items changed, the exact
    test over items agrees (`sign_flip`): a resample of few changed items is too certain of them.

    Args:
        alpha: level of the interval and of the test.

    Returns:
        None where the interval is unknown: nothing was resampled, or it was not measured.
    """
    low, high = effect.ci
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    if low <= 0 <= high:
        return False
    exact = getattr(effect, "exact_p", None)
    return exact is None or math.isnan(exact) or exact <= alpha
