"""What makes a verdict void or doubtful before any effect is looked at: the record of one check.

In:   what `readers.checks` found.
Out:  the first lines of every summary and page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["void", "caution", "note"]
SEVERITIES: tuple[Severity, ...] = ("void", "caution", "note")
"""The worst first."""
MOST_LINES = 8
"""Lines that a reader is shown before the first effect."""


@dataclass(frozen=True)
class Check:
    """One thing that a reader must know before any effect."""

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
