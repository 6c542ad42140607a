"""VSI-Bench as it is published: prompts, frames, numbers, and videos that are not what they say."""

import re
import zipfile
from pathlib import Path

import benchmark_factory as made
import numpy as np
import polars as pl
import pytest
from messages import raises

from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.suites import open_suite
from transferscope.suites.blink import BLINK
from transferscope.suites.contact_sheet import contact_sheet
from transferscope.suites.vsi import NUMERIC, VsiBench
from transferscope.tasks import video
from transferscope.tasks.open_answers import NumberAnswer
from transferscope.tasks.video import Video, inspect, sample_frames

COUNTS = {  # rows of each question type in the benchmark's test split
    "object_counting": 565,
    "object_abs_distance": 834,
    "object_size_estimation": 953,
    "room_size_estimation": 288,
    "object_rel_distance": 710,
    "object_rel_direction_easy": 217,
    "object_rel_direction_medium": 378,
    "object_rel_direction_hard": 373,
    "route_planning": 194,
    "obj_appearance_order": 618,
}
ROWS = [
    made.vsi_row(0, "object_counting"),
    made.vsi_row(1, "object_rel_distance"),
    made.vsi_row(2, "object_counting", scene_name="scene0001_00", dataset="scannet"),
]
TWO = {"options": ["A. left", "B. right"], "ground_truth": "b"}
DIRECTIONS = [
    made.vsi_row(n, f"object_rel_direction_{grade}", **TWO)
    for n, grade in enumerate(("easy", "medium", "hard", "hard"))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.vsi(tmp_path / "vsi", ROWS)


def test_tasks_are_the_question_types_and_the_papers_five_the_default() -> None:
    known = {task.name: task.items for task in VsiBench.tasks}
    assert known == {**COUNTS, "object_rel_direction": 217 + 378 + 373}
    assert sum(COUNTS.values()) == 5130
    short = {task.name: task.abbreviation for task in VsiBench.tasks}
    assert [short[name] for name in VsiBench().defaults] == ["OAO", "OC", "ORD", "RP", "ORDir"]
    assert len(set(short.values()) | {task.abbreviation for task in BLINK}) == 11 + 13
    assert VsiBench().sources == tuple(task.name for task in BLINK)


def test_questions_on_one_room_have_its_name_as_their_group(folder: Path) -> None:
    suite = VsiBench(folder)
    rooms = [item.group for item in suite.items("object_counting", "eval")]
    assert rooms == ["arkitscenes/41069025", "scannet/scene0001_00"]
    assert suite.items("object_rel_distance", "eval")[0].group == rooms[0]


def test_a_numerical_row_becomes_an_item_with_the_benchmarks_prompt(folder: Path) -> None:
    first, other = VsiBench(folder).items("object_counting", "eval")
    assert first.prompt == (
        "These are frames of a video.\nHow many table(s) are in this room?\n"
        "Please answer the question using a single word or phrase."
    )
    assert (first.id, first.truth, first.choices, first.answer, first.hidden) == (
        *("0", NumberAnswer(4.0), (), -1),
        False,
    )
    assert (other.id, other.origin["scene"]) == ("2", "scene0001_00")


def test_a_row_with_choices_becomes_an_item_with_the_benchmarks_prompt(folder: Path) -> None:
    (item,) = VsiBench(folder).items("object_rel_distance", "eval")
    assert item.prompt == (
        "These are frames of a video.\n"
        "Which of these objects is the closest to the whiteboard?\nOptions:\n"
        "A. power strip\nB. computer tower\nC. chair\nD. table\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert item.choices == ("power strip", "computer tower", "chair", "table")
    assert (item.answer, item.truth) == (2, None)


def test_options_without_letters_get_them(tmp_path: Path) -> None:
    row = made.vsi_row(0, "route_planning", options=["Turn Left", "Turn Right"], ground_truth="B")
    (item,) = VsiBench(made.vsi(tmp_path, [row])).items("route_planning", "eval")
    assert "\nA. Turn Left\nB. Turn Right\n" in item.prompt
    assert item.choices == ("Turn Left", "Turn Right")


def test_frames_are_spread_evenly_from_the_first_to_the_last(folder: Path) -> None:
    item = VsiBench(folder, frames=4).items("object_counting", "eval")[0]
    greys = [frame.pixels().mean() for frame in item.images]
    # linspace(0, 11, 4) rounded down, as the benchmark's code does; frame k is a grey of 20 * k.
    assert np.allclose(greys, [20 * k for k in (0, 3, 7, 11)], atol=3)
    assert item.images[0].pixels().shape == (48, 64, 3)


def test_a_video_with_fewer_frames_gives_all_it_has(folder: Path) -> None:
    item = VsiBench(folder, frames=50).items("object_counting", "eval")[0]
    assert len(item.images) == 12
    assert np.allclose([f.pixels().mean() for f in item.images], 20 * np.arange(12), atol=3)


def test_items_of_one_video_share_its_frames_which_are_decoded_once(folder: Path, monkeypatch):
    decoded = []
    real = sample_frames
    monkeypatch.setattr(
        "transferscope.suites.vsi.sample_frames", lambda *a: decoded.append(a) or real(*a)
    )
    suite = VsiBench(folder, frames=4)
    one = suite.items("object_counting", "eval")[0]
    other = suite.items("object_rel_distance", "eval")[0]
    assert all(a is b for a, b in zip(one.images, other.images, strict=True))
    assert decoded == []
    for frame in (*one.images, *other.images):
        frame.pixels()
    assert len(decoded) == 1


def test_a_digest_follows_the_video_the_frames_and_the_answer_and_decodes_nothing(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("transferscope.suites.vsi.sample_frames", lambda *given: 1 / 0)

    def digest(where: Path = folder, frames: int = 4) -> str:
        return VsiBench(where, frames=frames).items("object_counting", "eval")[0].digest()

    same = made.vsi(tmp_path / "same", ROWS)
    assert digest() == digest(same)
    other = made.vsi(tmp_path / "other", [{**ROWS[0], "ground_truth": "5"}, *ROWS[1:]])
    video = made.vsi(tmp_path / "video", ROWS) / "arkitscenes" / "41069025.mp4"
    made.write_video(video, 13)
    assert len({digest(), digest(frames=5), digest(other), digest(tmp_path / "video")}) == 4


def test_the_three_directions_are_one_task_and_three(tmp_path: Path) -> None:
    suite = VsiBench(made.vsi(tmp_path, DIRECTIONS))
    together = suite.items("object_rel_direction", "eval")
    assert [item.id for item in together] == ["0", "1", "2", "3"]
    assert {item.task for item in together} == {"object_rel_direction"}
    assert [i.id for i in suite.items("object_rel_direction_hard", "eval")] == ["2", "3"]
    assert any("mean of the three accuracies" in note for note in suite.notes)


def test_another_number_of_items_is_told(folder: Path) -> None:
    suite = VsiBench(folder)
    suite.items("object_counting", "eval")
    assert suite.notes == [
        "VSI-Bench object_counting: 2 items, but the benchmark has 565; incomplete?"
    ]


# Videos that are not what they say


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (Path.unlink, "2 (no video scannet/scene0001_00.mp4)"),
        (lambda path: path.write_bytes(b""), "scene0001_00.mp4 cannot be read as a video"),
        (lambda path: path.write_bytes(b"<html>404"), "scene0001_00.mp4 cannot be read as a vid"),
        (cut_short, "2 (scannet/scene0001_00.mp4 cannot be read as a video"),
    ],
)
def test_an_item_without_a_video_is_left_out_counted_and_named(folder: Path, harm, said: str):
    harm(folder / "scannet" / "scene0001_00.mp4")
    suite = VsiBench(folder)
    assert [item.id for item in suite.items("object_counting", "eval")] == ["0"]
    assert "1 of 2 items are left out because their videos cannot be read: " in suite.notes[1]
    assert said in suite.notes[1]
    assert "\n" not in suite.notes[1]
    with raises(DataError):
        VsiBench(folder, strict=True).items("object_counting", "eval")


def long_video(path: Path) -> Path:
    """A video of 60 frames of noise, with its table of contents in front."""
    av = pytest.importorskip("av")
    draw = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            noise = draw.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_half_a_video_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = long_video(tmp_path / "long.mp4")
    assert inspect(Video(path), 4) == (None, 60)
    with av.open(str(path)) as container:
        between = [packet.pos for packet in container.demux(video=0) if packet.size][30]
    whole = path.read_bytes()
    for end in (between, between + 10):  # between two frames, and within one
        path.write_bytes(whole[:end])
        problem, _ = inspect(Video(path), 4)
        assert problem == "is damaged: 30 of 60 frames can be read"


def test_a_list_of_videos_is_no_video(tmp_path: Path) -> None:
    """FFmpeg would follow it to any other file."""
    pytest.importorskip("av")
    made.write_video(tmp_path / "other.mp4")
    (path := tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    assert inspect(Video(path), 4) == ("cannot be read as a video: Invalid argument", 0)


def test_a_damaged_frame_costs_itself_and_many_of_them_the_video(tmp_path: Path) -> None:
    path = long_video(tmp_path / "long.mp4")
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(100) + whole[middle + 100 :])
    frames = sample_frames(Video(path), 60, 8)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 8
    path.write_bytes(whole[:middle] + bytes(middle // 2) + whole[middle + middle // 2 :])
    with raises(DataError):
        sample_frames(Video(path), 60, 8)
    problem, _ = inspect(Video(path), 8)
    assert re.fullmatch(r"is damaged: \d+ of \d+ key frames cannot be decoded", problem or "")


def test_items_of_a_video_whose_content_is_damaged_are_left_out(folder: Path) -> None:
    path = folder / "arkitscenes" / "41069025.mp4"
    whole = path.read_bytes()
    start = whole.index(b"mdat") + 8
    path.write_bytes(whole[:start] + bytes(len(whole) // 2) + whole[start + len(whole) // 2 :])
    kept = len(VsiBench(folder, frames=4).items("object_counting", "eval"))
    suite = VsiBench(folder, frames=4)
    suite.items("object_counting", "eval")
    assert kept < 2
    assert "41069025.mp4" in " ".join(suite.notes)
    with raises(DataError):
        VsiBench(folder, frames=4, strict=True).items("object_counting", "eval")


def test_a_video_too_large_to_hold_is_left_out(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS_HELD", 64 * 48 * 4)
    assert len(VsiBench(folder, frames=4).items("object_counting", "eval")) == 2
    suite = VsiBench(folder, frames=5)
    assert suite.items("object_counting", "eval") == []
    assert "3,072 pixels a frame, too many for 5 frames" in suite.notes[1]


def test_videos_in_the_benchmarks_archives_need_no_unpacking(folder: Path) -> None:
    path = folder / "arkitscenes" / "41069025.mp4"
    with zipfile.ZipFile(folder / "arkitscenes.zip", "w") as archive:
        archive.write(path, "arkitscenes/41069025.mp4")
    expected = VsiBench(folder, frames=4).items("object_counting", "eval")[0]
    unpacked, digest = [frame.pixels() for frame in expected.images], expected.digest()
    path.unlink()
    item = VsiBench(folder, frames=4).items("object_counting", "eval")[0]
    assert np.array_equal([frame.pixels() for frame in item.images], unpacked)
    assert item.digest() == digest
    (folder / "arkitscenes.zip").write_bytes(b"no archive")
    with raises(DataError):
        VsiBench(folder).items("object_counting", "eval")


def test_without_av_the_extra_is_named_in_one_line(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with raises(MissingExtra):
        VsiBench(folder).items("object_counting", "eval")


# Rows that are not what they must be


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("object_counting", {"ground_truth": "many"}),
        ("object_counting", {"ground_truth": "nan"}),
        ("object_counting", {"ground_truth": "-1"}),
        ("object_counting", {"id": 0}),
        ("object_counting", {"scene_name": "../secret"}),
        ("object_counting", {"dataset": "/etc"}),
        ("object_counting", {"question": None}),
        ("object_rel_distance", {"ground_truth": "E"}),
        ("object_rel_distance", {"ground_truth": "AB"}),
        ("object_rel_distance", {"options": None}),
        ("object_rel_distance", {"options": ["B. x", "A. y"]}),
        ("object_rel_distance", {"options": ["A. x", "y"]}),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, kind: str, changes) -> None:
    made.write_video(tmp_path / "arkitscenes" / "41069025.mp4")
    rows = [made.vsi_row(0, kind), made.vsi_row(7, kind, **changes)]
    lines = "\n".join(map(made.json.dumps, rows))
    (tmp_path / "test.jsonl").write_text(lines, encoding="utf-8")
    with raises(DataError):
        VsiBench(tmp_path).items(kind, "eval")


def test_what_is_no_json_and_what_is_not_there_are_named(folder: Path, tmp_path: Path) -> None:
    with raises(DataError):
        VsiBench(folder).items("route_planning", "eval")
    with raises(StudyError):
        VsiBench(folder).items("Jigsaw", "eval")
    with raises(StudyError):
        VsiBench(folder).items("object_counting", "test")  # pyright: ignore[reportArgumentType]
    (folder / "test.jsonl").write_text("{}\n{", encoding="utf-8")
    with raises(DataError):
        VsiBench(folder).items("object_counting", "eval")
    (folder / "test.jsonl").write_text("{", encoding="utf-8")
    with raises(DataError):
        VsiBench(folder).items("object_counting", "eval")
    (folder / "test.jsonl").unlink()
    with raises(DataError):
        VsiBench(folder).items("object_counting", "eval")


def test_a_parquet_file_serves_as_well(folder: Path) -> None:
    expected = VsiBench(folder).items("object_rel_distance", "eval")[0]
    (folder / "test.jsonl").unlink()
    schema = {"options": pl.List(pl.String)}
    pl.DataFrame(ROWS, schema_overrides=schema).write_parquet(folder / "test.parquet")
    item = VsiBench(folder).items("object_rel_distance", "eval")[0]
    assert (item.id, item.prompt, item.answer) == (expected.id, expected.prompt, expected.answer)


def test_questions_beyond_ascii_stay_as_they_are(tmp_path: Path) -> None:
    row = made.vsi_row(0, "object_counting", question="Combien de tables\u2028à droite ? 在")
    (item,) = VsiBench(made.vsi(tmp_path, [row])).items("object_counting", "eval")
    assert item.question == "Combien de tables\u2028à droite ? 在"


def test_the_hub_gives_the_table_and_the_archives(folder: Path, monkeypatch) -> None:
    import huggingface_hub

    asked = []

    def snapshot_download(repository, **options):
        asked.append((repository, options))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    suite = open_suite("vsi-bench", revision="v1")
    assert asked == []
    suite.items("object_counting", "eval")
    suite.items("object_rel_distance", "eval")
    assert len(asked) == 1
    assert asked[0][0] == "nyu-visionx/VSI-Bench"
    assert asked[0][1]["revision"] == "v1"
    assert {"test.jsonl", "*.zip"} <= set(asked[0][1]["allow_patterns"])


def test_the_sources_are_blinks_tasks_from_the_folder_that_build_makes(folder, tmp_path) -> None:
    suite = VsiBench(folder, training=made.training(tmp_path / "data"))
    assert len(suite.items("Jigsaw", "train")) == 4
    with raises(StudyError):
        suite.items("Counting", "train")
    with raises(StudyError):
        suite.items("object_counting", "train")


def test_a_sheet_shows_the_first_frames_and_the_number(folder: Path) -> None:
    items = [
        *VsiBench(folder).items("object_counting", "eval"),
        *VsiBench(folder).items("object_rel_distance", "eval"),
    ]
    assert contact_sheet(items).startswith(b"\x89PNG")
    assert {item.task for item in items if item.truth is not None} <= set(NUMERIC)
