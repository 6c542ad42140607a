"""How answers are given: which letters, how many cannot be read, and which runs have collapsed.

A finetune may teach no perception and still move accuracies: an adapter that answers (A) to every
item scores what share of the right answers happen to be A. Such a run is called *collapsed*, and
its effect is no transfer. A run has collapsed when

    share   one letter is at least 95 % of the letters that it gives, and
    chance  so many of that letter would come up in fewer than one of a thousand runs whose letters
            were drawn at random as often as they are right in these items, and
    size    it gives at least 10 letters.

The first says "nearly everything" in a number that means the same for 2 options as for 10. (An
entropy does not: divided by that of all options, a run that uses two of four looks half as varied
as one that uses two of two.) The second asks for more than the right answers themselves explain:
where 90 % of 130 are A, a run may well give 95 % A and see perfectly; only all-A is then beyond
chance. It counts the letter as right once more, and others once more, than seen, so that a letter
that is never right is not beyond chance by itself. Nothing is asked of the accuracy: a collapsed
run may be better or worse than the base.

A reply without a readable letter is an outcome of its own. It stays wrong in `correct`, as the lab
scored it, but is counted here, shown, and never part of the letters.

In:   the predictions table, with `choice`, `answer`, `unreadable` where it has them; the matrix.
Out:  the matrix with counts for each run, and from it the record `conduct.Behaviour`:
      letter_count (model, seed, source, target, option), unreadable_count and collapsed_letter
      (model, seed, source, target), the same of the base with `base_` before them, without source;
      right_count (model, target, option). collapsed_letter is the option's index, -1 for none.

Unknown is NaN. Opens no file, draws nothing at random.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import scipy.special
from jaxtyping import Float, Int

from transferscope.errors import DataError
from transferscope.matrix.behavior_record import Answers, Behaviour, says
from transferscope.predictions import CELL as RUN
from transferscope.predictions import shown

if TYPE_CHECKING:
    import xarray as xr

SHARE = 0.95
"""Share of one letter among the letters of a collapsed run."""
CHANCE = 0.001
"""How rarely letters drawn as often as they are right would be so many of one."""
FEWEST = 10
"""Letters that a run must give to be called collapsed."""
LISTED = 5
"""Cells that a note names."""
LARGEST = 50_000_000
"""Counts kept for a study, so that a mistaken column does not fill the memory."""

BASE = ("model", "seed", "target")


def collapsed_letter(
    letters: Float[np.ndarray, "*run option"], right: Float[np.ndarray, "*run option"]
) -> Float[np.ndarray, "*run"]:
    """The letter to which each run has collapsed: its option's index, or -1.

    Args:
        letters: how often each option was chosen.
        right: how often each option was right, in the same items.

    Returns:
        NaN where no letter was given to an item whose right answer is known.
    """
    given = letters.sum(axis=-1).astype(int)
    most = letters.argmax(axis=-1)
    count, hits = (np.take_along_axis(v, most[..., None], -1)[..., 0] for v in (letters, right))
    rate = (hits + 1) / (given + 2)
    by_chance = scipy.special.bdtrc(count.astype(int) - 1, given, rate)
    fallen = (given >= FEWEST) & (count >= SHARE * given) & (by_chance < CHANCE)
    return np.where(given > 0, np.where(fallen, most, -1.0), np.nan)


def with_answers(dataset: xr.Dataset, rows: pl.DataFrame) -> xr.Dataset:
    """The matrix with what its runs' letters are, as far as the rows say; its notes say where not.

    Args:
        dataset: the matrix of the same rows.
        rows: a checked predictions table, every base row with a seed.
    """
    missing = [name for name in ("choice", "answer", "unreadable") if name not in rows.columns]
    read = _read(rows.with_columns(pl.lit(None).alias(name) for name in missing))
    notes = [*dataset.attrs["notes"], *_unknown(read)]
    if not (read["has_choice"] | read["has_unreadable"]).any():
        return dataset.assign_attrs(notes=notes)
    options = max(int(read.select(pl.max_horizontal("letter", "answer").max()).item() or 0), 1) + 1
    size = math.prod(dataset.sizes[d] for d in RUN) * options
    if size > max(LARGEST, 100 * rows.height):
        raise DataError(f"{rows.height} answers span {size} letters; is a column mistaken?")
    found = _counts(read.drop_nulls("source"), dataset, RUN, options)
    base = _counts(read.filter(pl.col("source").is_null()), dataset, BASE, options)
    found |= {f"base_{name}": variable for name, variable in base.items()}
    right = _tally(read.drop_nulls("answer"), dataset, ("model", "target"), "answer", options)
    found["right_count"] = (("model", "target", "option"), right)
    return dataset.assign(found).assign_attrs(notes=notes)


def _read(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `letter`, null where none was read, and what is known of their target."""
    known = (
        pl.col(name).is_not_null().any().over("model", "target").alias(f"has_{name}")
        for name in ("choice", "unreadable")
    )
    silent = pl.col("choice").is_null() & ~pl.col("correct")
    read = rows.with_columns(known).with_columns(
        unreadable=pl.coalesce(
            pl.col("unreadable").cast(pl.Boolean), pl.when("has_choice").then(silent)
        ),
        answer=pl.col("answer").cast(pl.Int64),
    )
    unread = pl.col("unreadable").fill_null(False)
    return read.with_columns(letter=pl.when(~unread).then(pl.col("choice").cast(pl.Int64)))


def _unknown(read: pl.DataFrame) -> list[str]:
    """What the rows of each model do not say of its letters."""
    notes = []
    for (model,), part in read.group_by("model", maintain_order=True):
        if part["choice"].null_count() == part.height:
            notes.append(
                f"{shown(str(model))}: no choices in the results, so it is not known how answers "
                f"are given, and collapsed adapters cannot be told from transfer"
            )
        elif part["answer"].null_count() == part.height:
            notes.append(
                f"{shown(str(model))}: no right answers beside the choices, so collapsed adapters "
                f"cannot be told"
            )
    return notes


def _place(rows: pl.DataFrame, dataset: xr.Dataset, dims: tuple[str, ...]) -> np.ndarray:
    """Each row's flat place in an array over `dims`."""
    where = [
        rows[d].cast(pl.Enum(dataset[d].values.tolist())).to_physical().to_numpy().astype(int)
        for d in dims
    ]
    return np.ravel_multi_index(where, [dataset.sizes[d] for d in dims])


def _tally(
    rows: pl.DataFrame, dataset: xr.Dataset, dims: tuple[str, ...], column: str, options: int
) -> Float[np.ndarray, "..."]:
    """How often each option stands in a column, (*dims, option)."""
    shape = [dataset.sizes[d] for d in dims]
    flat: Int[np.ndarray, " row"] = _place(rows, dataset, dims) * options + rows[column].to_numpy()
    counts = np.bincount(flat, minlength=math.prod(shape) * options)
    return counts.reshape(*shape, options).astype(np.float32)


def _counts(
    read: pl.DataFrame, dataset: xr.Dataset, dims: tuple[str, ...], options: int
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Letters, unreadable replies and collapse of each run; NaN where nothing is known of them."""
    shape = [dataset.sizes[d] for d in dims]
    size = math.prod(shape)

    def runs(which: pl.Expr) -> np.ndarray:
        return np.bincount(_place(read.filter(which), dataset, dims), minlength=size) > 0

    lettered, told = (runs(pl.col(f"has_{name}")) for name in ("choice", "unreadable"))
    letters = _tally(read.drop_nulls("letter"), dataset, dims, "letter", options)
    letters[~lettered.reshape(shape)] = np.nan
    judged = read.drop_nulls(["letter", "answer"])
    chosen, right = (_tally(judged, dataset, dims, c, options) for c in ("letter", "answer"))
    unread = _place(read.filter(pl.col("unreadable").fill_null(False)), dataset, dims)
    unreadable = np.bincount(unread, minlength=size).astype(np.float32)
    unreadable[~(lettered | told)] = np.nan
    return {
        "letter_count": ((*dims, "option"), letters),
        "unreadable_count": (dims, unreadable.reshape(shape)),
        "collapsed_letter": (dims, collapsed_letter(chosen, right).astype(np.float32)),
    }


def describe(one: xr.Dataset) -> Behaviour | None:
    """How one model and its adapters answer; None where its results do not say.

    Args:
        one: the matrix of one model.
    """
    if "letter_count" not in one or not bool(one["unreadable_count"].notnull().any()):
        return None
    targets = one["target"].values.tolist()
    right = one["right_count"].transpose("target", "option").values
    counts = [right] + [
        one[name].sum(set(one[name].dims) - {"target", "option"}).transpose("target", "option")
        for name in ("letter_count", "base_letter_count", "control_letter_count")
        if name in one
    ]
    used = [np.flatnonzero(row).max(initial=0) + 1 for row in np.add.reduce(counts)]
    runs = {"sources": ("", "source"), "controls": ("control_", "control")}
    rows = {
        kind: _answers(one, prefix, dim, used)
        for kind, (prefix, dim) in runs.items()
        if f"{prefix}letter_count" in one
    }
    return Behaviour(
        right={
            name: _shares(right[j], used[j]) if right[j].any() else []
            for j, name in enumerate(targets)
        },
        base=_answers(one.expand_dims("it"), "base_", "it", used)[""],
        sources=rows["sources"],
        controls=rows.get("controls", {}),
    )


def _shares(counts: Float[np.ndarray, " option"], options: int) -> list[float]:
    total = counts.sum()
    return [round(float(count / total), 4) for count in counts[:options]] if total > 0 else []


def _answers(
    one: xr.Dataset, prefix: str, dim: str, used: list[int]
) -> dict[str, dict[str, Answers]]:
    """{name in `dim`: {target: answers}}, where a run's answers are known."""
    over = (dim, "target", "seed")
    letters = one[f"{prefix}letter_count"].transpose(*over, "option").values
    unreadable = one[f"{prefix}unreadable_count"].transpose(*over).values
    own = "base_total" if prefix == "base_" else f"{prefix}run_total"  # all replies of the run
    total = one[own].transpose(*over).values
    fallen = one[f"{prefix}collapsed_letter"].transpose(*over).values
    names = one[dim].values.tolist() if dim in one.coords else [""]
    seeds = one["seed"].values.tolist()
    found: dict[str, dict[str, Answers]] = {}
    for i, name in enumerate(names):
        found[name] = {}
        for j, target in enumerate(one["target"].values.tolist()):
            known = np.isfinite(unreadable[i, j])
            if not known.any():
                continue
            replies = total[i, j][known].sum()
            collapsed = {s: int(n) for s, n in zip(seeds, fallen[i, j], strict=True) if n >= 0}
            found[name][target] = Answers(
                letters=_shares(np.nansum(letters[i, j], axis=0), used[j]),
                unreadable=round(float(unreadable[i, j][known].sum() / replies), 4),
                collapsed=collapsed,
                seeds=int(known.sum()),
            )
    return found


def collapsed_cells(found: dict[str, dict[str, Answers]]) -> list[tuple[str, str, Answers]]:
    """Source, target and answers of the cells in which a seed collapsed."""
    return [
        (source, target, answers)
        for source, row in found.items()
        for target, answers in row.items()
        if answers.collapsed
    ]


def knows_letters(record: Behaviour | None) -> bool:
    """Whether the letters of any adapter are known."""
    return record is not None and any(
        answers.letters for row in record.sources.values() for answers in row.values()
    )


def notes(model: str, record: Behaviour | None) -> list[str]:
    """What a reader must know of how one model answers."""
    if record is None:
        return []
    said, model = [], shown(model)
    if base := [(shown(name), each) for name, each in record.base.items() if each.collapsed]:
        cells = _some([f"{name} ({says(each)})" for name, each in base])
        said.append(
            f"{model}: the base itself gives one letter to nearly every item of {cells}; any "
            f"adapter that looks at the items stands out there."
        )
    total = sum(len(row) for row in record.sources.values())
    for found, of in ((record.sources, f"of {total} cells"), (record.controls, "of the controls")):
        if cells := collapsed_cells(found):
            names = _some([f"{shown(a)} → {shown(b)} ({says(answers)})" for a, b, answers in cells])
            said.append(
                f"{model}: {of}, {len(cells)} {'holds' if len(cells) == 1 else 'hold'} collapsed "
                f"answers, one letter to nearly every item, whose effect is no transfer: {names}."
            )
    return said + _unreadable(model, record)


def _unreadable(model: str, record: Behaviour) -> list[str]:
    cells = [
        (answers.unreadable, f"{shown(source) or 'base'} → {shown(target)}")
        for source, row in {"": record.base, **record.sources}.items()
        for target, answers in row.items()
    ]
    worst, where = max(cells, key=lambda cell: cell[0])
    if not worst > 0:
        return []
    mean = sum(share for share, _ in cells) / len(cells)
    return [
        f"{model}: replies that name no option count as wrong: {mean:.1%} of a cell's on average, "
        f"most in {where} ({worst:.0%})."
    ]


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more
