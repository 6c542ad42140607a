"""BLINK as it is published: read as it stands, counted, and refused with the row and the column."""

import shutil
from pathlib import Path

import benchmark_factory as made
import numpy as np
import polars as pl
import pytest
from messages import raises
from PIL import Image

from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.suites import open_suite
from transferscope.suites.blink import BLINK, IQ_TEST, Blink
from transferscope.suites.contact_sheet import contact_sheet
from transferscope.tasks import gold, gold_hash, images, untrusted

SIZES = {  # val and test rows of the hub's files, and images a row
    "Art_Style": (117, 117, 3),
    "Counting": (120, 120, 1),
    "Forensic_Detection": (132, 132, 4),
    "Functional_Correspondence": (130, 130, 2),
    "IQ_Test": (150, 150, 1),
    "Jigsaw": (150, 150, 3),
    "Multi-view_Reasoning": (133, 133, 2),
    "Object_Localization": (122, 125, 1),
    "Relative_Depth": (124, 124, 1),
    "Relative_Reflectance": (134, 134, 1),
    "Semantic_Correspondence": (139, 140, 2),
    "Spatial_Relation": (143, 143, 1),
    "Visual_Correspondence": (172, 172, 2),
    "Visual_Similarity": (135, 136, 3),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.blink(tmp_path / "blink")


def refused(folder: Path, task: str = "Jigsaw", **changes: object) -> None:
    """Refuse a file whose third row is changed."""
    rows = [made.blink_row(task, 1), made.blink_row(task, 2), made.blink_row(task, 3, **changes)]
    made.write_blink(folder, task, rows)
    with raises(DataError):
        Blink(folder).items(task, "eval")


def test_all_fourteen_configurations_are_known_and_the_papers_thirteen_the_default() -> None:
    assert {task.name for task in Blink.tasks if not task.twin} == set(SIZES)
    assert set(Blink().defaults) == set(SIZES) - {"IQ_Test"} == {task.name for task in BLINK}
    assert (IQ_TEST.level, IQ_TEST.granularity) == (None, None)


def test_a_row_becomes_an_item_as_it_stands(folder: Path) -> None:
    items = Blink(folder).items("Jigsaw", "eval")
    assert [item.id for item in items] == [f"val_Jigsaw_{n}" for n in range(1, 5)]
    first = items[0]
    assert first.prompt == made.JIGSAW
    assert first.question == "Which image is the missing part?"
    assert first.choices == ("the second image", "the third image")
    assert (first.answer, items[1].answer) == (1, 0)
    expected = [np.asarray(made.noise(("Jigsaw", "val", 1, k))) for k in (1, 2, 3)]
    assert all(
        np.array_equal(image.pixels(), pixels)
        for image, pixels in zip(first.images, expected, strict=True)
    )


def test_items_on_one_photograph_have_a_group(folder: Path) -> None:
    rows = [made.blink_row("Jigsaw", n) for n in range(1, 5)]
    rows[3]["image_2"] = rows[1]["image_1"]  # at any place
    made.write_blink(folder, "Jigsaw", rows)
    groups = [item.group for item in Blink(folder).items("Jigsaw", "eval")]
    assert groups == [None, "images of val_Jigsaw_2", None, "images of val_Jigsaw_2"]


@pytest.mark.parametrize("task", SIZES)
def test_a_whole_configuration_leaves_nothing_to_note(task: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("transferscope.suites.snapshot.image_problem", lambda source: None)
    cell = {"bytes": b"?", "path": None}
    cells = {f"image_{k}": cell if k <= SIZES[task][2] else None for k in range(1, 5)}
    for split, size in zip(("val", "test"), SIZES[task][:2], strict=True):
        one = made.blink_row("Jigsaw", 1, split) | cells
        rows = [{**one, "idx": f"{split}_{task}_{number}"} for number in range(1, size + 1)]
        made.write_blink(tmp_path, task, rows, split)
        suite = Blink(tmp_path, split=split)
        items = suite.items(task, "eval")
        assert (len(items), suite.notes) == (size, [])
        assert {len(item.images) for item in items} == {SIZES[task][2]}


def test_another_number_of_items_is_told(folder: Path) -> None:
    suite = Blink(folder)
    suite.items("Jigsaw", "eval")
    suite.items("Jigsaw", "eval")
    assert suite.notes == ["BLINK Jigsaw, val: 4 items, but the benchmark has 150; incomplete?"]


def test_hidden_answers_are_shown_as_hidden(tmp_path: Path) -> None:
    rows = [made.blink_row("Relative_Depth", n, "test") for n in (1, 2)]
    made.write_blink(tmp_path, "Relative_Depth", rows, "test")
    items = Blink(tmp_path, split="test").items("Relative_Depth", "eval")
    assert all(item.hidden for item in items)
    assert contact_sheet(items).startswith(b"\x89PNG")


def test_prompts_without_their_choices_are_told(tmp_path: Path) -> None:
    rows = [made.blink_row("Jigsaw", 1), made.blink_row("Jigsaw", 2, prompt="Which?")]
    made.write_blink(tmp_path, "Jigsaw", rows)
    suite = Blink(tmp_path)
    assert suite.items("Jigsaw", "eval")[1].prompt == "Which?"
    assert suite.notes[1] == (
        "BLINK Jigsaw, val: 1 of 2 prompts do not list their choices, first that of val_Jigsaw_2"
    )


def test_a_file_in_the_wrong_folder_is_told(tmp_path: Path) -> None:
    rows = [made.blink_row("Relative_Depth", 1)]
    made.write_blink(tmp_path, "Counting", rows)
    suite = Blink(tmp_path)
    suite.items("Counting", "eval")
    assert any("1 of 1 rows have another task or split in idx" in note for note in suite.notes)


PICTURES = {
    "grayscale": (Image.new("L", (6, 4), 90), "PNG", (90, 90, 90)),
    "CMYK": (Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
    "clear": (Image.new("RGBA", (6, 4), (10, 20, 30, 0)), "PNG", (255, 255, 255)),
    "bilevel": (Image.new("1", (6, 4), 1), "PNG", (255, 255, 255)),
    "16 bits": (Image.fromarray(np.full((4, 6), 0x8040, np.uint16)), "PNG", (0x80,) * 3),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_every_kind_become_red_green_and_blue(kind: str, tmp_path: Path) -> None:
    image, form, color = PICTURES[kind]
    cell = {"bytes": made.encoded(image, form), "path": None}
    made.write_blink(
        tmp_path, "Relative_Depth", [made.blink_row("Relative_Depth", 1, image_1=cell)]
    )
    pixels = Blink(tmp_path).items("Relative_Depth", "eval")[0].images[0].pixels()
    assert (pixels.shape, pixels.dtype) == ((4, 6, 3), np.uint8)
    assert (pixels == color).all()


def test_a_transparent_palette_warns_of_nothing(tmp_path: Path) -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    cell = {"bytes": made.encoded(image, transparency=b"\x00\xff"), "path": None}
    made.write_blink(
        tmp_path, "Relative_Depth", [made.blink_row("Relative_Depth", 1, image_1=cell)]
    )
    assert (
        Blink(tmp_path).items("Relative_Depth", "eval")[0].images[0].pixels() == (9, 8, 7)
    ).all()


def test_a_picture_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4))
    image.paste((255, 255, 255), (0, 0, 6, 1))  # white on top
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    cell = {"bytes": made.encoded(image, exif=exif), "path": None}
    made.write_blink(
        tmp_path, "Relative_Depth", [made.blink_row("Relative_Depth", 1, image_1=cell)]
    )
    pixels = Blink(tmp_path).items("Relative_Depth", "eval")[0].images[0].pixels()
    assert pixels.shape == (6, 4, 3)
    assert (pixels[:, -1] == 255).all()
    assert (pixels[:, :-1] == 0).all()


def test_text_beyond_ascii_stays_as_it_is(tmp_path: Path) -> None:
    row = made.blink_row("Relative_Depth", 1, question="Où? 在哪里", prompt="Où?\n(A) é\n(B) 在")
    made.write_blink(tmp_path, "Relative_Depth", [{**row, "choices": ["é", "在"]}])
    item = Blink(tmp_path).items("Relative_Depth", "eval")[0]
    assert (item.question, item.choices) == ("Où? 在哪里", ("é", "在"))


DAMAGED = {"bytes": b"no picture", "path": None}
CUT = {"bytes": made.encoded(made.noise(0))[:600], "path": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"image_2": DAMAGED},
        {"image_2": None},
        {"image_4": DAMAGED},
        {"image_1": {"bytes": None, "path": "x.jpg"}},
        {"answer": "(C)"},
        {"answer": "A"},
        {"answer": None},
        {"prompt": " "},
        {"choices": ["one"]},
        {"choices": None},
        {"idx": "val_Jigsaw_1"},
        {"idx": None},
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, changes) -> None:
    refused(tmp_path, **changes)


def test_a_picture_that_was_cut_short_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    made.write_blink(tmp_path, "Relative_Depth", [made.blink_row("Relative_Depth", 1, image_1=CUT)])
    item = Blink(tmp_path).items("Relative_Depth", "eval")[0]
    with raises(DataError):
        item.images[0].pixels()


def test_a_picture_that_claims_a_huge_size_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(untrusted, "MAX_PIXELS", 50 * 50)
    refused(tmp_path)


@pytest.mark.parametrize("column", ["image_3", "prompt", "idx"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    made.write_blink(tmp_path, "Jigsaw", [made.blink_row("Jigsaw", 1)], **{column: None})
    with raises(DataError):
        Blink(tmp_path).items("Jigsaw", "eval")


def test_columns_of_images_that_a_task_never_has_may_be_missing(tmp_path: Path) -> None:
    missing = dict.fromkeys(("image_2", "image_3", "image_4", "explanation", "sub_task"))
    made.write_blink(tmp_path, "Relative_Depth", [made.blink_row("Relative_Depth", 1)], **missing)
    assert len(Blink(tmp_path).items("Relative_Depth", "eval")[0].images) == 1


def test_what_is_no_parquet_and_what_is_not_there_are_named(folder: Path) -> None:
    path = folder / "Jigsaw" / "val-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with raises(DataError):
        Blink(folder).items("Jigsaw", "eval")
    with raises(DataError):
        Blink(folder).items("Counting", "eval")
    with raises(StudyError):
        Blink(folder / "nowhere")
    with raises(StudyError):
        Blink(folder).items("Jigsaws", "eval")


def test_few_encoded_images_are_held_at_once(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("transferscope.suites.snapshot.ROWS", 1)
    reads = []
    real = pl.scan_parquet
    monkeypatch.setattr(pl, "scan_parquet", lambda *a, **k: reads.append(a) or real(*a, **k))
    suite = Blink(folder)
    items = [item for task in made.TASKS for item in suite.items(task, "eval")]
    images = [image for item in items for image in item.images]
    # Four columns of each row are checked, and all images compared for groups.
    assert len(reads) <= 4 * len(items) + len(images)
    reads.clear()
    for image in images:  # task by task, as models are asked
        image.pixels()
    assert 12 - 4 <= len(reads) <= len(images)  # of Jigsaw's 12, the last 4 were held


def test_an_items_digest_decodes_nothing(folder: Path, monkeypatch) -> None:
    one, two = Blink(folder).items("Jigsaw", "eval")[:2]
    monkeypatch.setattr(images, "open_image", None)
    assert one.digest() == Blink(folder).items("Jigsaw", "eval")[0].digest() != two.digest()


# From the hub


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch):
    """A hub that has the snapshot; returns what it was asked for."""
    import huggingface_hub

    asked = []
    commit = tmp_path / "cache" / ("0123456789" * 4)

    def snapshot_download(repository, *, repo_type, revision, allow_patterns):
        asked.append((repository, repo_type, revision, allow_patterns))
        for pattern in allow_patterns:
            for path in folder.glob(pattern):
                (commit / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, commit / path.relative_to(folder))
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_only_what_is_asked_for_comes_from_the_hub_and_all_from_one_commit(hub) -> None:
    suite = open_suite("blink")
    assert hub == []
    assert len(suite.items("Jigsaw", "eval")) == len(suite.items("Relative_Depth", "eval")) == 4
    assert hub == [
        ("BLINK-Benchmark/BLINK", "dataset", None, ["Jigsaw/val-*.parquet"]),
        ("BLINK-Benchmark/BLINK", "dataset", "0123456789" * 4, ["Relative_Depth/val-*.parquet"]),
    ]


def test_a_revision_can_be_named(hub) -> None:
    Blink(revision="v1").items("Jigsaw", "eval")
    assert hub[0][2] == "v1"


def test_no_hub_is_one_line_with_the_remedy(monkeypatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(*arguments, **options):
        raise LocalEntryNotFoundError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with raises(StudyError):
        Blink().items("Jigsaw", "eval")


def test_without_huggingface_hub_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with raises(MissingExtra):
        Blink().items("Jigsaw", "eval")


# Training items


def test_training_items_come_from_the_folder_that_build_makes(folder: Path, tmp_path: Path) -> None:
    data = made.training(tmp_path / "data")
    items = Blink(folder, training=data).items("Jigsaw", "train")
    assert [item.id for item in items] == [f"Jigsaw-{n}" for n in range(4)]
    assert len(items[0].images) == 3
    assert items[0].prompt == made.JIGSAW


def test_missing_training_items_are_one_line_that_names_the_command(folder: Path) -> None:
    with raises(StudyError):
        Blink(folder).items("Jigsaw", "train")
    with raises(StudyError):
        Blink(folder, training=folder).items("Jigsaw", "train")


# Right answers


def reflectance(folder: Path, answers: str) -> Blink:
    rows = [
        made.blink_row("Relative_Reflectance", n, answer=f"({letter})")
        for n, letter in enumerate(answers, 1)
    ]
    made.write_blink(folder, "Relative_Reflectance", rows)
    return Blink(folder)


def test_other_labels_have_another_hash_and_other_items_do_not_hide_it(tmp_path: Path) -> None:
    old = reflectance(tmp_path / "old", "ABCA").items("Relative_Reflectance", "eval")
    new = reflectance(tmp_path / "new", "ABCB").items("Relative_Reflectance", "eval")
    assert gold(old) == gold([*old][::-1]) != gold(new)
    assert gold(old) == gold_hash("Relative_Reflectance", [(i.id, i.answer) for i in old])
    assert gold(old) != gold_hash("Relative_Depth", [(i.id, i.answer) for i in old])


OLD = (  # rows 1 to 134 in eval/val_answers.json of the benchmark's repository, of 2024
    "ACBACBCCCBCAABCAABBBABCBBAACCCABCCAABBAABBBCCCCCACBCCCABAABAAAAAAAA"
    "BCCCBCCAABCBAACBBCCBCCCAACCCCBCBBABBBBCCBBCCABABBCBCCBCBAAACCCBCAAC"
)


def test_labels_from_before_september_2025_are_known(tmp_path: Path) -> None:
    assert [OLD.count(letter) for letter in "ABC"] == [40, 42, 52]
    old = reflectance(tmp_path / "old", OLD)
    old.items("Relative_Reflectance", "eval")
    assert "are from before September 2025" in old.notes[0]
    new = reflectance(tmp_path / "new", OLD.translate(str.maketrans("AB", "BA")))
    new.items("Relative_Reflectance", "eval")
    assert new.notes == []
