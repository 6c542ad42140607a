"""The record of a comparison: a base, the runs beside it, the gate and the decision.

In:   nothing; `compared_runs` measures the cells, `selection` decides, `readers.compare` builds it.
Out:  frozen records. All accuracies are fractions in [0, 1]: 0.05 is 5 points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from transferscope.analysis.json_file import plain
from transferscope.analysis.verdict import MEAN, Check
from transferscope.stats.effects import UNKNOWN, Effect

if TYPE_CHECKING:
    import polars as pl

Outcome = Literal["pass", "fail", "cannot tell"]
RunVerdict = Literal["harms", "no harm", "not settled", "nothing to test", "void"]
TOLERANCE = 0.05
"""A run does no harm if it loses less than this on every target."""
ALPHA = 0.05
"""Level of verdicts."""


@dataclass(frozen=True)
class ComparedCell:
    """One run on one target, or its mean over targets."""

    target: str
    kind: Literal["paired", "counts", "averages"]
    state: Literal["tested", "few items", "unreadable", "averages", "void", "no items"]
    """`tested`, or why there is no verdict."""
    items: int
    """Items that both base and run answered; 0 where only averages are known."""
    of: int
    """Items of the target that any run answered. For a mean, both are sums over its targets."""
    base: float
    """Accuracy of the base on the shared items."""
    tuned: float
    effect: Effect = UNKNOWN
    fixed: int | None = None
    """Items that the base got wrong and the run got right; None if unknown."""
    broken: int | None = None
    q: float = math.nan
    """p-value after Benjamini-Hochberg over all cells of the comparison, gains and losses apart."""
    sign: int = 0
    """1 better and -1 worse beyond noise, else 0; collapsed answers are never better."""
    bounds: tuple[float, float] = (math.nan, math.nan)
    """The change if all unreadable replies were wrong, or right; set if state is unreadable."""
    collapsed: str = ""
    """`always A` if most seeds give one answer, as the base does not: a harm at any score."""

    @property
    def change(self) -> float:
        return self.tuned - self.base if math.isnan(self.effect.change) else self.effect.change

    @property
    def loss(self) -> float:
        """The largest loss that is not excluded, one-sided 95 %; negative for a certain gain."""
        return -self.effect.lower()


@dataclass(frozen=True)
class ComparedRun:
    """One finetune, or one checkpoint of it."""

    name: str
    finetune: str
    """The part of the name that its checkpoints share."""
    step: int | None
    seeds: int
    cells: dict[str, ComparedCell]
    mean: ComparedCell | None
    """Over the targets on which all runs are tested; None if there are no such targets."""
    verdict: RunVerdict

    def tested(self) -> list[ComparedCell]:
        return [cell for cell in self.cells.values() if cell.state == "tested"]

    def moved(self, sign: int) -> list[ComparedCell]:
        """Cells beyond noise in one direction, the largest change first; -1: collapsed ones too."""
        fallen = sign < 0
        found = [c for c in self.cells.values() if c.sign == sign or (fallen and c.collapsed)]
        return sorted(found, key=lambda cell: -abs(cell.change))

    def cell(self, target: str) -> ComparedCell | None:
        return self.mean if target == MEAN else self.cells.get(target)


@dataclass(frozen=True)
class Condition:
    """One condition of the gate and its outcome for one run."""

    text: str
    """Such as `protect Jigsaw:2`."""
    run: str
    outcome: Outcome
    why: str


@dataclass(frozen=True)
class Decision:
    """Which run to ship."""

    headline: str
    """The verdict in one sentence."""
    ship: str | None
    """The run's name; None if no run can be recommended."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Runs beside their base; made by `transferscope.compare`."""

    base: str
    runs: tuple[ComparedRun, ...]
    targets: tuple[str, ...]
    shared: tuple[str, ...]
    """The targets of the means: those on which every run that is not void is tested."""
    base_accuracy: dict[str, float]
    checks: tuple[Check, ...]
    decision: Decision
    gate: tuple[Condition, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: tuple[dict[str, str], ...] = ()
    """Name, file, hash and kind of every input."""

    @property
    def outcome(self) -> Outcome:
        """The outcome of the gate: every run must pass every condition."""
        found = {each.outcome for each in self.gate}
        return "fail" if "fail" in found else "cannot tell" if "cannot tell" in found else "pass"

    def run(self, name: str) -> ComparedRun:
        return next(run for run in self.runs if run.name == name)

    def table(self) -> pl.DataFrame:
        """A row for each run and target, and for each mean: accuracy, change, interval, q."""
        import polars as pl

        return pl.DataFrame(self._rows(), infer_schema_length=None)

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
                "low": cell.effect.interval()[0],
                "high": cell.effect.interval()[1],
                "largest_loss": cell.loss,
                "fixed": cell.fixed,
                "broken": cell.broken,
                "p": cell.effect.p,
                "q": cell.q,
                "beyond_noise": cell.sign,
                "collapsed": cell.collapsed,
                "kind": cell.kind,
                "state": cell.state,
            }
            for run in self.runs
            for cell in [*run.cells.values(), *([run.mean] if run.mean else [])]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON, NaN as None."""
        return plain(
            {
                "schema": 1,
                "verdict": self.decision.headline,
                "ship": self.decision.ship,
                "reasons": self.decision.reasons,
                "base": self.base,
                "targets": self.targets,
                "targets_of_mean": self.shared,
                "runs": [
                    {"name": r.name, "step": r.step, "seeds": r.seeds, "verdict": r.verdict}
                    for r in self.runs
                ],
                "cells": self._rows(),
                "checks": [{"severity": c.severity, "message": c.message} for c in self.checks],
                "gate": self.gate,
                "outcome": self.outcome if self.gate else None,
                "notes": self.notes,
                "inputs": self.inputs,
            }
        )
