"""How training items are picked, balanced, written and resumed, whatever the task."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from messages import raises
from PIL import Image
from training_factory import built, files_of, photo, save, shown

from transferscope.builders import BUILDERS
from transferscope.builders import build as driver
from transferscope.builders.build import build
from transferscope.builders.prompts import Wording
from transferscope.builders.record import Builder, Candidate, Made, Skip, Unusable
from transferscope.builders.suite_folder import journal
from transferscope.cli import main
from transferscope.errors import DataError, StudyError
from transferscope.suites.folder import FolderSuite
from transferscope.suites.similar_images import KnownImages, image_hashes

TASK = "Relative_Depth"
SIZE = (64, 48)


class Stopped(Exception):
    """Stands for a power cut."""


def builder(
    answers: dict[str, tuple[int, ...]], letters: int = 2, broken: tuple[str, ...] = ()
) -> Builder:
    """A builder that offers what a test needs; keys are `group` or `group/number`."""

    def candidates(root: Path, seed: int):
        for key, allowed in answers.items():
            yield Candidate(key, key.split("/")[0], allowed)

    def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
        if candidate.key in broken:
            raise Unusable("broken", candidate.key)
        color = tuple(rng.integers(0, 256, 3).tolist())
        image = Image.new("RGB", SIZE, color)
        return Made(
            Wording("Which?", f"Which? {answer}", ("a", "b", "c", "d")[:letters]),
            images=(image,),
            sources=(image,),
            origin={"key": candidate.key},
        )

    return toy(candidates, make, letters)


def toy(candidates: Callable[..., Any], make: Callable[..., Any], letters: int = 2) -> Builder:
    module: Any = SimpleNamespace(candidates=candidates, make=make)
    return Builder(module, "Toy", letters, "nothing")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    def put(one: Builder) -> None:
        monkeypatch.setitem(BUILDERS, TASK, one)

    return put


FREE = {f"{n:03d}": (0, 1) for n in range(40)}


def stop_after(number: int):
    def tell(progress: driver.BuildProgress) -> None:
        if progress.tried == number:
            raise Stopped

    return tell


@pytest.mark.parametrize("moments", [(1,), (7,), (3, 4, 12), (19,)])
def test_a_stopped_build_continues_to_the_same_bytes(use, tmp_path: Path, moments) -> None:
    use(builder(FREE, broken=("003", "011")))
    build(TASK, tmp_path, tmp_path / "whole", items=20, seed=5)
    for moment in moments:
        with pytest.raises(Stopped):
            build(TASK, tmp_path, tmp_path / "cut", items=20, seed=5, report=stop_after(moment))
        assert not (tmp_path / "cut" / TASK / "train.jsonl").exists()
    build(TASK, tmp_path, tmp_path / "cut", items=20, seed=5)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_continuing_makes_no_item_again(use, tmp_path: Path) -> None:
    one = builder(FREE)
    made: Counter[str] = Counter()

    def counted(root, candidate, answer, rng):
        made[candidate.key] += 1
        return one.module.make(root, candidate, answer, rng)

    use(toy(one.module.candidates, counted))
    with pytest.raises(Stopped):
        build(TASK, tmp_path, tmp_path / "out", items=20, report=stop_after(8))
    build(TASK, tmp_path, tmp_path / "out", items=20)
    assert len(made) == 20
    assert set(made.values()) == {1}


@pytest.mark.parametrize("lost", [1, 20])
def test_a_line_that_a_crash_cut_short_is_made_again(use, tmp_path: Path, lost: int) -> None:
    use(builder(FREE))
    build(TASK, tmp_path, tmp_path / "whole", items=20)
    with pytest.raises(Stopped):
        build(TASK, tmp_path, tmp_path / "cut", items=20, report=stop_after(8))
    path = tmp_path / "cut" / TASK / driver.JOURNAL
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(Stopped):
        build(TASK, tmp_path, tmp_path / "cut", items=20, report=stop_after(10))
    assert [json.loads(line) for line in path.read_text().splitlines()][1:]
    build(TASK, tmp_path, tmp_path / "cut", items=20)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_a_journal_is_on_disk_at_once_and_ends_where_it_cannot_be_read(tmp_path: Path) -> None:
    path, (one, two, three) = tmp_path / "journal", ({"key": key} for key in "abc")
    with journal(path, {"seed": 1}) as (_, writing):
        for entry in (one, two):
            writing(entry)
        assert len(path.read_bytes().splitlines()) == 3
    path.write_bytes(
        path.read_bytes().replace(b'"a"}', b'"a"') + b"no JSON, and longer than a line"
    )
    with journal(path, {"seed": 1}) as (known, writing):
        assert known == {}  # what follows a damaged line is done again
        writing(three)
    with journal(path, {"seed": 1}) as (known, _):
        assert known == {"c": three}
    assert len(path.read_bytes().splitlines()) == 2


def test_an_image_lost_meanwhile_is_made_again(use, tmp_path: Path) -> None:
    use(builder(FREE))
    build(TASK, tmp_path, tmp_path / "whole", items=20)
    with pytest.raises(Stopped):
        build(TASK, tmp_path, tmp_path / "cut", items=20, report=stop_after(8))
    next((tmp_path / "cut" / TASK / "images").iterdir()).unlink()
    build(TASK, tmp_path, tmp_path / "cut", items=20)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    next((tmp_path / "cut" / TASK / "images").iterdir()).unlink()
    build(TASK, tmp_path, tmp_path / "cut", items=20)  # a finished build is put right too
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_other_settings_start_anew_and_leave_no_image_behind(use, tmp_path: Path) -> None:
    use(builder(FREE))
    with pytest.raises(Stopped):
        build(TASK, tmp_path, tmp_path / "out", items=20, seed=1, report=stop_after(8))
    (tmp_path / "out" / TASK / "images" / ".writing-0").write_bytes(b"half an image")
    (mine := tmp_path / "out" / TASK / "images" / "mine.jpg").write_bytes(b"a user's own")
    build(TASK, tmp_path, tmp_path / "out", items=20, seed=2)
    build(TASK, tmp_path, tmp_path / "fresh", items=20, seed=2)
    mine.unlink()  # it was left alone
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


def test_a_finished_build_is_not_done_again(use, tmp_path: Path) -> None:
    use(builder(FREE))
    first = build(TASK, tmp_path, tmp_path / "out", items=20)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jpg")}
    again = build(TASK, tmp_path, tmp_path / "out", items=20, report=stop_after(1))
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jpg")} == before


def test_a_build_is_another_where_anything_that_decides_it_is(use, monkeypatch, tmp_path: Path):
    plain = Candidate("1", "group", (0, 1))

    def settings(changed: Candidate = plain, **options: Any) -> str:
        one = builder(FREE)
        offered = [changed, *(Candidate(key, key, (0, 1)) for key in FREE)]
        use(toy(lambda *_: iter(offered), one.module.make))
        return build(TASK, tmp_path, tmp_path / "out", items=4, **options).settings

    found = [
        settings(),
        settings(replace(plain, key="2")),
        settings(replace(plain, group="other")),
        settings(replace(plain, answers=(1,))),
        settings(replace(plain, facts={"depth": 1})),
        settings(seed=1),
        settings(against=KnownImages([image_hashes("its name", photo(1))])),
    ]
    assert settings() == found[0]
    monkeypatch.setattr(driver, "VERSION", driver.VERSION + 1)
    assert len({*found, settings()}) == 8


@pytest.mark.parametrize("letters", [2, 3, 4])
@pytest.mark.parametrize("items", [10, 11, 12])
def test_every_letter_is_right_equally_often(use, tmp_path: Path, letters: int, items: int) -> None:
    use(builder({f"{n}": tuple(range(letters)) for n in range(30)}, letters))
    done, rows = built(TASK, tmp_path, tmp_path / "out", items)
    counts = Counter(row["answer"] for row in rows)
    assert done.answers == {letter: counts[letter] for letter in "ABCD"[:letters]}
    assert sum(counts.values()) == items
    assert max(counts.values()) - min(counts.values()) <= 1


def test_answers_that_the_annotation_decides_are_balanced_too(use, tmp_path: Path) -> None:
    offered = {f"yes{n}": (0,) for n in range(50)} | {f"no{n}": (1,) for n in range(8)}
    use(builder(offered))
    done, _ = built(TASK, tmp_path, tmp_path / "out", 12)
    assert done.answers == {"A": 6, "B": 6}
    done, rows = built(TASK, tmp_path, tmp_path / "more", 40)
    assert done.answers == {"A": 9, "B": 8}  # within one, and no more can be had
    assert (done.made, done.wanted) == (17, 40)
    assert done.skipped[driver.UNBALANCED]["count"] == 11
    assert sum(row["origin"]["key"].startswith("no") for row in rows) == 8
    use(builder({f"yes{n}": (0,) for n in range(9)}))
    with raises(DataError):
        build(TASK, tmp_path, tmp_path / "none", items=12)


def test_free_letters_make_up_for_those_that_are_decided(use, tmp_path: Path) -> None:
    use(builder({f"{n}": (2,) if n % 2 else (0, 1) for n in range(60)}, 3))
    done, _ = built(TASK, tmp_path, tmp_path / "out", 30)
    assert done.answers == {"A": 10, "B": 10, "C": 10}


def test_every_group_is_used_once_before_any_is_used_twice(use, tmp_path: Path) -> None:
    use(builder({f"{group}/{n}": (0, 1) for group in range(12) for n in range(group + 1)}))
    _, rows = built(TASK, tmp_path, tmp_path / "out", 20)
    groups = [row["origin"]["key"].split("/")[0] for row in rows]
    assert len(set(groups[:12])) == 12
    assert len(set(groups[12:])) == 8


def test_which_items_are_made_depends_on_the_seed(use, tmp_path: Path) -> None:
    use(builder(FREE))
    made = []
    for seed in (0, 1):
        _, rows = built(TASK, tmp_path, tmp_path / f"out{seed}", 20, seed)
        made.append({row["origin"]["key"]: row["images"][0] for row in rows})
    first, second = made
    assert first.keys() != second.keys()
    assert len({*first.values(), *second.values()}) == 40  # each draws for itself, in each seed


def test_global_randomness_changes_nothing(use, tmp_path: Path) -> None:
    import random

    use(builder(FREE))
    for n, out in enumerate(("one", "two")):
        random.seed(n)
        np.random.seed(n)  # noqa: NPY002
        build(TASK, tmp_path, tmp_path / out, items=10)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_ids_are_unique_and_change_with_the_question(use, tmp_path: Path) -> None:
    use(builder(FREE))
    _, rows = built(TASK, tmp_path, tmp_path / "one", 40, 0)
    _, other = built(TASK, tmp_path, tmp_path / "two", 40, 1)
    assert len({row["id"] for row in rows}) == 40
    answers = {row["id"]: (row["answer"], row["images"]) for row in [*rows, *other]}
    for row in [*rows, *other]:  # one id, one question
        assert answers[row["id"]] == (row["answer"], row["images"])


def test_the_record_says_what_was_made_and_left_out_and_names_no_folder(
    use, tmp_path: Path
) -> None:
    use(builder(FREE, broken=tuple(f"{n:03d}" for n in range(0, 40, 2))))
    root = tmp_path / "Toy data"
    root.mkdir()
    build(TASK, root, tmp_path / "out", items=40, seed=3)
    text = (tmp_path / "out" / TASK / "build.json").read_text()
    record = json.loads(text)
    assert (record["root"], record["seed"], record["version"]) == ("Toy data", 3, driver.VERSION)
    assert (record["made"], record["wanted"], record["tried"]) == (20, 40, 40)
    assert record["skipped"]["broken"]["count"] == 20
    assert len(record["skipped"]["broken"]["first"]) == driver.EXAMPLES
    everything = b"".join(files_of(tmp_path / "out").values())
    assert str(tmp_path).encode() not in everything


def test_images_of_one_colour_and_other_sides_are_not_alike(use, tmp_path: Path) -> None:
    one = builder(FREE)

    def black(root, candidate, answer, rng):
        image = Image.new("RGB", SIZE if int(candidate.key) % 2 else SIZE[::-1])
        return replace(one.module.make(root, candidate, answer, rng), images=(image,))

    use(toy(one.module.candidates, black))
    _, rows = built(TASK, tmp_path, tmp_path / "out", 20)
    for row in rows:
        size = SIZE if int(row["origin"]["key"]) % 2 else SIZE[::-1]
        assert shown(tmp_path / "out", TASK, row)[0].shape[:2] == size[::-1]


def test_images_that_are_alike_are_written_once(use, tmp_path: Path) -> None:
    one = builder(FREE)

    def alike(root, candidate, answer, rng):
        return one.module.make(root, candidate, answer, np.random.default_rng(0))

    use(toy(one.module.candidates, alike))
    built(TASK, tmp_path, tmp_path / "out", 20)
    assert len(list((tmp_path / "out" / TASK / "images").iterdir())) == 1


@pytest.mark.parametrize("kind", ["images", "sources"])
def test_an_item_whose_image_or_source_is_an_evaluation_image_is_left_out(
    use, tmp_path: Path, kind: str
) -> None:
    one = builder(FREE)

    def like(root, candidate, answer, rng):
        image = photo(1 if candidate.key == "007" else 2)
        return replace(one.module.make(root, candidate, answer, rng), **{kind: (image,)})

    use(toy(one.module.candidates, like))
    against = KnownImages([image_hashes("its name", photo(1))])
    done, rows = built(TASK, tmp_path, tmp_path / "out", 40, against=against)
    assert done.skipped[driver.LEAKED] == {"count": 1, "first": ["007 (like its name)"]}
    assert "007" not in {row["origin"]["key"] for row in rows}


def test_several_tasks_make_one_suite(use, monkeypatch, tmp_path: Path) -> None:
    use(builder(FREE))
    monkeypatch.setitem(BUILDERS, "Counting", BUILDERS[TASK])
    monkeypatch.setitem(BUILDERS, "Counting", builder(FREE))
    versions = []
    for task in (TASK, "Counting"):
        build(task, tmp_path, tmp_path / "out", items=10)
        versions.append(FolderSuite(tmp_path / "out").version)
    suite = FolderSuite(tmp_path / "out")
    assert [task.name for task in suite.tasks] == ["Counting", TASK]
    assert len(suite.items("Counting", "train")) == len(suite.items(TASK, "train")) == 10
    build(TASK, tmp_path, tmp_path / "out", items=12)
    versions.append(FolderSuite(tmp_path / "out").version)
    assert len(set(versions)) == 3


def test_skips_of_the_list_are_counted_and_twins_are_skipped(use, tmp_path: Path) -> None:
    one = builder({f"{n}": (0, 1) for n in range(10)})

    def listed(root, seed):
        yield Skip("odd", "line 1")
        yield from one.module.candidates(root, seed)
        yield from one.module.candidates(root, seed)

    use(toy(listed, one.module.make))
    done, _ = built(TASK, tmp_path, tmp_path / "out", 10)
    assert done.skipped["odd"] == {"count": 1, "first": ["line 1"]}
    assert done.skipped["an annotation that is there twice"]["count"] == 10


@pytest.mark.parametrize(
    ("task", "options", "complaint"),
    [
        ("Relative_Dept", {}, "no builder for task 'Relative_Dept'; did you mean 'Relative_Depth'"),
        (TASK, {"items": 1}, "--items must be at least 2 for Relative_Depth, but is 1"),
        (TASK, {"seed": -1}, "--seed must not be negative, but is -1"),
    ],
)
def test_settings_are_checked_before_anything_is_written(
    use, tmp_path: Path, task: str, options: dict[str, Any], complaint: str
) -> None:
    use(builder(FREE))
    with pytest.raises(StudyError, match=complaint):
        build(task, tmp_path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_another_suites_folder_is_left_alone(use, tmp_path: Path) -> None:
    use(builder(FREE))
    (tmp_path / "suite.yaml").write_text("name: mine\ntasks: [{name: T}]\n")
    with raises(StudyError):
        build(TASK, tmp_path, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite.yaml"]


def test_no_item_at_all_is_an_error_that_says_why(use, tmp_path: Path) -> None:
    use(builder(FREE, broken=tuple(FREE)))
    with raises(DataError):
        build(TASK, tmp_path, tmp_path / "out")


def test_a_build_without_any_item_gives_up_in_time(use, tmp_path: Path) -> None:
    many = {str(n): (0, 1) for n in range(3 * driver.HOPELESS)}
    use(builder(many, broken=tuple(many)))
    with raises(DataError):
        build(TASK, tmp_path, tmp_path / "out")


def test_a_build_that_has_items_goes_on_however_many_are_tried(use, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(driver, "HOPELESS", 5)
    use(builder(FREE, broken=("003", "011")))
    assert build(TASK, tmp_path, tmp_path / "out", items=20).made == 20


def test_a_damaged_file_of_items_is_written_again(use, tmp_path: Path) -> None:
    use(builder(FREE))
    build(TASK, tmp_path, tmp_path / "out", items=10)
    before = files_of(tmp_path / "out")
    (tmp_path / "out" / TASK / "train.jsonl").write_text('{"id": ')
    build(TASK, tmp_path, tmp_path / "out", items=10)
    assert files_of(tmp_path / "out") == before


def run(capsys: pytest.CaptureFixture[str], monkeypatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["transferscope", *words])
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def diw(tmp_path: Path) -> Path:
    lines = []
    for n in range(6):
        save(photo(n, (320, 240)), tmp_path / "DIW" / "DIW_train_val" / f"{n}.thumb", format="JPEG")
        lines.append(f"./DIW_train_val/{n}.thumb\n61,61,161,221,{'<>'[n % 2]},320,240\n")
    (tmp_path / "DIW" / "DIW_train_val" / "3.thumb").write_bytes(b"no image")
    (tmp_path / "DIW" / "DIW_train_val.csv").write_text("".join(lines))
    return tmp_path / "DIW"


def test_the_command_says_how_many_it_made_and_why_not_more(
    capsys, monkeypatch, diw: Path, tmp_path: Path
) -> None:
    words = ("build", TASK, "--root", str(diw), "--out", str(tmp_path / "out"), "--items", "10")
    code, out, _ = run(capsys, monkeypatch, *words)
    assert code == 0
    assert "5 items of Relative_Depth in" in out
    assert "left out 1: an image that cannot be decoded (3.thumb)" in out
    assert "5 of the 10 wanted could be made: Depth in the Wild (DIW) at DIW offers 6" in out
    assert "not compared with the evaluation split: give --against" in out
    code, out, _ = run(capsys, monkeypatch, *words, "--json")
    assert json.loads(out)["made"] == 5


def test_the_command_refuses_in_one_line(capsys, monkeypatch, diw: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    code, _, said = run(
        capsys, monkeypatch, "build", TASK, "--root", str(diw / "DIW_train_val"), "--out", out
    )
    assert code == 2
    assert said.count("\n") == 1
    assert "not laid out as expected: found no DIW_Annotations/DIW_train_val.csv" in said
    assert "Depth in the Wild (DIW) holds DIW_Annotations/DIW_train_val.csv, DIW_train_val/" in said
    code, _, said = run(
        capsys, monkeypatch, "build", TASK, "--root", str(diw), "--out", out, "--against", str(diw)
    )
    assert code == 2
    assert "holds no Parquet files and no suite.yaml" in said
    assert not (tmp_path / "out").exists()


def test_a_stopped_command_says_that_it_continues(
    capsys, monkeypatch, use, diw: Path, tmp_path: Path
) -> None:
    one = BUILDERS[TASK]

    def interrupted(root, candidate, answer, rng):
        raise KeyboardInterrupt

    use(toy(one.module.candidates, interrupted))
    words = ("build", TASK, "--root", str(diw), "--out", str(tmp_path / "out"))
    code, _, said = run(capsys, monkeypatch, *words)
    assert code == 1
    assert said.strip().endswith("stopped; the same command continues")
