"""The record of a comparison: a base, the runs beside it, the gate and the decision.

In:   nothing; `compared_runs` measures the cells, `selection` decides, `readers.compare` builds it.
Out:  frozen records. All accuracies are fractions in [0, 1]: 0.05 is 5 points.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from transferscope.analysis.json_file import plain
from transferscope.analysis.surface import ComparisonMethods
from transferscope.analysis.verdict import MEAN, Check
from transferscope.errors import DataError
from transferscope.stats.effects import UNKNOWN, Effect
from transferscope.tasks.number import Interval, Number

if TYPE_CHECKING:
    import polars as pl

Outcome = Literal["pass", "fail", "cannot tell"]
State = Literal["tested", "few items", "unreadable", "averages", "void", "no items"]
RunVerdict = Literal["harms", "no harm", "not settled", "nothing to test", "void"]
TOLERANCE = 0.05
"""A run does no harm if it loses less than this on every target."""
ALPHA = 0.05
"""Level of verdicts."""
EFFECT = {"variance": math.nan, "df": math.inf, "seeds": math.nan, "seeds_df": math.inf}
"""{field of a cell's `Effect` beside its change: the value that JSON has as null}"""
RUN = ("name", "finetune", "step", "seeds", "verdict")
"""Fields of a `ComparedRun` that stand in `runs`; `cells` has the others."""
CELL = (
    *("run", "step", "target", "items", "of", "base", "tuned", "change", "low", "high", "loss"),
    *("fixed", "broken", "p", "q", "sign", "collapsed", "kind", "state", "bounds", *EFFECT),
)
RENAMED = {"tuned": "accuracy", "loss": "largest_loss", "sign": "beyond_noise"}
"""What `cells` has of each cell, and what some of it is called there."""


@dataclass(frozen=True)
class ComparedCell:
    """One run on one target, or its mean over targets."""

    target: str
    kind: Literal["paired", "counts", "averages"]
    state: State
    """`tested`, or why there is no verdict."""
    items: int
    """Items that both base and run answered; 0 where only averages are known."""
    of: int
    """Items of the target that any run answered. For a mean, both are sums over its targets."""
    base: Number
    """Accuracy of the base on the shared items."""
    tuned: Number
    effect: Effect = UNKNOWN
    fixed: int | None = None
    """Items that the base got wrong and the run got right; None if unknown."""
    broken: int | None = None
    q: Number = math.nan
    """p-value after Benjamini-Hochberg over all cells of the comparison, gains and losses apart."""
    sign: int = 0
    """1 better and -1 worse beyond noise, else 0; collapsed answers are never better."""
    bounds: Interval = (math.nan, math.nan)
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


@dataclass(frozen=True, repr=False)
class Comparison(ComparisonMethods):
    """Runs beside their base; made by `transferscope.compare`."""

    base: str
    runs: tuple[ComparedRun, ...]
    targets: tuple[str, ...]
    shared: tuple[str, ...]
    """The targets of the means: those on which every run that is not void is tested."""
    base_accuracy: dict[str, Number]
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

    def every_cell(self) -> Iterator[tuple[ComparedRun, ComparedCell]]:
        """Each run with each of its cells, the mean over targets last."""
        for run in self.runs:
            yield from ((run, cell) for cell in [*run.cells.values(), run.mean] if cell)

    def table(self) -> pl.DataFrame:
        """A row for each run and target, and for each mean: accuracy, change, interval, q."""
        import polars as pl

        table = pl.DataFrame(self._rows(), infer_schema_length=None)
        return table.drop("bounds", *EFFECT)

    def _rows(self) -> list[dict[str, Any]]:
        """The cells as `comparison.json` has them."""
        rows: list[dict[str, Any]] = []
        for run, cell in self.every_cell():
            low, high = cell.effect.interval()
            known = {**vars(cell), **vars(cell.effect), "run": run.name, "step": run.step}
            known |= {"low": low, "high": high, "p": cell.effect.p}
            known |= {"change": cell.change, "loss": cell.loss}
            rows.append({RENAMED.get(name, name): known[name] for name in CELL})
        return rows

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
                "runs": [{key: getattr(run, key) for key in RUN} for run in self.runs],
                "base_accuracy": self.base_accuracy,
                "cells": self._rows(),
                "checks": self.checks,
                "gate": self.gate,
                "outcome": self.outcome if self.gate else None,
                "notes": self.notes,
                "inputs": self.inputs,
            }
        )


def from_json(data: bytes, name: str = "the comparison") -> Comparison:
    """The comparison whose `to_dict` was written as JSON.

    Raises:
        DataError: the bytes are not a comparison of schema 1, or one that lacks a field.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        read: Any = json.loads(data)
        cells: dict[str, list[dict[str, Any]]] = {}
        for row in read["cells"]:
            effect = {key: none if row[key] is None else row[key] for key, none in EFFECT.items()}
            change = math.nan if row["change"] is None else row["change"]
            renamed = {name: row[other] for name, other in RENAMED.items()}
            renamed |= {"effect": Effect(change=change, **effect)}
            cells.setdefault(row["run"], []).append(row | renamed)
        for run in read["runs"]:
            rows = cells.get(run["name"], [])
            # A task may be called `mean` too; the mean over targets is the last row.
            several = sum(row["target"] == MEAN for row in rows) > (MEAN in read["targets"])
            run["mean"] = rows.pop() if several else None
            run["cells"] = {row["target"]: row for row in rows}
        reasons = read["reasons"]
        read["decision"] = {"headline": read["verdict"], "ship": read["ship"], "reasons": reasons}
        read["shared"] = read["targets_of_mean"]
        return TypeAdapter(Comparison).validate_python(read)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
    except json.JSONDecodeError:
        problem = "not JSON"
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"without {error}" if isinstance(error, KeyError) else "another structure"
    raise DataError(f"{name}: {problem}; expected a comparison, schema 1")
