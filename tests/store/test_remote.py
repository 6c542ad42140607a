"""A results folder at an address, with fsspec's file system in memory."""

from pathlib import Path

import fsspec
import pytest
from fake_engine import FakeEngine
from messages import raises
from typer.testing import CliRunner

from transferscope import store as results
from transferscope.cli.app import app
from transferscope.cli.places import worked_on
from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.store import remote
from transferscope.store.remote import RemoteCopy, fetched, working_copy
from transferscope.study.file import parse_study

TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Relative_Reflectance]
targets: [Counting, Relative_Reflectance]
seeds: 2
recipe: {items: 6}
evaluation: {items: 4}
budget: {fleet: 2}
"""
MEMORY = type(fsspec.filesystem("memory"))


@pytest.fixture
def study(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")
    return parse_study(TEXT.replace("BASE", str(tmp_path / "base")), "study.yaml")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Move to another machine, whose cache is elsewhere."""

    def call(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machines" / name))

    call("first")
    return call


@pytest.fixture
def address(request):
    """An empty place in fsspec's memory."""
    files = fsspec.filesystem("memory")
    yield f"memory://{request.node.name.partition('[')[0]}/study"
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def carry_out(monkeypatch, study):
    """Carry out the study at an address or in a folder; returns the fake lab."""

    def call(place, notes=None):
        fake = FakeEngine()
        monkeypatch.setattr(runner, "load_engine", fake.load)
        with worked_on(str(place)) as at:
            on_event = at.watched(lambda event: None if notes is None else notes.append(event.note))
            run_study(study, at.folder, on_event=on_event)
        return fake

    return call


def contents(folder: Path) -> dict[str, bytes]:
    """Every current table and every adapter of a results folder."""
    files = [*results.prediction_files(folder), *folder.rglob("*.safetensors")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def names_at(address: str) -> set[str]:
    files, root = fsspec.core.url_to_fs(address)
    return {path.removeprefix(f"{root}/") for path in files.find(root)}


class Lost(BaseException):
    """The machine is gone: nothing after it runs."""


@pytest.mark.parametrize("after", range(0, 24, 3))
def test_a_machine_that_is_lost_while_it_sends_costs_nothing_but_time(
    carry_out, machine, address, monkeypatch, tmp_path, after
):
    carry_out(tmp_path / "plain")
    put, left = MEMORY.put_file, iter(range(after))

    def put_or_die(*given, **how):
        if next(left, None) is None:
            raise Lost
        return put(*given, **how)

    monkeypatch.setattr(MEMORY, "put_file", put_or_die)
    with pytest.raises(Lost):
        carry_out(address)
    monkeypatch.setattr(MEMORY, "put_file", put)
    machine("second")
    carry_out(address)  # the fake adapters depend on the whole fleet they were trained in
    with fetched(address, lambda name: True) as folder:
        assert contents(folder) == contents(tmp_path / "plain")


def test_another_machine_finds_what_was_sent_after_each_shard(carry_out, machine, address, study):
    carry_out(address)
    machine("second")
    fake = carry_out(address)
    assert (fake.trained, fake.scored) == ([], [])
    with fetched(address, remote.is_result) as folder:
        assert len(results.prediction_files(folder)) == 10
        assert not list(folder.rglob("*.safetensors"))


def test_an_address_that_cannot_be_reached_stops_nothing(
    carry_out, machine, address, monkeypatch, tmp_path
):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    put, notes = MEMORY.put_file, []
    monkeypatch.setattr(MEMORY, "put_file", unreachable)
    with raises(DataError):
        carry_out(address, notes)
    assert any("cannot be reached: no route to host; the work goes on" in one for one in notes)
    assert names_at(address) == set()
    monkeypatch.setattr(MEMORY, "put_file", put)
    assert carry_out(address).trained == []
    assert results.INDEX in names_at(address)


def test_what_changed_at_one_place_is_copied_to_the_other(machine, address):
    with working_copy(address) as copy:
        copy.folder.mkdir()
        for name in ("one.csv", "two.csv"):
            (copy.folder / name).write_text(name)
        copy.send()
        (copy.folder / "one.csv").unlink()
        (copy.folder / "two.csv").write_text("changed")
    assert names_at(address) == {"two.csv"}
    machine("second")
    with working_copy(address) as copy:
        assert (copy.folder / "two.csv").read_text() == "changed"
        (copy.folder / "two.csv").write_text("again")
    machine("first")
    with working_copy(address) as copy:
        assert (copy.folder / "two.csv").read_text() == "again"


def test_folders_are_made_where_an_address_needs_them(machine, tmp_path):
    with working_copy(f"file://{tmp_path / 'there'}") as copy:
        results.save(copy.folder / "judging" / "m", b"{}")
    assert (tmp_path / "there" / "judging" / "m" / results.ANALYSIS).read_bytes() == b"{}"


def test_features_and_foreign_names_are_not_copied(machine, address):
    files, root = fsspec.core.url_to_fs(address)
    for name in ("..%2fout", "a b.txt", ".hidden", "notes.txt", "features/x.npy"):
        files.pipe_file(f"{root}/{name}", b"theirs")
    with working_copy(address) as copy:
        assert [path.name for path in copy.folder.rglob("*")] == ["notes.txt"]
        (copy.folder / "features").mkdir()
        (copy.folder / "features" / "big.npy").write_bytes(b"large")
    assert "features/big.npy" not in names_at(address)
    assert files.cat_file(f"{root}/a b.txt") == b"theirs"


def test_a_name_at_an_address_never_leads_out_of_the_folder(address, monkeypatch, tmp_path):
    root = address.removeprefix("memory:/")
    evil = {f"{root}/{name}": {"size": 1} for name in ("../x", "a/../../x", "a/.x")}
    monkeypatch.setattr(MEMORY, "find", lambda *_, **__: evil)
    RemoteCopy(address, tmp_path / "study").fetch()
    assert not (tmp_path / "study").exists()


def test_a_second_run_on_this_machine_is_refused(machine, address):
    with working_copy(address), raises(StudyError), working_copy(address):
        pass
    with working_copy(f"{address}/a/one") as first, working_copy(f"{address}/b/one") as second:
        assert first.folder != second.folder


def test_an_address_that_nothing_reaches_is_refused(tmp_path):
    with raises(StudyError):
        RemoteCopy("nothing://bucket/study", tmp_path)
    with pytest.raises(MissingExtra, match="gcs"):
        RemoteCopy("gs://bucket/study", tmp_path)


def test_status_and_export_read_an_address(carry_out, machine, address, tmp_path):
    carry_out(address)
    shown = CliRunner().invoke(app, ["status", address])
    assert shown.stdout.startswith("one: done, 10 of 10 cells (100%)\n")
    files, root = fsspec.core.url_to_fs(address)
    log = files.cat_file(f"{root}/{results.LOG}").decode().splitlines()
    files.pipe_file(f"{root}/{results.LOG}", "\n".join(log[:-1]).encode())
    shown = CliRunner().invoke(app, ["status", address])
    assert shown.stdout.startswith("one: unfinished, 10 of 10 cells (100%)\n")
    done = CliRunner().invoke(app, ["export", address, "--out", str(tmp_path / "b.zip")])
    assert (done.exception, (tmp_path / "b.zip").is_file()) == (None, True)
    wrong = CliRunner().invoke(app, ["export", f"{address}-not", "--out", str(tmp_path / "c.zip")])
    assert isinstance(wrong.exception, DataError)
    assert str(wrong.exception).startswith(f"{address}-not: neither predictions")
