"""How each run answers: the options chosen, the unreadable replies, and which runs have collapsed.

A finetune may teach no perception and still move accuracies: an adapter that answers (A) to every
item scores what share of the right answers happen to be A. Such a run is called *collapsed*, and
its effect is no transfer (`collapsed_letter`).

A reply without a readable option stays wrong in `correct`, but is counted here, shown, and never
part of the options chosen. Unknown is NaN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import scipy.special
import xarray as xr
from jaxtyping import Float

from transferscope.errors import DataError
from transferscope.predictions import CELL, unread
from transferscope.tasks import LETTERS
from transferscope.tasks.number import Number
from transferscope.tasks.untrusted import shown

SHARE, CHANCE, FEWEST = 0.95, 0.001, 10
"""When a run has collapsed: see `collapsed_letter`."""
NEARLY = 0.85
"""Share of one option from which on a base answers nearly as a collapsed run does: then a collapse
is no harm that the finetune did."""
LISTED = 5
"""Cells that a note names."""
LARGEST = 50_000_000
"""Cells or counts of a study: a mistaken column fails early instead of filling the memory."""


@dataclass(frozen=True)
class Answers:
    """How one source's adapters, or the base, answer the items of one target."""

    letters: list[Number]
    """Share of each option (A first) among those chosen, seeds pooled; empty where unknown."""
    unreadable: Number
    """Share of all replies that name no option, seeds pooled. They count as wrong."""
    collapsed: dict[str, int]
    """{seed: option}: seeds that have collapsed, and to which option."""
    seeds: int
    """Seeds whose answers are known."""


@dataclass(frozen=True)
class Behaviour:
    """How one model and its adapters answer."""

    right: dict[str, list[Number]]
    """{target: share of each option among the right answers}; empty lists where unknown."""
    base: dict[str, Answers]
    """{target: answers}"""
    sources: dict[str, dict[str, Answers]]
    """{source: {target: answers}}"""
    controls: dict[str, dict[str, Answers]]
    """{control: {target: answers}}"""

    @property
    def knows_letters(self) -> bool:
        """Whether the options that any adapter chose are known."""
        return any(answers.letters for row in self.sources.values() for answers in row.values())


def describe_answers(answers: Answers) -> str:
    """`always A`, and in how many seeds where not in all: `always A in 2 of 4 seeds`."""
    letters = sorted({letter(option) for option in answers.collapsed.values()})
    words = "always " + " or ".join(letters)
    count = len(answers.collapsed)
    return words if count == answers.seeds else f"{words} in {count} of {answers.seeds} seeds"


def letter(option: int) -> str:
    """An option's letter: A for 0."""
    return chr(ord(LETTERS[0]) + option)


def collapsed_letter(
    letters: Float[np.ndarray, "*run option"], right: Float[np.ndarray, "*run option"]
) -> Float[np.ndarray, "*run"]:
    """The option to which each run has collapsed: its index, or -1. A run has collapsed when

        share   one option is at least 95 % of the options it chooses, and
        chance  so many of that option would come up in fewer than one of a thousand runs whose
                options were drawn at random as often as they are right in these items, and
        size    it chooses at least 10 options.

    The first means the same for 2 options as for 10, as an entropy does not. The second needs more
    than the right answers explain: where 90 % of 130 are A, a run may well give 95 % A and see
    perfectly; only all-A is then beyond chance. It counts the option as right once more, and others
    once more, than seen, so that an option that is never right is not beyond chance by itself.

    Args:
        letters: how often each option was chosen.
        right: how often each option was right, in the same items.

    Returns:
        NaN where no option was chosen in an item whose right answer is known.
    """
    given = letters.sum(axis=-1).astype(int)
    most = letters.argmax(axis=-1)
    count, hits = (np.take_along_axis(v, most[..., None], -1)[..., 0] for v in (letters, right))
    rate = (hits + 1) / (given + 2)
    by_chance = scipy.special.bdtrc(count.astype(int) - 1, given, rate)
    fallen = (given >= FEWEST) & (count >= SHARE * given) & (by_chance < CHANCE)
    return np.where(given > 0, np.where(fallen, most, -1.0), np.nan)


def with_answers(dataset: xr.Dataset, rows: pl.DataFrame) -> xr.Dataset:
    """The matrix with the options that its runs chose, as far as the rows hold them.

    Args:
        dataset: the matrix of the same rows.
        rows: a checked predictions table, every base row with a seed.

    Returns:
        With letter_count (model, seed, source, target, option), unreadable_count and
        collapsed_letter (model, seed, source, target), the same of the base with `base_` before
        them, without source, and right_count (model, target, option).
    """
    read = _read(rows)
    notes = list(dataset.attrs["notes"])
    for (name,), part in read.group_by("model", maintain_order=True):
        if part["choice"].null_count() == part.height:
            why = "no choices in the results, so how replies are given is unknown, and collapsed "
            why += "adapters cannot be distinguished from transfer"
        elif part["answer"].null_count() == part.height:
            why = "no right answers beside the choices, so collapsed adapters cannot be detected"
        else:
            continue
        notes.append(f"{shown(str(name))}: {why}")
    if not (read["has_choice"] | read["has_unreadable"]).any():
        return dataset.assign_attrs(notes=notes)
    options = max(int(read.select(pl.max_horizontal("letter", "answer").max()).item() or 0), 1) + 1
    size = math.prod(dataset.sizes[d] for d in CELL) * options
    if size > max(LARGEST, 100 * rows.height):
        raise DataError(f"{rows.height} answers span {size} letters; is a column mistaken?")
    labels = {d: dataset[d].values.tolist() for d in CELL} | {"option": list(range(options))}
    found = _counts(read.drop_nulls("source"), labels, CELL)
    base = _counts(read.filter(pl.col("source").is_null()), labels, ("model", "seed", "target"))
    found |= {f"base_{name}": variable for name, variable in base.items()}
    dims = ("model", "target", "option")
    right = _tally(read.drop_nulls("answer").with_columns(option="answer"), labels, dims)
    found["right_count"] = (dims, right)
    return dataset.assign(found).assign_attrs(notes=notes)


def _read(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `letter`, null where none was read, and whether their target has any."""
    missing = [name for name in ("choice", "answer", "unreadable") if name not in rows.columns]
    known = (
        pl.col(name).is_not_null().any().over("model", "target").alias(f"has_{name}")
        for name in ("choice", "unreadable")
    )
    silent = pl.when("has_choice").then(pl.col("choice").is_null() & ~pl.col("correct"))
    readable = pl.when(~pl.col("unreadable").fill_null(False))
    return (
        rows.with_columns(pl.lit(None).alias(name) for name in missing)
        .with_columns(pl.col("choice", "answer").cast(pl.Int64), *known)
        .with_columns(unreadable=pl.coalesce(pl.col("unreadable").cast(pl.Boolean), silent))
        .with_columns(letter=readable.then("choice"))
    )


def positions(
    rows: pl.DataFrame, labels: Mapping[str, list[Any]], dims: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Each row's index along each dimension, among its labels; an option is an index already."""
    codes = (
        rows[d] if d == "option" else rows[d].cast(pl.Enum(labels[d])).to_physical() for d in dims
    )
    return tuple(code.to_numpy() for code in codes)


def _tally(
    rows: pl.DataFrame, labels: Mapping[str, list[Any]], dims: Sequence[str]
) -> Float[np.ndarray, "..."]:
    """How many rows have each combination of labels."""
    found = np.zeros([len(labels[d]) for d in dims], np.float32)
    np.add.at(found, positions(rows, labels, dims), 1)
    return found


def _counts(
    read: pl.DataFrame, labels: Mapping[str, list[Any]], dims: tuple[str, ...]
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Options, unreadable replies and collapse of each run; NaN where nothing is known of them."""

    def options(column: str, *known: str) -> np.ndarray:
        rows = read.drop_nulls([column, *known]).with_columns(option=column)
        return _tally(rows, labels, (*dims, "option"))

    letters = options("letter")
    unreadable = _tally(read.filter(unread(read)), labels, dims)
    has_choice = _tally(read.filter("has_choice"), labels, dims) > 0
    letters[~has_choice] = np.nan
    unreadable[~has_choice & (_tally(read.filter("has_unreadable"), labels, dims) == 0)] = np.nan
    fallen = collapsed_letter(options("letter", "answer"), options("answer", "letter"))
    return {
        "letter_count": ((*dims, "option"), letters),
        "unreadable_count": (dims, unreadable),
        "collapsed_letter": (dims, fallen.astype(np.float32)),
    }


def behavior(one: xr.Dataset) -> Behaviour | None:
    """How one model and its adapters answer; None where its results do not hold the options.

    Args:
        one: the matrix of one model.
    """
    if "letter_count" not in one or not bool(one["unreadable_count"].notnull().any()):
        return None
    names = ("right_count", "letter_count", "base_letter_count", "control_letter_count")
    counts = [
        one[name].sum(set(one[name].dims) - {"target", "option"}).transpose("target", "option")
        for name in names
        if name in one
    ]
    used = [np.flatnonzero(row).max(initial=0) + 1 for row in np.add.reduce(counts)]
    right = zip(one["target"].values.tolist(), counts[0].values, used, strict=True)
    controls = _answers(one, "control_", "control", used) if "control_letter_count" in one else {}
    return Behaviour(
        right={name: _shares(row, options) for name, row, options in right},
        base=_answers(one.expand_dims("it"), "base_", "it", used)[""],
        sources=_answers(one, "", "source", used),
        controls={name: row for name, row in controls.items() if row},  # some may lack a model
    )


def _shares(counts: Float[np.ndarray, " option"], options: int) -> list[float]:
    total = counts.sum()
    return [round(float(count / total), 4) for count in counts[:options]] if total > 0 else []


def _answers(
    one: xr.Dataset, prefix: str, dim: str, used: list[int]
) -> dict[str, dict[str, Answers]]:
    """{name in `dim`: {target: answers}}, where a run's answers are known."""
    replies = "total" if prefix == "base_" else "run_total"
    letters, unreadable, total, fallen = (
        one[prefix + name].transpose(dim, "target", "seed", ...).values
        for name in ("letter_count", "unreadable_count", replies, "collapsed_letter")
    )
    names = one[dim].values.tolist() if dim in one.coords else [""]
    seeds = one["seed"].values.tolist()
    found: dict[str, dict[str, Answers]] = {}
    for i, name in enumerate(names):
        found[name] = {}
        for j, target in enumerate(one["target"].values.tolist()):
            known = np.isfinite(unreadable[i, j])
            if known.any():
                options = zip(seeds, fallen[i, j], strict=True)
                share = unreadable[i, j][known].sum() / total[i, j][known].sum()
                found[name][target] = Answers(
                    letters=_shares(np.nansum(letters[i, j], axis=0), used[j]),
                    unreadable=round(float(share), 4),
                    collapsed={seed: int(option) for seed, option in options if option >= 0},
                    seeds=int(known.sum()),
                )
    return found


def behavior_notes(
    model: str, record: Behaviour | None, harms: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Notes on how one model answers.

    Args:
        harms: {source: targets} of collapses that a verdict names already.
    """
    if record is None:
        return []

    def listed(cells: list[str]) -> str:
        more = f" and {len(cells) - LISTED} more" if len(cells) > LISTED else ""
        return ", ".join(cells[:LISTED]) + more

    def fallen(row: Mapping[str, Answers], source: str = "") -> list[str]:
        before, named = f"{shown(source)} → " * bool(source), (harms or {}).get(source, ())
        cells = {name: one for name, one in row.items() if one.collapsed and name not in named}
        return [f"{before}{shown(name)} ({describe_answers(one)})" for name, one in cells.items()]

    notes, model = [], shown(model)
    if base := fallen(record.base):
        notes.append(
            f"{model}: the base itself gives one letter to nearly every item of {listed(base)}; "
            f"any adapter that uses the images stands out there."
        )
    total = sum(len(row) for row in record.sources.values())
    for found, of in ((record.sources, f"of {total} cells"), (record.controls, "of the controls")):
        cells = [cell for name, row in found.items() for cell in fallen(row, name)]
        if cells:
            notes.append(
                f"{model}: {of}, {len(cells)} {'holds' if len(cells) == 1 else 'hold'} collapsed "
                f"answers, one letter to nearly every item, whose effect is no transfer: "
                f"{listed(cells)}."
            )
    shares = [
        (answers.unreadable, f"{shown(source) or 'base'} → {shown(target)}")
        for source, row in {"": record.base, **record.sources}.items()
        for target, answers in row.items()
    ]
    worst, where = max(shares, key=lambda cell: cell[0])
    if worst > 0:
        mean = sum(share for share, _ in shares) / len(shares)
        notes.append(
            f"{model}: replies that name no option count as wrong: {mean:.1%} of a cell's on "
            f"average, most in {where} ({worst:.0%})."
        )
    return notes
