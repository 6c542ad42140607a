"""Nothing from a foreign file runs, unfolds, or reaches the terminal as a command."""

import polars as pl
import pytest
from messages import raises

from transferscope.errors import StudyError
from transferscope.tasks import untrusted
from transferscope.tasks.untrusted import (
    for_terminal,
    json_lines,
    load_json,
    load_yaml,
    read_parquet,
    read_text,
    shown,
)

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "a: 1\na: 2",
        "? [1]\n: 2",
        "&a [*a]",
        BOMB,
        "[" * 2000,
        "2024-13-45",
        "a: [",
    ],
    ids=["tag", "twice", "key", "itself", "bomb", "deep", "date", "open"],
)
def test_yaml_is_plain_values_only(text: str) -> None:
    with raises(ValueError):
        load_yaml(text)


def test_yaml_that_is_plain_is_read() -> None:
    assert load_yaml(b"\xef\xbb\xbfa: &x [1, null]\nb: *x\n") == {"a": [1, None], "b": [1, None]}
    assert load_yaml("") is None


def test_json_lines_report_a_damaged_line_and_go_on() -> None:
    lines = dict(json_lines('{"a": 1}\n\n[1\n{"a": "\u2028", "a": 2}\n', unique_keys=True))
    assert lines[1] == {"a": 1}
    assert [number for number, value in lines.items() if isinstance(value, ValueError)] == [3, 4]
    assert load_json('{"a": 1, "a": 2}') == {"a": 2}
    with raises(ValueError):
        load_json("[" * 100_000)


def test_text_names_the_file_and_what_is_wrong(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert read_text(tmp_path / "a.txt") == "one\ntwo"
    (tmp_path / "b.txt").write_bytes(b"one\xff")
    for name in ("b.txt", "nowhere.txt", "", "a\0"):
        with raises(StudyError):
            read_text(tmp_path / name, StudyError, missing="not found; write it")


def test_a_parquet_file_of_more_rows_than_its_bytes_can_hold_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": pl.repeat(1, 100_000, eager=True), "b": "x"}).write_parquet(path)
    assert read_parquet(path, ["b", "c"]).columns == ["b"]
    monkeypatch.setattr(untrusted, "MAX_ROWS", 10)
    with raises(ValueError):
        read_parquet(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        read_parquet(path)


def test_names_cannot_control_a_terminal() -> None:
    assert for_terminal("\x1b[31mred\x1b[0m\n") == "\x1b[31mred\x1b[0m\n"
    assert for_terminal("\x1b]0;title\x07 \u202eabc") == "\ufffd]0;title\ufffd \ufffdabc"
    assert (shown("Jigsaw é"), shown("a\n\x1b[2J")) == ("Jigsaw é", "a\\n\\x1b[2J")
