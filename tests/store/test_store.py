"""The results folder: every file whole or not at all, under names that any text can take."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.store import atomic


def test_a_file_is_written_with_its_folders(tmp_path):
    path = atomic.write_whole(tmp_path / "a" / "b" / "file.json", b"{}")
    assert path.read_bytes() == b"{}"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = atomic.write_whole(tmp_path / "analysis.json", b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with raises(DataError):
        atomic.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_whole(tmp_path / "analysis.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "study").write_text("")
    with raises(DataError) as caught:
        results.save(tmp_path / "study", b"{}")
    assert "\n" not in str(caught.value)


def test_saving_writes_the_analysis_and_the_page(tmp_path):
    paths = results.save(tmp_path / "study", b"{}", "<p>\u00e9</p>")
    found = {str(p.relative_to(tmp_path / "study")): p.read_bytes() for p in paths}
    assert found == {"analysis.json": b"{}", "report.html": "<p>\u00e9</p>".encode()}
    assert results.read_analysis(tmp_path / "study") == b"{}"


def test_figures_have_safe_names_and_none_replaces_another(tmp_path):
    figures = {"heatmap-a/b.svg": b"1", "heatmap-a?b.svg": b"2", "graph.png": b"3"}
    results.save_figures(results.figures_folder(tmp_path), figures)
    found = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    expected = {"heatmap-a_b.svg": b"1", "heatmap-a_b-2.svg": b"2", "graph.png": b"3"}
    assert found == expected


def test_saving_without_a_page_writes_the_analysis_alone(tmp_path):
    results.save(tmp_path, b"{}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["analysis.json"]


def test_a_folder_without_an_analysis_says_how_to_get_one(tmp_path):
    with raises(DataError):
        results.read_analysis(tmp_path)


def test_prediction_files_are_sorted_and_leave_out_what_is_being_written(tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    for name in ("b.parquet", "a.parquet", ".writing-1.parquet", "notes.txt"):
        (folder / name).write_text("")
    assert [p.name for p in results.prediction_files(tmp_path)] == ["a.parquet", "b.parquet"]
    assert results.prediction_files(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("heatmap-3B.svg", "heatmap-3B.svg"),
        ("Qwen/Qwen2.5-VL-3B", "Qwen_Qwen2.5-VL-3B"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("...", "_"),
        ("", "_"),
        ("<script>.svg", "_script_.svg"),
        ("a\nb\0c", "a_b_c"),
        (".hidden", "hidden"),
        ("x" * 300 + ".svg", "x" * 96 + ".svg"),
    ],
)
def test_any_name_becomes_a_safe_file_name(name, safe):
    assert results.safe_name(name) == safe


@given(st.lists(st.text(max_size=130), max_size=12))
def test_safe_names_are_plain_short_and_different_for_all_texts(names):
    taken: list[str] = []
    for name in names:
        safe = results.safe_name(name, taken)
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", safe)
        taken.append(safe)
        assert results.safe_name(safe) == safe
    assert len({name.lower() for name in taken}) == len(names)
