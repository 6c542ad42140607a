"""Choose the items to show: those that a source fixed or broke in most of its seeds.

All flips are counted, by the rule of `flips`: what is plainly right (full marks) or plainly wrong
(none) before and after can flip; an answer worth a part of the marks does neither. Shown are a few
of each cell: those that changed in most seeds first, of equals those that no control changes, then
those that the fewest other sources change.

An item's text and pictures come from the suite that the study was asked with. Where the suite at
hand has other right answers than the predictions it is not that suite, and shows nothing.

In:   predictions tables, with their controls, and their suite where it can be opened.
Out:  `exhibits.Exhibits`.

Draws nothing at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from transferscope.errors import TransferscopeError
from transferscope.matrix.example_record import (
    LONGEST,
    LONGEST_NAME,
    MOST_BYTES,
    PICTURES,
    Exhibits,
    Flip,
    Flipped,
    Shown,
    to_json,
)
from transferscope.predictions import some, spread_base, with_marks
from transferscope.tasks import Item, Suite
from transferscope.tasks.images import thumbnails

PER_CELL = 3
"""Items shown of each cell and direction."""
MOST_ITEMS = 300
"""Items shown of all cells together."""
MOST_FLIPS = 3000
"""Flips shown of all cells together."""
MOST_PICTURES = 1_500_000
"""Characters of all pictures together."""
_CELL = ["model", "source", "target"]
_ITEM = ["model", "target", "item"]
_WAYS = ("fixed", "broken")


class Shelf(NamedTuple):
    """What one input brings."""

    rows: pl.DataFrame
    """A checked predictions table."""
    controls: pl.DataFrame | None = None
    """The same of control runs."""
    suite: Suite | None = None
    """Where the items are, if they can be had."""
    why_not: str = ""
    """Why there is no suite, for the notes."""


class _Chosen(NamedTuple):
    """A flip that may be shown, of one shelf."""

    shelf: int
    cell: tuple[str, str, str]
    way: str
    item: str
    others: int
    controls: list[str]


def curate(shelves: Sequence[Shelf], *, pictures: bool = True) -> Exhibits:
    """The items to look at.

    Args:
        pictures: whether to take pictures along.
    """
    changes = [_changes(shelf.rows, shelf.rows) for shelf in shelves]
    counted = [_counted(part) for part in changes]
    ranked = [
        each
        for number, shelf in enumerate(shelves)
        for each in _ranked(number, counted[number], _often_in_controls(shelf))
    ]
    ranked.sort(key=lambda each: each[:2])  # each cell's first, those of the most flips before
    kept = _within([chosen for *_, chosen in ranked])
    often = sum(_often(part, way).height for part in counted for way in _WAYS)
    notes = []
    if len(kept) < often:
        notes.append(
            f"{len(kept):,} of {often:,} changes that recur in more than half of the seeds are "
            f"shown: at most {PER_CELL} of a cell each way, and {MOST_ITEMS} items"
        )
    shown, places = _shown(shelves, kept, pictures, notes)
    models: dict[str, dict[str, dict[str, Flipped]]] = {}
    for number, part in enumerate(counted):
        for (model, source, target), cell in _cells(part):
            models.setdefault(model, {}).setdefault(source, {})[target] = cell
        own = [one for one in kept if one.shelf == number]
        for one, flip in zip(own, _flips(changes[number], own, places), strict=True):
            model, source, target = one.cell
            cell = models[model][source][target]
            (cell.most_fixed if one.way == "fixed" else cell.most_broken).append(flip)
    return _bounded(Exhibits(shown, models, notes))


def _changes(rows: pl.DataFrame, bases: pl.DataFrame) -> pl.DataFrame:
    """Each adapter's answers beside its base's, and which of them it fixed or broke."""
    rows, bases = (_marked(part) for part in (rows, bases))
    base = bases.filter(pl.col("source").is_null()).select(
        "model", "seed", "target", "item", base="mark", base_choice="choice"
    )
    both = rows.drop_nulls("source").join(
        base, on=["model", "seed", "target", "item"], maintain_order="left"
    )
    return both.with_columns(
        fixed=(pl.col("base") == 0) & (pl.col("mark") == 1),
        broken=(pl.col("base") == 1) & (pl.col("mark") == 0),
    )


def _marked(rows: pl.DataFrame) -> pl.DataFrame:
    rows = with_marks(spread_base(rows))
    lacking = [name for name in ("choice", "answer") if name not in rows.columns]
    return rows.with_columns(pl.lit(None, pl.Int64).alias(name) for name in lacking)


def _counted(changes: pl.DataFrame) -> pl.DataFrame:
    """In how many of its cell's seeds each item was fixed and broken; those that never were go."""
    seeds = changes.group_by(_CELL).agg(seeds=pl.col("seed").n_unique())
    items = changes.group_by([*_CELL, "item"], maintain_order=True).agg(
        pl.col(*_WAYS).sum().cast(pl.Int64)
    )
    flipped = items.filter(pl.any_horizontal(pl.col(*_WAYS) > 0))
    return flipped.join(seeds, on=_CELL, maintain_order="left")


def _often(counted: pl.DataFrame, way: str) -> pl.DataFrame:
    """The items that flipped one way in more than half of the seeds."""
    return counted.filter(2 * pl.col(way) > pl.col("seeds"))


def _often_in_controls(shelf: Shelf) -> pl.DataFrame | None:
    if shelf.controls is None or shelf.controls.is_empty():
        return None
    base = shelf.rows.filter(pl.col("source").is_null())
    seeds = shelf.controls.select("model", "seed").unique()
    once = base.filter(pl.col("seed").is_null()).drop("seed")
    spread = once.join(seeds, on="model").select(base.columns)
    return _counted(_changes(shelf.controls, pl.concat([base.drop_nulls("seed"), spread])))


def _ranked(
    shelf: int, counted: pl.DataFrame, controls: pl.DataFrame | None
) -> Iterator[tuple[int, int, _Chosen]]:
    """The flips that may be shown, each with its rank in its cell and minus its cell's flips."""
    for way in _WAYS:
        often = _often(counted, way).with_columns(
            others=pl.len().over(_ITEM) - 1, size=pl.len().over(_CELL)
        )
        if controls is None:
            often = often.with_columns(controls=pl.lit([], pl.List(pl.String)))
        else:
            named = _often(controls, way).group_by(_ITEM).agg(controls=pl.col("source").sort())
            often = often.join(named, on=_ITEM, how="left", maintain_order="left")
            often = often.with_columns(pl.col("controls").fill_null([]))
        often = often.with_columns(noted=pl.col("controls").list.len())
        order = [way, "noted", "others", "item"]
        often = often.sort(order, descending=[True, False, False, False], maintain_order=True)
        for group in often.partition_by(_CELL, maintain_order=True):
            for rank, row in enumerate(group.head(PER_CELL).iter_rows(named=True)):
                cell = (row["model"], row["source"], row["target"])
                chosen = _Chosen(shelf, cell, way, row["item"], row["others"], row["controls"])
                yield rank, -row["size"], chosen


def _within(chosen: Sequence[_Chosen]) -> list[_Chosen]:
    """The first of them, as many as there is room for."""
    items: set[tuple[str, str]] = set()
    kept = []
    for one in chosen:
        key = (one.cell[2], one.item)
        if key in items or len(items) < MOST_ITEMS:
            items.add(key)
            kept.append(one)
    return kept[:MOST_FLIPS]


def _cells(counted: pl.DataFrame) -> Iterator[tuple[tuple[str, str, str], Flipped]]:
    """Every cell in which something flipped, no item of it named yet."""
    for (model, source, target), part in counted.group_by(_CELL, maintain_order=True):
        seeds = int(part["seeds"][0])
        fixed, broken = (
            [int((part[way] == times).sum()) for times in range(1, seeds + 1)] for way in _WAYS
        )
        yield (str(model), str(source), str(target)), Flipped(seeds, fixed, broken, [], [])


def _flips(
    changes: pl.DataFrame, chosen: Sequence[_Chosen], places: Mapping[tuple[int, str, str], int]
) -> Iterator[Flip]:
    """The chosen flips, seed by seed."""
    known = changes.group_by("model", "target").agg(
        knows=pl.col("choice").is_not_null().any() & pl.col("base_choice").is_not_null().any()
    )
    keys = dict.fromkeys([*_CELL, "item"], pl.String)
    wanted = pl.DataFrame([(*one.cell, one.item) for one in chosen], keys, orient="row").unique()
    rows = changes.join(wanted, on=[*_CELL, "item"], how="semi").join(known, on=["model", "target"])
    found: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        key = (row["model"], row["source"], row["target"], row["item"])
        found.setdefault(key, []).append(row)
    for one in chosen:
        its = found[*one.cell, one.item]
        yield Flip(
            item=places[one.shelf, one.cell[2], one.item],
            seeds=[row["seed"] for row in its if row[one.way]],
            base={row["seed"]: row["base_choice"] for row in its if row["knows"]},
            tuned={row["seed"]: row["choice"] for row in its if row["knows"]},
            others=one.others,
            controls=one.controls,
        )


def _shown(
    shelves: Sequence[Shelf], chosen: Sequence[_Chosen], pictures: bool, notes: list[str]
) -> tuple[list[Shown], dict[tuple[int, str, str], int]]:
    """The chosen items, those of several shelves once where they are the same, and their places."""
    wanted: dict[tuple[int, str], list[str]] = {}
    for one in chosen:
        names = wanted.setdefault((one.shelf, one.cell[2]), [])
        if one.item not in names:
            names.append(one.item)
    room = MOST_PICTURES if pictures else 0
    shown: list[Shown] = []
    places: dict[tuple[int, str, str], int] = {}
    same: dict[str, int] = {}
    for (number, target), names in wanted.items():
        items = _looked_up(shelves[number], target, names, notes)
        for name in names:
            item = _as_shown(target, name, items.get(name), room, notes)
            place = same.setdefault(repr(item), len(shown))
            if place == len(shown):
                shown.append(item)
                room -= sum(map(len, item.pictures))
            places[number, target, name] = place
    if pictures and room <= 0:
        _note(notes, "the pictures of some items are left out, to keep the page small")
    return shown, places


def _looked_up(
    shelf: Shelf, target: str, names: Sequence[str], notes: list[str]
) -> dict[str, Item]:
    """The items of a target by name, as far as the suite at hand has them."""
    if shelf.suite is None:
        if shelf.why_not:
            _note(notes, shelf.why_not)
        return {}
    lacking, found = set(names), {}
    try:
        for item in shelf.suite.items(target, "eval"):
            if item.id in lacking:
                found[item.id] = item
                lacking.remove(item.id)
            if not lacking:
                break
    except TransferscopeError as error:
        _note(notes, f"{target}: no questions and no pictures: {error}")
        return {}
    if lacking:
        _note(notes, f"{target}: the suite at hand has no item {some(sorted(lacking), 3)}")
    right = _right(shelf.rows, target)
    if changed := [
        name for name, item in found.items() if right.get(name) not in (None, item.answer)
    ]:
        _note(
            notes,
            f"{target}: no questions and no pictures: the suite at hand has another right answer "
            f"to {some(changed, 3)} than the predictions",
        )
        return {}
    return found


def _right(rows: pl.DataFrame, target: str) -> dict[str, int]:
    """The right answers of a target's items, as the predictions have them."""
    if "answer" not in rows.columns:
        return {}
    known = rows.filter(pl.col("target") == target).select("item", "answer").drop_nulls()
    return dict(known.unique(maintain_order=True).iter_rows())


def _as_shown(target: str, name: str, item: Item | None, room: int, notes: list[str]) -> Shown:
    """One item, with its pictures while there is room for them."""
    if item is None:
        return Shown(target[:LONGEST_NAME], name[:LONGEST_NAME])
    drawn: list[str] = []
    if room > 0:
        try:
            drawn = thumbnails(item, PICTURES)
        except TransferscopeError as error:
            _note(notes, f"{target}: {name}: no picture: {error}")
        except ModuleNotFoundError:
            _note(notes, "no pictures: making them needs Pillow: pip install pillow")
    return Shown(
        target[:LONGEST_NAME],
        name[:LONGEST_NAME],
        question=_cut(item.question, LONGEST),
        choices=[_cut(choice, LONGEST_NAME) for choice in item.choices],
        answer=item.answer if item.answer >= 0 else None,
        truth=item.truth,
        images=len(item.images),
        pictures=drawn,
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _note(notes: list[str], note: str) -> None:
    """A note once, and not too many of them."""
    note = _cut(" ".join(note.split()), LONGEST)
    if note not in notes and len(notes) < 50:
        notes.append(note)


def _bounded(exhibits: Exhibits) -> Exhibits:
    """The exhibits, or none where a study has so many cells that they would fill the page."""
    if (size := len(to_json(exhibits))) <= MOST_BYTES:
        return exhibits
    return Exhibits([], {}, [f"no items are shown: they would take {size:,} bytes of the page"])
