"""What a comparison of runs with their base is: cells, runs, conditions, and the verdict.

In:   nothing.
Out:  frozen records; all accuracies are fractions in [0, 1], and 0.05 is 5 points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from transferscope.analysis.verdict import Check
from transferscope.stats.paired import UNKNOWN, Effect

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["paired", "counts", "averages"]
State = Literal["tested", "few items", "unreadable", "averages", "void", "no items"]
Verdict = Literal["harms", "no harm", "not settled", "nothing to test", "void"]
MEAN = "mean"
"""Column of the mean over targets."""
TOLERANCE = 0.05
"""A loss below this on every target is called no harm."""
ALPHA = 0.05
"""Level of verdicts."""


@dataclass(frozen=True)
class Cell:
    """One run on one target, or its mean over targets."""

    target: str
    kind: Kind
    state: State
    """`tested`, or why there is no verdict."""
    items: int
    """Items that base and run both answered; 0 where only averages are known."""
    of: int
    """Items of the target that any run answered. Of a mean, both are sums over its targets."""
    base: float
    """Accuracy of the base on the shared items."""
    tuned: float
    effect: Effect = UNKNOWN
    fixed: int | None = None
    """Items that were wrong and are right; None where that is not known."""
    broken: int | None = None
    q: float = math.nan
    """p-value after Benjamini-Hochberg over all cells of the comparison, gains and losses apart."""
    sign: int = 0
    """1 better and -1 worse beyond noise, else 0."""
    bounds: tuple[float, float] = (math.nan, math.nan)
    """The change where unreadable replies are all wrong or all right; where state is unreadable."""

    @property
    def change(self) -> float:
        return self.tuned - self.base if math.isnan(self.effect.change) else self.effect.change

    @property
    def loss(self) -> float:
        """The largest loss that is not excluded, one-sided 95 %; negative where a gain is sure."""
        return -self.effect.lower()


@dataclass(frozen=True)
class Run:
    """One finetune, or one checkpoint of it."""

    name: str
    finetune: str
    """What its checkpoints have in common."""
    step: int | None
    seeds: int
    cells: dict[str, Cell]
    mean: Cell | None
    """Over the targets that all runs share; None where there is none."""
    verdict: Verdict

    def tested(self) -> list[Cell]:
        return [cell for cell in self.cells.values() if cell.state == "tested"]

    def moved(self, sign: int) -> list[Cell]:
        """Cells beyond noise in one direction, the largest change first."""
        found = [cell for cell in self.cells.values() if cell.sign == sign]
        return sorted(found, key=lambda cell: -abs(cell.change))


@dataclass(frozen=True)
class Condition:
    """One condition of the gate, as one run meets it."""

    text: str
    """Such as `protect Jigsaw:2`."""
    run: str
    outcome: Literal["pass", "fail", "cannot tell"]
    why: str


@dataclass(frozen=True)
class Decision:
    """Which run to ship."""

    headline: str
    """The verdict in one sentence."""
    ship: str | None
    """The run's name; None where none can be recommended."""
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs beside their base; made by `transferscope.compare`."""

    base: str
    runs: tuple[Run, ...]
    targets: tuple[str, ...]
    shared: tuple[str, ...]
    """The targets of the means: those on which every run that is not void is tested."""
    base_accuracy: dict[str, float]
    checks: tuple[Check, ...]
    decision: Decision
    gate: tuple[Condition, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: tuple[dict[str, str], ...] = field(default=())
    """Name, file, hash and kind of every input."""

    @property
    def outcome(self) -> Literal["pass", "fail", "cannot tell"]:
        """Of the gate: every run must pass every condition."""
        found = {each.outcome for each in self.gate}
        if "fail" in found:
            return "fail"
        return "cannot tell" if "cannot tell" in found else "pass"

    def run(self, name: str) -> Run:
        return next(run for run in self.runs if run.name == name)

    def table(self) -> pl.DataFrame:
        """A row for each run and target, and for each mean: accuracy, change, interval, q."""
        import polars as pl

        return pl.DataFrame([dict(row) for row in self._rows()], infer_schema_length=None)

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "run": run.name,
                "step": run.step,
                "target": cell.target,
                "items": cell.items,
                "of": cell.of,
                "base": cell.base,
                "accuracy": cell.tuned,
                "change": cell.change,
                "low": cell.effect.interval[0],
                "high": cell.effect.interval[1],
                "largest_loss": cell.loss,
                "fixed": cell.fixed,
                "broken": cell.broken,
                "p": cell.effect.p,
                "q": cell.q,
                "beyond_noise": cell.sign,
                "kind": cell.kind,
                "state": cell.state,
            }
            for run in self.runs
            for cell in [*run.cells.values(), *([run.mean] if run.mean else [])]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON, NaN as None."""
        whole = {
            "schema": 1,
            "verdict": self.decision.headline,
            "ship": self.decision.ship,
            "reasons": list(self.decision.reasons),
            "base": self.base,
            "targets": list(self.targets),
            "targets_of_mean": list(self.shared),
            "runs": [
                {"name": r.name, "step": r.step, "seeds": r.seeds, "verdict": r.verdict}
                for r in self.runs
            ],
            "cells": self._rows(),
            "checks": [{"severity": c.severity, "message": c.message} for c in self.checks],
            "gate": [vars(each) for each in self.gate],
            "outcome": self.outcome if self.gate else None,
            "notes": list(self.notes),
            "inputs": list(self.inputs),
        }
        return _plain(whole)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
