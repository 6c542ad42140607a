"""A user's own suite: read as it stands, and refused with the file, the line and the field."""

import json
import os
from pathlib import Path

import pytest
from messages import raises
from PIL import Image

from transferscope.errors import DataError, StudyError
from transferscope.suites import open_suite
from transferscope.suites.contact_sheet import contact_sheet
from transferscope.suites.folder import FolderSuite
from transferscope.tasks.open_answers import (
    BoxAnswer,
    NumberAnswer,
    OpenAnswer,
    PointAnswer,
    TextAnswer,
)

ROW = {
    "id": "cat-1",
    "images": ["images/1.png", "images/2.png"],
    "question": "How many cats?",
    "choices": ["1", "2", "3"],
    "answer": "B",
}
HEADING = """
name: cats
version: "2"
tasks:
  - {name: Cat_Counting, abbreviation: CC, level: high, granularity: image}
  - {name: Dogs}
"""


def row(**changes: object) -> str:
    return json.dumps({**ROW, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A suite of one task with one training line and two evaluation lines."""
    images = tmp_path / "Cat_Counting" / "images"
    images.mkdir(parents=True)
    for name, color in (("1.png", (200, 10, 30)), ("2.png", (10, 200, 30))):
        Image.new("RGB", (20, 10), color).save(images / name)
    (tmp_path / "suite.yaml").write_text(HEADING)
    (tmp_path / "Cat_Counting" / "train.jsonl").write_text(row())
    lines = [row(), "", row(id="cat-2", answer="(C)", prompt="Count!", origin={"by": "hand"})]
    (tmp_path / "Cat_Counting" / "eval.jsonl").write_text("\n".join(lines))
    return tmp_path


def write(folder: Path, *lines: str) -> None:
    (folder / "Cat_Counting" / "eval.jsonl").write_text("\n".join(lines))


def refused(folder: Path, *lines: str) -> None:
    write(folder, *lines)
    with raises(DataError):
        open_suite(str(folder)).items("Cat_Counting", "eval")


def test_a_folder_is_a_suite(folder: Path) -> None:
    suite = open_suite(str(folder))
    assert (suite.name, suite.version) == ("cats", "2")
    assert [t.abbreviation for t in suite.tasks] == ["CC", "Dogs"]
    assert suite.tasks[0].level == "high"
    first, second = suite.items("Cat_Counting", "eval")
    assert (first.id, first.answer, second.answer) == ("cat-1", 1, 2)
    assert first.prompt == (
        "How many cats?\nSelect from the following choices.\n(A) 1\n(B) 2\n(C) 3"
    )
    assert second.prompt == "Count!"
    assert second.origin == {"by": "hand"}
    pixels = first.images[1].pixels()
    assert pixels.shape == (10, 20, 3)
    assert (pixels == (10, 200, 30)).all()


def test_what_counts_as_the_same_item_is_what_is_seen_and_asked(folder: Path) -> None:
    suite = FolderSuite(folder)
    train, other = suite.items("Cat_Counting", "train")[0], suite.items("Cat_Counting", "eval")
    assert train.digest() == other[0].digest() != other[1].digest()


def test_evaluation_items_that_share_an_image_have_a_group(folder: Path) -> None:
    images = folder / "Cat_Counting" / "images"
    for n in range(3, 7):
        Image.new("RGB", (20, 10), (n, n, n)).save(images / f"{n}.png")
    (images / "copy.png").write_bytes((images / "2.png").read_bytes())
    shown = {
        "a": ["1.png", "2.png"],
        "b": ["5.png"],
        "c": ["3.png", "4.png"],
        "d": ["copy.png", "3.png"],  # so `a` and `c` belong together
    }
    lines = [row(id=name, images=[f"images/{n}" for n in files]) for name, files in shown.items()]
    own = [row(id=f"own {n}", images=["images/1.png"], group=f"g{n // 2}") for n in range(3)]
    write(folder, *lines, *own)
    items = FolderSuite(folder).items("Cat_Counting", "eval")
    one = "images of a"
    assert [item.group for item in items] == [one, None, one, one, "g0", "g0", "g1"]
    assert FolderSuite(folder).items("Cat_Counting", "train")[0].group is None
    write(folder, row(id="own 0", images=["images/1.png"]))
    assert FolderSuite(folder).items("Cat_Counting", "eval")[0].digest() == items[4].digest()


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"number": 2}, NumberAnswer(2)),
        ({"number": 2, "exact": True}, NumberAnswer(2, exact=True)),
        ({"text": "cat"}, TextAnswer(("cat",))),
        ({"text": ["cat", "dog"], "measure": "vqa"}, TextAnswer(("cat", "dog"), "vqa")),
        ({"point": [0.4, 0.7], "radius": 0.05}, PointAnswer(0.4, 0.7, 0.05)),
        ({"box": [0.1, 0.2, 0.5, 0.8]}, BoxAnswer(0.1, 0.2, 0.5, 0.8)),
    ],
)
def test_an_open_answer_is_read(folder: Path, given: object, answer: OpenAnswer) -> None:
    write(folder, row(choices=None, answer=given))
    (item,) = FolderSuite(folder).items("Cat_Counting", "eval")
    assert (item.truth, item.label, item.answer, item.choices) == (answer, answer, -1, ())
    assert (item.prompt, item.hidden) == (item.question, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": "D"},
        {"answer": 1},
        {"answer": "two"},
        {"choices": ["1"]},
        {"choices": ["1", 2]},
        {"images": []},
        {"question": ""},
        {"color": "red"},
        {"images": ["images/9.png"]},
        {"images": ["../../secret.png"]},
        {"images": ["/etc/passwd"]},
        {"images": ["a\0.png"]},
        {"images": ["x" * 5000]},
        {"images": ["images"]},
        {"images": ["eval.jsonl"]},
        {"id": "cat-1"},
        {"group": ""},
        {"prompt": "  "},
        {"choices": ["1", " "]},
        {"answer": {"number": 2}},
        {"choices": None, "answer": {"number": 2, "text": "two"}},
        {"choices": None, "answer": {"box": [0.5, 0, 0.1, 1]}},
        {"choices": None, "answer": {"point": [12, 30]}},
        {"choices": None, "answer": {"point": [0.1, 0.2], "image": 2}},
        {"choices": None, "answer": {}},
        {"choices": None, "answer": {"text": [" "]}},
        {"choices": None, "answer": {"point": [0.1, 0.2], "polygon": [[0, 0], [1, 1]]}},
    ],
)
def test_a_bad_line_is_named(folder: Path, changes: dict[str, object]) -> None:
    refused(folder, row(), row(**{"id": "cat-2", **changes}))


def test_what_is_no_line_is_refused(folder: Path) -> None:
    twice = json.dumps(ROW)[:-1] + ', "answer": "C"}'
    missing = json.dumps({k: v for k, v in ROW.items() if k != "answer"})
    for line in ("{", "[1]", "[" * 100_000, "1" * 5000, twice, missing, ""):
        refused(folder, line)
    (folder / "Cat_Counting" / "eval.jsonl").write_bytes(b"\xff\xfe")
    with raises(DataError):
        open_suite(str(folder)).items("Cat_Counting", "eval")


def test_a_line_ends_at_a_line_feed_alone(folder: Path) -> None:
    """Not at what else Unicode calls an end of line, which JSON lets stand in a text."""
    question = "one\u2028two\x85three\x0cfour"
    line = json.dumps(ROW | {"question": question}, ensure_ascii=False).replace("\f", "\\f")
    write(folder, "\ufeff" + line)  # and some editors begin with this mark
    (item,) = FolderSuite(folder).items("Cat_Counting", "eval")
    assert item.question == question


def test_a_missing_file_is_named(folder: Path) -> None:
    with raises(DataError):
        FolderSuite(folder).items("Dogs", "train")
    with raises(StudyError):
        FolderSuite(folder).items("Cats", "train")
    with raises(StudyError):
        open_suite(str(folder / "Cat_Counting"))


@pytest.mark.parametrize(
    "text",
    [
        "name: x",
        "name: x\ntasks: []",
        "name: x\ntasks: [{name: ../up}]",
        "name: x\ntasks: [{name: A, level: deep}]",
        "name: x\ntasks: [{name: A}, {name: a}]",
        "tasks: 1\ntasks: 2",
        "[" * 2000,
        "name: [",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_a_bad_heading_is_named(folder: Path, text: str) -> None:
    (folder / "suite.yaml").write_text(text)
    with raises(StudyError):
        FolderSuite(folder)


def test_a_damaged_image_is_an_error_when_it_is_looked_at(folder: Path) -> None:
    path = folder / "Cat_Counting" / "images" / "1.png"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    item = FolderSuite(folder).items("Cat_Counting", "eval")[0]
    with raises(DataError):
        item.images[0].pixels()


def test_no_program_is_called_for_a_picture(folder: Path) -> None:
    """Pillow gives EPS to Ghostscript, which runs what stands in it."""
    path = folder / "Cat_Counting" / "images" / "1.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with raises(DataError):
        FolderSuite(folder).items("Cat_Counting", "eval")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["suite.yaml", "Cat_Counting/eval.jsonl"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with raises(DataError if name.endswith("l.jsonl") else StudyError):
        FolderSuite(folder).items("Cat_Counting", "eval")


def test_an_image_that_claims_a_huge_size_is_refused(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("transferscope.tasks.untrusted.MAX_PIXELS", 150)
    refused(folder, row())


def test_a_contact_sheet_shows_every_item(folder: Path) -> None:
    import io

    items = FolderSuite(folder).items("Cat_Counting", "eval")
    one = Image.open(io.BytesIO(contact_sheet(items[:1])))
    two = Image.open(io.BytesIO(contact_sheet(items)))
    assert two.width == 2 * one.width
    colors = two.convert("RGB").getcolors(10**6) or []
    assert {(200, 10, 30), (10, 200, 30)} <= {color for _, color in colors}


def test_an_unknown_suite_names_the_nearest() -> None:
    with raises(StudyError):
        open_suite("glimps")
