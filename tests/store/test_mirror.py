"""A results folder at an address: nothing is lost, nobody's work is overwritten."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from fake_engine import FakeEngine
from messages import raises

from transferscope import store as results
from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.store import mirror
from transferscope.store import remote as away
from transferscope.store.progress import standing
from transferscope.store.remote import Away, Claim
from transferscope.study.file import parse_study

ROOT = Path(__file__).resolve().parents[2]
TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Relative_Reflectance, Spatial_Relation]
targets: [Counting, Relative_Reflectance]
seeds: 2
recipe: {items: 6}
evaluation: {items: 4}
budget: {fleet: 2}
"""


@pytest.fixture
def text(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")
    return TEXT.replace("BASE", str(tmp_path / "base"))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Move to a machine by its name: what it keeps for itself lies elsewhere."""

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
def impatient(monkeypatch):
    monkeypatch.setattr(away, "BEAT", 0.02)
    monkeypatch.setattr(away, "PATIENCE", 0.2)


def opened(address, said=None):
    said = [] if said is None else said
    return mirror.mirrored(address, said.append, lambda count, of: None)


def carry_out(text, folder, monkeypatch, step=lambda: None):
    fake = FakeEngine()
    fake.step = step
    monkeypatch.setattr(runner, "load_engine", fake.load)
    run_study(parse_study(text, "study.yaml"), folder, tell=lambda event: None)
    return fake


def contents(folder: Path) -> dict[str, bytes]:
    """Every table and adapter of a results folder."""
    files = [path for path in folder.rglob("*") if path.suffix in (".parquet", ".safetensors")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def contents_of(names) -> set[str]:
    return {name for name in names if name.endswith((".parquet", ".safetensors"))}


def test_a_study_at_an_address_goes_on_where_another_machine_stopped(
    text, address, machine, monkeypatch, tmp_path
):
    carry_out(text, tmp_path / "plain", monkeypatch)
    left = iter(range(15))
    with pytest.raises(StopIteration), opened(address) as held:
        carry_out(text, held.folder, monkeypatch, step=lambda: next(left))
    sent = contents(held.folder)
    assert len(sent) > 4
    machine("second")
    with opened(address) as held:
        assert contents(held.folder) == sent
        fake = carry_out(text, held.folder, monkeypatch)
        assert contents(held.folder) == contents(tmp_path / "plain")
    assert len(fake.trained) == 6 - sum(name.endswith(".safetensors") for name in sent)
    with mirror.fetched(address, lambda name: True) as folder:
        assert contents(folder) == contents(tmp_path / "plain")
        assert standing(folder, mirror.is_claimed(address)).state == "done"


def test_machines_killed_at_every_stage_end_as_one_that_never_was(text, tmp_path, monkeypatch):
    carry_out(text, tmp_path / "plain", monkeypatch)
    study, there, kills = tmp_path / "study.yaml", tmp_path / "there", 0
    study.write_text(text)
    script = ROOT / "tests" / "fake_engine.py"
    while True:  # each time another machine, which has nothing but what is there
        steps = str(24 * (kills + 1))  # some of them to fetch that
        command = [sys.executable, script, study, f"file://{there}", steps]
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / f"machine-{kills}")}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        kills += 1
        assert kills < 20
    assert kills >= 3
    assert contents(there) == contents(tmp_path / "plain")
    assert not (there / away.CLAIM).exists()
    for line in (there / results.LOG).read_text().splitlines():
        json.loads(line)


def test_the_same_machine_goes_on_at_once_and_sends_what_was_left(
    text, address, machine, monkeypatch
):
    with opened(address) as held:
        carry_out(text, held.folder, monkeypatch)
        Away(address).beat(Claim("gone", "other", 1))  # as it is after a crash, but for the holder
        (home,) = (results.cache_folder() / "studies").iterdir()
    claim = Claim(results.read_json(home / "holder.json")["holder"], "this", 1)
    Away(address).beat(claim)
    monkeypatch.setattr(away, "PATIENCE", 1e9)
    lost = sorted(Away(address).names())[:2]
    Away(address).remove(lost)
    (home / "known.json").write_text("{}")  # killed before it could note what it had sent
    with opened(address):
        pass
    assert set(lost) <= set(Away(address).names())


def test_features_and_what_is_not_ours_stay_where_they_are(address, machine, tmp_path):
    files = fsspec.filesystem("memory")
    root = address.removeprefix("memory:/")
    for name in ("..%2fout", "a b.txt", ".hidden", "notes.txt", "features/x.npy"):
        files.pipe_file(f"{root}/{name}", b"theirs")
    with opened(address) as held:
        assert sorted(path.name for path in held.folder.rglob("*")) == ["notes.txt"]
        (held.folder / "features").mkdir()
        (held.folder / "features" / "big.npy").write_bytes(b"large")
        (held.folder / "run.jsonl").write_text("{}\n")
    assert sorted(Away(address).names()) == ["features/x.npy", "notes.txt", "run.jsonl"]
    assert files.cat_file(f"{root}/a b.txt") == b"theirs"


def test_a_name_never_leads_out_of_the_folder(address, machine, monkeypatch, tmp_path):
    evil = {
        f"{address.removeprefix('memory:/')}/{name}": {"size": 1} for name in ("../x", "a/../../x")
    }
    files = fsspec.filesystem("memory")
    monkeypatch.setattr(type(files), "find", lambda *_, **__: evil)
    assert Away(address).names() == {}


def test_what_goes_here_goes_there_and_what_changes_is_sent_again(address, machine):
    with opened(address) as held:
        held.folder.mkdir()
        for name in ("one.csv", "two.csv"):
            (held.folder / name).write_text(name)
        held.push()
        (held.folder / "one.csv").unlink()
        (held.folder / "two.csv").write_text("changed")
    assert list(Away(address).names()) == ["two.csv"]
    machine("second")
    with opened(address) as held:
        assert (held.folder / "two.csv").read_text() == "changed"
        (held.folder / "two.csv").unlink()
    machine("first")
    with opened(address) as held:
        assert list(held.folder.iterdir()) == []


def test_what_is_not_vouched_for_does_not_count(text, address, machine, monkeypatch):
    with opened(address) as held:
        carry_out(text, held.folder, monkeypatch)
    there, names = Away(address), Away(address).names()
    tables = sorted(name for name in names if name.endswith(".parquet"))
    there.vouch(names | {tables[0]: "another version"})
    fsspec.filesystem("memory").pipe_file(
        f"{address.removeprefix('memory:/')}/predictions/99.new.parquet", b"half of a fleet"
    )
    machine("second")
    with opened(address) as held:
        assert sorted(contents(held.folder).keys() - contents_of(names)) == []
        assert contents_of(names) - contents(held.folder).keys() == {tables[0]}
        assert carry_out(text, held.folder, monkeypatch).trained == []
        assert contents_of(names) == contents(held.folder).keys()
    with mirror.fetched(address, lambda name: True) as folder:
        assert contents(folder).keys() == contents_of(names)  # without what nobody vouched for


def test_what_changes_on_the_way_is_not_vouched_for_yet(address, machine, monkeypatch):
    send = Away.send

    def changing(there, names, folder):
        send(there, names, folder)
        table.write_text("another")

    with opened(address) as held:
        table = held.folder / "predictions" / "a.parquet"
        table.parent.mkdir(parents=True)
        table.write_text("one")
        monkeypatch.setattr(Away, "send", changing)
        held.push()
        assert Away(address).vouched() == {}
        monkeypatch.setattr(Away, "send", send)
    assert list(Away(address).vouched()) == ["predictions/a.parquet"]


def test_what_went_there_and_changed_here_is_kept_and_sent_again(address, machine):
    with opened(address) as held:
        held.folder.mkdir()
        (held.folder / "one.csv").write_text("one")
    (held.folder / "one.csv").write_text("changed")
    Away(address).remove(["one.csv"])
    with opened(address) as held:
        assert (held.folder / "one.csv").read_text() == "changed"
    assert list(Away(address).names()) == ["one.csv"]


def test_addresses_that_end_alike_are_worked_on_apart(address, machine):
    with opened(f"{address}/a/one") as first, opened(f"{address}/b/one") as second:
        assert first.folder != second.folder


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"holder": "x"}'])
def test_a_claim_that_cannot_be_read_is_anothers(address, damaged):
    root = address.removeprefix("memory:/")
    assert not mirror.is_claimed(address)
    fsspec.filesystem("memory").pipe_file(f"{root}/{away.CLAIM}", damaged)
    assert mirror.is_claimed(address)


def test_the_first_that_is_sent_counts_as_a_whole_too(text, address, machine, monkeypatch):
    send = Away.send

    def cut_off(there, names, folder):
        send(there, names[:4], folder)
        raise DataError("no route to host")

    monkeypatch.setattr(Away, "send", cut_off)
    with raises(DataError), opened(address) as held:
        carry_out(text, held.folder, monkeypatch)
    assert contents_of(Away(address).names())
    monkeypatch.setattr(Away, "send", send)
    machine("second")
    with opened(address) as held:
        assert contents(held.folder) == {}


def test_a_folder_put_there_by_hand_is_taken_as_it_is(
    text, address, machine, monkeypatch, tmp_path
):
    carry_out(text, tmp_path / "plain", monkeypatch)
    fsspec.filesystem("memory").put(str(tmp_path / "plain"), address, recursive=True)
    with opened(address) as held:
        assert contents(held.folder) == contents(tmp_path / "plain")


def test_a_second_run_is_refused_as_long_as_the_first_lives(address, machine, impatient):
    with opened(address) as held:
        machine("second")
        said = []
        with (
            raises(StudyError),
            opened(address, said),
        ):
            pass
        assert len(said) == 1
        assert held.news() == []
    with opened(address):
        pass
    assert not mirror.is_claimed(address)


def test_a_run_of_this_machine_is_refused_at_once(address, machine):
    with (
        opened(address),
        raises(StudyError),
        opened(address),
    ):
        pass


def test_a_claim_without_signs_of_life_is_taken_over(address, machine, impatient):
    Away(address).beat(Claim("dead", "other", 7))
    said = []
    with opened(address, said):
        pass
    assert said == [
        f"{address}: a run on other (process 7) was here; looking whether it still is",
        f"{address}: no sign of life from it; going on in its place",
    ]
    assert not mirror.is_claimed(address)


def test_a_run_that_was_taken_over_stops_and_sends_nothing_more(address, machine):
    other = Claim("second", "elsewhere", 7)

    def taken_over():
        with opened(address) as held:
            held.folder.mkdir()
            (held.folder / "run.jsonl").write_text("late")
            Away(address).beat(other)
            held._beat()  # as every 20 seconds
            held.news()

    with raises(StudyError):
        taken_over()
    assert Away(address).claimed() == other
    assert Away(address).names() == {}


def test_where_the_address_is_out_of_reach_the_work_goes_on_and_is_sent_later(
    text, address, machine, impatient, monkeypatch
):
    files, news = type(fsspec.filesystem("memory")), []
    put = files.put

    def fails(*_, **__):
        raise ConnectionError("no route to host")

    def cut_off():
        with opened(address) as held:
            monkeypatch.setattr(files, "put", fails)
            carry_out(text, held.folder, monkeypatch)
            while not news:
                news.extend(held.news())

    message = r"no route to host; what is finished is in .*study, and the same command sends it"
    with pytest.raises(DataError, match=message):
        cut_off()
    assert "no route to host; the work goes on in" in news[0]
    assert Away(address).names() == {}
    monkeypatch.setattr(files, "put", put)
    with opened(address) as held:
        assert carry_out(text, held.folder, monkeypatch).trained == []
    with mirror.fetched(address, lambda name: True) as folder:
        assert len(contents(folder)) == 13


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("nowhere://x/y", StudyError, "nothing reaches nowhere:// addresses"),
        ("dropbox://x/y", MissingExtra, "dropbox"),
    ],
)
def test_an_address_that_nothing_reaches_is_named(place, error, message):
    with pytest.raises(error, match=message):
        Away(place)


def test_analysis_and_status_read_an_address(text, run, address, machine, monkeypatch):
    with opened(address) as held:
        carry_out(text, held.folder, monkeypatch)
    code, out, _ = run("status", address, "--json")
    assert (code, json.loads(out)["state"], json.loads(out)["cells"]) == (0, "done", 14)
    code, there, _ = run("analyze", address, "--json", "--bootstrap", 100)
    code_here, here, _ = run("analyze", held.folder, "--json", "--bootstrap", 100)
    assert (code, code_here) == (0, 0)
    assert json.loads(there) == json.loads(here)
    code, _, error = run("analyze", f"{address}/nothing")
    assert code == 2
    assert "nothing: a folder without predictions" in error


def test_a_run_with_an_address_leaves_all_of_it_there(
    text, run, address, machine, monkeypatch, tmp_path
):
    study = tmp_path / "study.yaml"
    study.write_text(text)
    monkeypatch.setattr(runner, "load_engine", FakeEngine().load)
    code, out, _ = run("run", study, "--out", address, "--no-figures", "--no-pictures")
    assert code == 0
    assert out.endswith(f"All of it is at {address}.\n")
    there = Away(address).names()
    assert {results.STUDY, results.ANALYSIS, results.REPORT, results.LOG} <= set(there)
    assert not mirror.is_claimed(address)


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket of a server that speaks S3."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    known = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "NO_PROXY": host}
    known |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    bucket = pytest.importorskip("boto3").resource("s3").Bucket("studies")
    bucket.create()
    yield bucket
    server.stop()


def test_an_object_store_is_such_an_address(text, bucket, tmp_path, monkeypatch):
    carry_out(text, tmp_path / "plain", monkeypatch)
    study = tmp_path / "study.yaml"
    study.write_text(text)
    codes, script = [], ROOT / "tests" / "fake_engine.py"
    for steps in ("60", "1000"):
        command = [sys.executable, script, study, "s3://studies/one", steps]
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / f"machine-{steps}")}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        codes.append(done.returncode)
    assert codes == [-9, 0], done.stderr
    there = {one.key: one.get()["Body"].read() for one in bucket.objects.all()}
    for name, data in contents(tmp_path / "plain").items():
        assert there[f"one/{name}"] == data
    assert f"one/{away.CLAIM}" not in there
