"""Choose items to show: those that a source fixed or broke in most of its seeds.

All flips are counted, by the rule of `flips`. A few of each cell are shown: those that changed in
most seeds first, then those that no control changes, then those that the fewest other sources
change. Text and images come from the suite of the study; a suite with other right answers is
another suite, and shows nothing. `exhibits.json` is beside `analysis.json` and may be deleted.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError

from transferscope.errors import DataError, TransferscopeError
from transferscope.predictions import some, spread_base, with_marks
from transferscope.tasks import LETTERS, Item, ItemsOfSplit, Suite
from transferscope.tasks.images import thumbnails
from transferscope.tasks.open_answers import NumberAnswer

MOST_BYTES = 4_000_000
"""Bytes of `exhibits.json`, so that a page that holds all of it stays below 5 MB."""
LONGEST = 2000
"""Characters of a question; more are cut off."""
LONGEST_NAME = 500
"""Characters of a name or a choice."""
IMAGES = 4
"""Images of an item: of a video its first frame, of other items the first few."""
PER_CELL = 3
"""Items shown of each cell and direction."""
MOST_ITEMS = 300
"""Items shown of all cells together."""
MOST_IMAGES = 1_500_000
"""Characters of all images together."""
_CELL, _ITEM = ["model", "source", "target"], ["model", "target", "item"]
_KEYS, _WAYS = [*_CELL, "item"], ("fixed", "broken")

_Name = Annotated[str, Field(max_length=LONGEST_NAME)]
_Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
_Option = Annotated[int, Field(strict=True, ge=0, lt=len(LETTERS))]
_WebP = Annotated[
    str, Field(pattern=r"^UklGR[A-Za-z0-9+/]{6}XRUJQ[A-Za-z0-9+/]+={0,2}$", max_length=2**17)
]


@dataclass(frozen=True)
class ShownItem:
    """An item as the model saw it; its text and images are empty where they are not available."""

    target: _Name
    item: _Name
    question: Annotated[str, Field(max_length=LONGEST)] = ""
    """Without the choices."""
    choices: Annotated[list[_Name], Field(max_length=len(LETTERS))] = field(default_factory=list)
    """In the item's order, without letters."""
    answer: _Option | None = None
    """Index of the right choice; None where unknown, or where the answer is a number."""
    truth: float | str | None = None
    """The right number, where the answer is one."""
    images: _Count = 0
    """How many images the model saw; of a video, its frames. 0 where they are not available."""
    thumbnails: Annotated[list[_WebP], Field(max_length=IMAGES)] = field(default_factory=list)
    """Small copies of the first ones, WebP in base64."""


@dataclass(frozen=True)
class Flip:
    """An item that changed in more than half of a cell's seeds."""

    item: _Count
    """Index in `Exhibits.items`."""
    seeds: list[_Name]
    """The seeds in which it changed."""
    base: dict[_Name, _Option | None]
    """{seed: index of the base's choice}, of all seeds compared; None where unreadable. Empty where
    choices are not known, as where the answer is a number."""
    tuned: dict[_Name, _Option | None]
    """The same of the adapters."""
    others: _Count
    """Other sources that change it in the same way in more than half of their seeds."""
    controls: list[_Name]
    """Controls that do so too: their flips are no transfer."""


@dataclass(frozen=True)
class Flipped:
    """What one source changed in one target."""

    seeds: _Count
    """Seeds compared."""
    fixed: list[_Count]
    """Items that the base had wrong and the adapter right, in exactly 1, 2, ... seeds."""
    broken: list[_Count]
    """Items that the base had right and the adapter wrong, in exactly 1, 2, ... seeds."""
    most_fixed: list[Flip]
    """The first few of those fixed in more than half of the seeds, most seeds first."""
    most_broken: list[Flip]


@dataclass(frozen=True)
class Exhibits:
    """The items to show."""

    items: list[ShownItem]
    models: dict[_Name, dict[_Name, dict[_Name, Flipped]]]
    """{model: {source: {target: what changed}}}"""
    notes: Annotated[list[Annotated[str, Field(max_length=LONGEST)]], Field(max_length=100)]
    """What is not shown, and why."""
    schema: Literal[1] = 1


class ExampleInput(NamedTuple):
    """The predictions of one study, and of its control runs."""

    rows: pl.DataFrame
    controls: pl.DataFrame | None = None
    suite: Suite | None = None
    """Where the items are, if available."""
    why_not: str = ""
    """Why it is not, for the notes."""


def to_json(exhibits: Exhibits) -> bytes:
    """The exhibits as the bytes of `exhibits.json`: ASCII, keys in reading order."""
    return json.dumps(asdict(exhibits), separators=(",", ":")).encode() + b"\n"


def from_json(data: bytes, name: str = "the exhibits") -> Exhibits:
    """The exhibits that `to_json` wrote.

    Raises:
        DataError: the bytes are too many or no exhibits of schema 1; the message names the field.
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"{name}: must have at most {MOST_BYTES:,} bytes, got {len(data):,}")
    try:
        found = TypeAdapter(Exhibits).validate_json(data)
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"]) or "the file"
        raise DataError(f"{name}: {where}: {first['msg']}; expected exhibits, schema 1") from None
    rows = [row for sources in found.models.values() for row in sources.values()]
    cells = [cell for row in rows for cell in row.values()]
    flips = [flip for cell in cells for flip in (*cell.most_fixed, *cell.most_broken)]
    if (last := max((flip.item for flip in flips), default=-1)) >= len(found.items):
        raise DataError(f"{name}: a flip has item {last}, but only {len(found.items)} are given")
    return found


def _often(way: str) -> pl.Expr:
    return 2 * pl.col(way) > pl.col("seeds")


class _Chosen(NamedTuple):
    """A flip that may be shown, of one input."""

    input: int
    model: str
    source: str
    target: str
    item: str
    way: str
    others: int
    controls: list[str]
    knows: bool
    """Whether choices are known."""
    by_seed: list[dict[str, Any]]


def choose_examples(inputs: Sequence[ExampleInput], *, images: bool = True) -> Exhibits:
    """The items to show, with small copies of their images unless `images` is false."""
    counted = [_counted(_changes(one.rows, one.rows)) for one in inputs]
    ranked = pl.concat(
        part.with_columns(input=pl.lit(number))
        for number, one in enumerate(inputs)
        for part in _ranked(counted[number], _counted_of_controls(one))
    )  # next each cell's first, those of the most flips before
    ranked = ranked.sort("rank", "size", descending=[False, True], maintain_order=True)
    items: set[tuple[str, str]] = set()
    kept: list[_Chosen] = []
    for chosen in map(_Chosen._make, ranked.select(_Chosen._fields).iter_rows()):
        key = (chosen.target, chosen.item)
        if key in items or len(items) < MOST_ITEMS:
            items.add(key)
            kept.append(chosen)
    often = sum(part.filter(_often(way)).height for part in counted for way in _WAYS)
    notes = []
    if len(kept) < often:
        notes.append(
            f"{len(kept):,} of {often:,} changes that recur in more than half of the seeds are "
            f"shown: at most {PER_CELL} of a cell each way, and {MOST_ITEMS} items"
        )
    shown, places = _shown(inputs, kept, images, notes)
    models: dict[str, dict[str, dict[str, Flipped]]] = {}
    for part in counted:
        for names, rows in part.group_by(_CELL, maintain_order=True):
            model, source, target = map(str, names)
            seeds = int(rows["seeds"][0])
            fixed, broken = (
                [int((rows[way] == times).sum()) for times in range(1, seeds + 1)] for way in _WAYS
            )
            cell = Flipped(seeds, fixed, broken, [], [])
            models.setdefault(model, {}).setdefault(source, {})[target] = cell
    for one in kept:
        cell = models[one.model][one.source][one.target]
        flip = _flip(one, places[one.input, one.target, one.item])
        (cell.most_fixed if one.way == "fixed" else cell.most_broken).append(flip)
    found = Exhibits(shown, models, notes)
    if (size := len(to_json(found))) > MOST_BYTES:  # a study of very many cells
        return Exhibits([], {}, [f"no items are shown: they would take {size:,} bytes of the page"])
    return found


def _changes(rows: pl.DataFrame, bases: pl.DataFrame) -> pl.DataFrame:
    """Each adapter's answers beside its base's, and which of them it fixed or broke."""

    def marked(part: pl.DataFrame) -> pl.DataFrame:
        known = "choice" if "choice" in part.columns else pl.lit(None, pl.Int64)
        return with_marks(spread_base(part)).with_columns(choice=known)

    keys = ["model", "seed", "target", "item"]
    base = marked(bases).filter(pl.col("source").is_null())
    base = base.select(*keys, base="mark", base_choice="choice")
    both = marked(rows).drop_nulls("source").join(base, on=keys, maintain_order="left")
    chosen = pl.col("choice", "base_choice").is_not_null().any().over("model", "target")
    return both.with_columns(
        fixed=(pl.col("base") == 0) & (pl.col("mark") == 1),
        broken=(pl.col("base") == 1) & (pl.col("mark") == 0),
        knows=pl.all_horizontal(chosen),
    )


def _counted(changes: pl.DataFrame) -> pl.DataFrame:
    """In how many of its cell's seeds each changed item was fixed and broken."""
    seeds = changes.group_by(_CELL).agg(seeds=pl.col("seed").n_unique())
    items = changes.group_by(_KEYS, maintain_order=True).agg(
        pl.col(*_WAYS).sum().cast(pl.Int64),
        pl.col("knows").first(),
        by_seed=pl.struct("seed", "choice", "base_choice", *_WAYS),
    )
    changed = pl.any_horizontal(pl.col(*_WAYS) > 0)
    return items.filter(changed).join(seeds, on=_CELL, maintain_order="left")


def _counted_of_controls(one: ExampleInput) -> pl.DataFrame:
    controls = one.rows.clear() if one.controls is None else one.controls
    base = one.rows.filter(pl.col("source").is_null())
    once = base.filter(pl.col("seed").is_null()).drop("seed")  # one base for all seeds
    seeds = controls.select("model", "seed").unique()
    spread = once.join(seeds, on="model").select(base.columns)
    return _counted(_changes(controls, pl.concat([base.drop_nulls("seed"), spread])))


def _ranked(counted: pl.DataFrame, controls: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The flips that may be shown, each with its `rank` in its cell and the `size` of that."""
    for way in _WAYS:
        often = counted.filter(_often(way)).with_columns(
            others=pl.len().over(_ITEM) - 1, size=pl.len().over(_CELL), way=pl.lit(way)
        )
        named = controls.filter(_often(way)).group_by(_ITEM).agg(controls=pl.col("source").sort())
        often = often.join(named, on=_ITEM, how="left", maintain_order="left")
        often = often.with_columns(pl.col("controls").fill_null([]))
        order = [pl.col(way).neg(), pl.col("controls").list.len(), "others", "item"]
        often = often.sort(order, maintain_order=True).group_by(_CELL, maintain_order=True)
        often = often.head(PER_CELL)
        yield often.with_columns(rank=pl.int_range(pl.len()).over(_CELL))


def _flip(one: _Chosen, place: int) -> Flip:
    """A chosen flip, seed by seed."""
    chosen = one.by_seed if one.knows else []
    return Flip(
        item=place,
        seeds=[row["seed"] for row in one.by_seed if row[one.way]],
        base={row["seed"]: row["base_choice"] for row in chosen},
        tuned={row["seed"]: row["choice"] for row in chosen},
        others=one.others,
        controls=one.controls,
    )


def _shown(
    inputs: Sequence[ExampleInput], chosen: Sequence[_Chosen], images: bool, notes: list[str]
) -> tuple[list[ShownItem], dict[tuple[int, str, str], int]]:
    """The chosen items, equal ones of several inputs once, and their places."""
    wanted: dict[tuple[int, str], dict[str, None]] = {}
    for one in chosen:
        wanted.setdefault((one.input, one.target), {})[one.item] = None
    budget = MOST_IMAGES if images else 0
    shown: list[ShownItem] = []
    places: dict[tuple[int, str, str], int] = {}
    same: dict[str, int] = {}
    for (number, target), names in wanted.items():
        items = _looked_up(inputs[number], target, list(names), notes)
        for name in names:
            item = _as_shown(target, name, items.get(name), budget, notes)
            place = same.setdefault(repr(item), len(shown))
            if place == len(shown):
                shown.append(item)
                budget -= sum(map(len, item.thumbnails))
            places[number, target, name] = place
    if images and budget <= 0:
        _note(notes, "the images of some items are left out, to keep the page small")
    return shown, places


def _looked_up(
    one: ExampleInput, target: str, names: list[str], notes: list[str]
) -> dict[str, Item]:
    """The items of a target by name, as far as the suite has them."""
    if one.suite is None:
        _note(notes, one.why_not)
        return {}
    try:
        items = one.suite.items(target, "eval")
        ids = items.ids() if isinstance(items, ItemsOfSplit) else [item.id for item in items]
        found = {name: items[place] for place, name in enumerate(ids) if name in names}
    except TransferscopeError as error:
        _note(notes, f"{target}: no questions and no images: {error}")
        return {}
    if lacking := sorted(set(names) - set(found)):
        _note(notes, f"{target}: the suite has no item {some(lacking, 3)}")
    right = {}
    if "answer" in one.rows.columns:
        known = one.rows.filter(pl.col("target") == target).select("item", "answer").drop_nulls()
        right = dict(known.unique(maintain_order=True).iter_rows())
    if changed := [n for n, item in found.items() if right.get(n) not in (None, item.answer)]:
        why = f"the suite has another right answer to {some(changed, 3)} than the predictions"
        _note(notes, f"{target}: no questions and no images: {why}")
    return {} if changed else found


def _as_shown(
    target: str, name: str, item: Item | None, budget: int, notes: list[str]
) -> ShownItem:
    """One item, with its images while the budget lasts."""
    names, drawn = (target[:LONGEST_NAME], name[:LONGEST_NAME]), []
    if item is None:
        return ShownItem(*names)
    try:
        drawn = thumbnails(item, IMAGES) if budget > 0 else []
    except TransferscopeError as error:
        _note(notes, f"{target}: {name}: no image: {error}")
    question, choices = _cut(item.question, LONGEST), [_cut(c, LONGEST_NAME) for c in item.choices]
    answer = item.answer if item.answer >= 0 else None
    truth = (
        item.truth.value if isinstance(item.truth, NumberAnswer) else item.truth and str(item.truth)
    )
    return ShownItem(*names, question, choices, answer, truth, len(item.images), drawn)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _note(notes: list[str], note: str) -> None:
    """Add a note once, and at most 50."""
    note = _cut(" ".join(note.split()), LONGEST)
    if note and note not in notes and len(notes) < 50:
        notes.append(note)
