"""The items to look at: every count found again row by row, every picture that of its item."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from analysis_factory import make
from hypothesis import given
from hypothesis import strategies as st
from messages import raises
from PIL import Image

from transferscope.analysis.analyze import analyze
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError, StudyError
from transferscope.matrix import examples, from_predictions
from transferscope.matrix import examples as exhibits
from transferscope.matrix.control_runs import with_controls
from transferscope.matrix.examples import ExampleInput, Exhibits, from_json, to_json
from transferscope.matrix.flips import flips
from transferscope.predictions import check_predictions
from transferscope.report import page
from transferscope.suites.glimpse import Glimpse
from transferscope.tasks import ArrayImage, Item, Task

TARGETS = ["Counting", "Relative_Depth"]
SOURCES = [*TARGETS, "Jigsaw"]
SEEDS = ["0", "1", "2"]


def predictions(
    sources=tuple(SOURCES), seeds=tuple(SEEDS), items=25, seed=0, base_seeds=(None,)
) -> pl.DataFrame:
    """Answers to glimpse's items by adapters that answer as the base did, two times of three."""
    rng = np.random.default_rng(seed)
    rows, before = [], {}
    for target in TARGETS:
        for item in Glimpse().items(target, "eval")[:items]:
            for base_seed in base_seeds:
                choice = int(rng.integers(len(item.choices)))
                before[item.id] = choice
                rows.append(("m", base_seed, None, target, item.id, choice, item.answer))
            for source in sources:
                fresh = int(rng.integers(len(item.choices)))
                for number in seeds:
                    own = rng.choice([before[item.id], fresh, -1], p=[0.5, 0.4, 0.1])
                    choice = None if own < 0 else int(own)
                    rows.append(("m", number, source, target, item.id, choice, item.answer))
    names = ["model", "seed", "source", "target", "item", "choice", "answer"]
    types = dict.fromkeys(names[:5], pl.String) | {"choice": pl.Int64, "answer": pl.Int64}
    table = pl.DataFrame(rows, types, orient="row").with_columns(
        correct=(pl.col("choice") == pl.col("answer")).fill_null(False),
        unreadable=pl.col("choice").is_null(),
    )
    return check_predictions(table, "test")


def recounted(rows: pl.DataFrame) -> dict[tuple[str, str, str, str], list[str]]:
    """{(source, target, item, way): seeds}, one row after another."""
    base = {}
    for row in rows.iter_rows(named=True):
        if row["source"] is None:
            base[row["seed"], row["item"]] = row["correct"]
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows.iter_rows(named=True):
        if row["source"] is None:
            continue
        before = base.get((row["seed"], row["item"]), base.get((None, row["item"])))
        if before != row["correct"]:
            way = "fixed" if row["correct"] else "broken"
            key = (row["source"], row["target"], row["item"], way)
            found.setdefault(key, []).append(row["seed"])
    return found


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return predictions()


@pytest.fixture(scope="module")
def made(rows) -> Exhibits:
    return examples.choose_examples([ExampleInput(rows, suite=Glimpse())])


def listed(made: Exhibits):
    """Every shown flip: (source, target, way, flip, item)."""
    for source, targets in made.models["m"].items():
        for target, cell in targets.items():
            for way in ("fixed", "broken"):
                for flip in getattr(cell, f"most_{way}"):
                    yield source, target, way, flip, made.items[flip.item]


def test_every_count_is_that_of_a_loop_over_the_rows(rows, made):
    again = recounted(rows)
    for source in SOURCES:
        for target in TARGETS:
            for way in ("fixed", "broken"):
                times = [
                    len(s)
                    for (a, b, _, w), s in again.items()
                    if (a, b, w) == (source, target, way)
                ]
                expected = [times.count(k) for k in (1, 2, 3)]
                assert getattr(made.models["m"][source][target], way) == expected


def test_counts_are_those_of_the_analysis(rows, made):
    for source, targets in flips(from_predictions(rows).sel(model="m")).items():
        for target, cell in targets.items():
            own = made.models["m"][source][target]
            for way in ("fixed", "broken"):
                times = getattr(own, way)
                total = sum(k * n for k, n in enumerate(times, 1))
                assert total / own.seeds == pytest.approx(getattr(cell, way))
                often = sum(n for k, n in enumerate(times, 1) if 2 * k > own.seeds)
                assert often == getattr(cell, f"often_{way}")


def test_what_is_shown_flipped_in_exactly_these_seeds_and_most_of_them(rows, made):
    again, shown = recounted(rows), list(listed(made))
    assert shown
    for source, target, way, flip, item in shown:
        assert flip.seeds == again[source, target, item.item, way]
        assert 2 * len(flip.seeds) > len(SEEDS)
        others = [
            other
            for other in SOURCES
            if other != source and len(again.get((other, target, item.item, way), [])) >= 2
        ]
        assert flip.others == len(others)
        answers = rows.filter(pl.col("item") == item.item)
        assert flip.tuned == dict(
            answers.filter(pl.col("source") == source).select("seed", "choice").iter_rows()
        )
        assert set(flip.base.values()) == set(
            answers.filter(pl.col("source").is_null())["choice"].to_list()
        )


def test_the_most_stubborn_flips_of_a_cell_are_shown(rows, made):
    again = recounted(rows)
    for source in SOURCES:
        for target in TARGETS:
            for way in ("fixed", "broken"):
                cell = made.models["m"][source][target]
                chosen = [len(flip.seeds) for flip in getattr(cell, f"most_{way}")]
                times = [
                    len(s)
                    for (a, b, _, w), s in again.items()
                    if (a, b, w) == (source, target, way)
                ]
                every = sorted((t for t in times if t >= 2), reverse=True)
                assert chosen == every[: examples.PER_CELL]


def test_a_shown_item_is_the_suites_with_its_pictures(made):
    suite = Glimpse()
    drawn = {
        target: {item.id: item for item in suite.items(target, "eval")}
        for target in {one.target for one in made.items}
    }
    for one in made.items:
        item = drawn[one.target][one.item]
        assert (one.question, tuple(one.choices), one.answer) == (
            item.question,
            item.choices,
            item.answer,
        )
        assert one.images == len(item.images) == len(one.thumbnails)
        for text, picture in zip(one.thumbnails, item.images, strict=True):
            image = Image.open(io.BytesIO(base64.b64decode(text)))
            assert image.format == "WEBP"
            apart = np.abs(np.asarray(image.convert("RGB"), int) - picture.pixels())
            assert apart.mean() < 16  # lossy, but of this picture


def test_exhibits_survive_their_file(made):
    data = to_json(made)
    assert from_json(data) == made
    assert to_json(from_json(data)) == data
    assert data.isascii()


def test_the_page_shows_them_and_escapes_them(rows, made):
    analysis = analyze(from_predictions(rows), Settings())
    html = page(analysis, made)
    assert 'id="items"' in html
    assert made.items[0].thumbnails[0] in html
    assert 'id="items"' not in page(analysis)
    hostile = replace(
        made.items[0], question="<script>alert(1)</script>", choices=["<b>", "\u2028"]
    )
    html = page(analysis, replace(made, items=[hostile, *made.items[1:]], notes=["<i>"]))
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<i>" not in html
    assert page(make(), made).count('id="items"') == 0  # of another analysis


def test_a_control_that_does_the_same_is_named(rows):
    controls = rows.filter(pl.col("source") == "Counting").with_columns(source=pl.lit("shuffled"))
    made = examples.choose_examples([ExampleInput(rows, controls, Glimpse())])
    again, named = recounted(rows), 0
    for _, target, way, flip, item in listed(made):
        same = len(again.get(("Counting", target, item.item, way), [])) >= 2
        assert flip.controls == (["shuffled"] if same else [])
        named += same
    assert named
    assert with_controls(from_predictions(rows), rows, controls)  # which reads the same tables


def test_controls_of_a_base_that_has_seeds_are_compared_with_it():
    rows = predictions(base_seeds=SEEDS)
    controls = rows.filter(pl.col("source") == "Jigsaw").with_columns(source=pl.lit("shuffled"))
    own = [
        flip
        for source, *_, flip, _ in listed(examples.choose_examples([ExampleInput(rows, controls)]))
        if source == "Jigsaw"
    ]
    assert own
    assert all(flip.controls == ["shuffled"] for flip in own)


class Other:
    """A suite with the same items under other right answers, or none of them."""

    name, version = "other", "1"
    tasks = tuple(Task(name, name) for name in TARGETS)

    def __init__(self, change):
        self.change = change

    def items(self, task, split):
        return [self.change(item) for item in Glimpse().items(task, split)[:25]]


def turned(item: Item) -> Item:
    return replace(item, answer=(item.answer + 1) % len(item.choices))


def absent(item: Item) -> Item:
    raise StudyError("it is not here")


@pytest.mark.parametrize(
    ("shelf", "said"),
    [
        ({"suite": None, "why_not": "x: no study file"}, "x: no study file"),
        ({"suite": Other(turned)}, "another right answer"),
        ({"suite": Other(absent)}, "it is not here"),
        ({"suite": Other(lambda item: replace(item, id=f"{item.id}-b"))}, "has no item"),
    ],
)
def test_without_the_suite_items_have_names_alone_and_it_is_said(rows, made, shelf, said):
    bare = examples.choose_examples([ExampleInput(rows, **shelf)])
    assert any(said in note for note in bare.notes)
    assert {(i.question, *i.choices, i.answer, *i.thumbnails) for i in bare.items} == {("", None)}
    assert bare.models == made.models  # the counts and answers are known all the same
    assert from_json(to_json(bare)) == bare


def test_pictures_can_be_left_out(rows):
    bare = examples.choose_examples([ExampleInput(rows, suite=Glimpse())], images=False)
    assert all(item.question and not item.thumbnails and item.images for item in bare.items)


def test_pictures_end_where_their_room_does(rows, monkeypatch):
    monkeypatch.setattr(examples, "MOST_IMAGES", 20_000)
    some = examples.choose_examples([ExampleInput(rows, suite=Glimpse())])
    assert 0 < sum(len(p) for item in some.items for p in item.thumbnails) < 40_000
    assert any("keep the page small" in note for note in some.notes)
    monkeypatch.setattr(examples, "MOST_ITEMS", 3)
    few = examples.choose_examples([ExampleInput(rows, suite=Glimpse())])
    assert len(few.items) == 3
    assert any("are shown" in note for note in few.notes)
    assert (
        few.models["m"]["Counting"]["Counting"].fixed
        == some.models["m"]["Counting"]["Counting"].fixed
    )


def test_two_models_of_one_suite_share_items(rows):
    both = [ExampleInput(rows.with_columns(model=pl.lit(m)), suite=Glimpse()) for m in "ab"]
    made = examples.choose_examples(both)
    assert made.models["a"] == made.models["b"]
    names = [item.item for item in made.items]
    assert len(set(names)) == len(names)


def test_marks_between_none_and_all_do_not_flip():
    rows = pl.DataFrame(
        {
            "model": "m",
            "seed": [None] * 3 + ["0"] * 3,
            "source": [None] * 3 + ["s"] * 3,
            "target": "t",
            "item": ["a", "b", "c"] * 2,
            "correct": [True, True, False, False, False, True],
            "score": [1.0, 1.0, 0.0, 0.0, 0.9, 1.0],
        },
        schema_overrides={"seed": pl.String, "source": pl.String},
    )
    made = examples.choose_examples([ExampleInput(check_predictions(rows, "test"))])
    cell = made.models["m"]["s"]["t"]
    assert (cell.fixed, cell.broken) == ([1], [1])  # b lost a tenth of its marks: neither
    assert cell.most_fixed[0].base == cell.most_fixed[0].tuned == {}  # no choices to show


def test_a_large_picture_becomes_small_and_carries_nothing():
    from transferscope.tasks.images import THUMBNAIL, thumbnail

    wide = ArrayImage(np.zeros((300, 1000, 3), np.uint8))
    image = Image.open(io.BytesIO(thumbnail(wide)))
    assert image.size == (THUMBNAIL, 48)
    assert not image.getexif()
    assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema=2), "schema"),
        (lambda d: d["items"][0].update(thumbnails=["<svg onload=alert(1)>"]), "thumbnails"),
        (lambda d: d["items"][0].update(thumbnails=['UklGRgAAAABXRUJQ"><script>']), "thumbnails"),
        (lambda d: d["items"][0].update(question="x" * 10_000), "question"),
        (lambda d: d["items"].clear(), "a flip has item"),
        (lambda d: d["items"][0].update(answer=99), "answer"),
        (lambda d: d.update(notes=["n"] * 1000), "notes"),
        (lambda d: d.pop("models"), "models"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(made, change, said):
    data = json.loads(to_json(made))
    change(data)
    with pytest.raises(DataError, match=said) as caught:
        from_json(json.dumps(data).encode(), "exhibits.json")
    assert str(caught.value).startswith("exhibits.json: ")
    assert "\n" not in str(caught.value)


def test_a_file_of_any_size_is_not_taken_in():
    with raises(DataError):
        from_json(b" " * (exhibits.MOST_BYTES + 1))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_exhibits_or_refused(data):
    with pytest.raises(DataError):
        from_json(data)
