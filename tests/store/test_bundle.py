"""Bundles: all of a study in one zip, always the same bytes, and nothing of a stranger trusted."""

import csv
import io
import json
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from fake_engine import FakeEngine
from messages import raises

import transferscope as ts
from transferscope import cli
from transferscope import store as results
from transferscope.analysis.json_file import to_json
from transferscope.analysis.settings import Settings
from transferscope.cli.results import exhibits_of
from transferscope.errors import DataError
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.readers import read_inputs, read_results
from transferscope.report.bundle import export
from transferscope.store import archive
from transferscope.study.file import parse_study

TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Relative_Reflectance]
targets: [Counting, Relative_Reflectance, Spatial_Relation]
seeds: 2
recipe: {items: 6}
evaluation: {items: 8, prompt: direct}
controls: [shuffled, reordered]
mixtures: {both: {Counting: 0.5, Relative_Reflectance: 0.5}}
budget: {cache: CACHE}
"""
QUICK = Settings()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A results folder: a run of a fake lab, and its analysis."""
    place = tmp_path_factory.mktemp("bundles") / "someones" / "disk"
    (place / "base").mkdir(parents=True)
    (place / "base" / "weights").write_text("s")
    text = TEXT.replace("BASE", str(place / "base")).replace("CACHE", str(place / "base2" / "base"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_engine", FakeEngine().load)
        run_study(parse_study(text, "t"), place / "out")
    results.save(place / "out", analyzed(place / "out"))
    return place / "out"


@pytest.fixture
def packed(study, tmp_path):
    export(study, tmp_path / "bundle.zip")
    return tmp_path / "bundle.zip"


def analyzed(path):
    return to_json(ts.analyze(read_results(path), QUICK))


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezipped(path: Path, files: dict[str, bytes]) -> Path:
    """The files as somebody else's zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_results(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is written


def test_a_bundle_is_analysed_as_its_folder_is(study, packed):
    whole = [json.loads(analyzed(path)) for path in (study, packed)]
    files = [one["inputs"][0].pop("file") for one in whole]
    assert files == ["out", "bundle.zip"]
    assert whole[0] == whole[1]
    assert json.loads(contents(packed)["analysis.json"])["models"] == whole[0]["models"]


def test_the_same_folder_gives_the_same_bytes(study, packed, tmp_path):
    copy = shutil.copytree(study, tmp_path / "copy", copy_function=shutil.copyfile)
    export(copy, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_tables_are_in_it_as_the_folder_keeps_them(study, packed):
    files = contents(packed)
    tables = [*results.prediction_files(study), *results.control_files(study)]
    # Of each three targets: the base; sources; a placebo, the other order, a mixture.
    assert len(tables) == 3 * (1 + 4 + 6)
    names = [path.relative_to(study).as_posix() for path in tables]
    assert [name for name in files if name.endswith(".parquet")] == sorted(names)
    for name, path in zip(names, tables, strict=True):
        assert files[name] == path.read_bytes()
    assert json.loads(files["index.json"])["tables"].keys() == set(names)


def test_every_cell_is_counted_from_the_answers(packed):
    """A second computation: each row of cells.csv from the Parquet tables, in plain loops."""
    files = contents(packed)
    right: dict[tuple, list[bool]] = {}
    for name, data in files.items():
        if name.endswith(".parquet"):
            for row in pl.read_parquet(io.BytesIO(data)).iter_rows(named=True):
                key = (row["seed"], row["source"], row["target"])
                right.setdefault(key, []).append(row["correct"])
    rows = list(csv.DictReader(io.StringIO(files["cells.csv"].decode())))
    assert len(rows) == 2 * (2 + 3) * 3
    assert {row["source"]: row["kind"] for row in rows} == {
        "Counting": "source", "Relative_Reflectance": "source", "shuffled": "control",
        "reordered": "control", "both": "mixture",
    }  # fmt: skip
    for row in rows:
        base = right[None, None, row["target"]]
        tuned = right[row["seed"], row["source"], row["target"]]
        assert (int(row["items"]), int(row["base_correct"])) == (8, sum(base))
        assert int(row["tuned_correct"]) == sum(tuned)
        assert float(row["base"]) == pytest.approx(sum(base) / 8)
        assert float(row["tuned"]) == pytest.approx(sum(tuned) / 8)
        if sum(base) == 8:
            assert row["pgf"] == ""
        else:
            pgf = (sum(tuned) - sum(base)) / (8 - sum(base))
            assert float(row["pgf"]) == pytest.approx(pgf)


def test_no_path_of_the_machine_is_in_it(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "copy")
    index = results.read_index(copy)
    index["runs"][0]["notes"] = [f"{study.parent / 'base'} and {Path.home() / 'x'} are slow"]
    (copy / results.INDEX).write_bytes(results.as_json(index))
    export(copy, packed := tmp_path / "b.zip")
    notes = json.loads(contents(packed)["index.json"])["runs"][0]["notes"]
    assert notes == ["./base and ~/x are slow"]
    for name, data in contents(packed).items():
        assert b"someones" not in data, name
        assert str(Path.home()).encode() + b"/" not in data, name
    told = yaml.safe_load(contents(packed)["study.yaml"])
    assert told["models"]["s"]["where"] == "./base"
    assert told["budget"]["cache"] == "./base-2"  # another folder of that name
    before = yaml.safe_load((study / "study.yaml").read_text())
    assert told["recipe"] == before["recipe"]


def test_provenance_names_what_made_the_numbers(study, packed):
    facts = json.loads(contents(packed)["provenance.json"])
    records = results.run_records(study)
    assert facts["bases"] == {"s": [records[0]["base"]]}
    assert facts["right_answers"] == {name: [its] for name, its in records[0]["gold"].items()}
    assert facts["versions"]["numpy"] == [np.__version__]
    assert facts["prompt"]["style"] == "direct"
    assert "directly" in facts["prompt"]["added"]
    assert {one["run"]["source"] for one in facts["adapters"]} == {
        "Counting", "Relative_Reflectance", "shuffled", "both",
    }  # fmt: skip
    assert facts["missing"] == []


def test_the_readme_explains_every_file_and_column(packed):
    files = contents(packed)
    text = files["README.txt"].decode()
    for name in files:
        assert f"\n{name.split('/')[0]}" in text, name
    for column in files["cells.csv"].decode().splitlines()[0].split(","):
        assert f"\n  {column}: " in text, column
    assert max(map(len, text.splitlines())) <= 88


def test_a_folder_analysed_from_tables_gives_what_it_has(tmp_path, monkeypatch, capsys):
    table = "seed,source,target,correct,total\n"
    for seed, base, s, t in ((0, (6, 5), (9, 4), (3, 8)), (1, (6, 5), (8, 5), (6, 9))):
        for name, counts in (("", base), ("S", s), ("T", t)):
            for target, correct in zip("ST", counts, strict=True):
                table += f"{seed},{name},{target},{correct},12\n"
    (tmp_path / "m.csv").write_text(table)
    results.save(tmp_path / "out", analyzed(tmp_path / "m.csv"))
    arguments = ["transferscope", "export", str(tmp_path / "out"), "--out", str(tmp_path / "b.zip")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as done:
        cli.main()
    told = capsys.readouterr().out
    assert done.value.code in (None, 0)
    assert "not in it: predictions: the folder was analyzed from tables" in told
    assert "not in it: study.yaml" in told
    cells = pl.read_csv(contents(tmp_path / "b.zip")["cells.csv"])
    found = cells.filter(source="S", target="S").sort("seed")
    assert found["base"].to_list() == [0.5, 0.5]
    assert found["tuned"].to_list() == pytest.approx([9 / 12, 8 / 12])
    assert found["pgf"].to_list() == pytest.approx([3 / 6, 2 / 6])
    assert found["items"].to_list() == [None, None]
    assert "without predictions" in refusal(tmp_path / "b.zip")


def test_what_judged_a_choice_is_said_to_lie_elsewhere(study, tmp_path):
    folder = tmp_path / "experiment"
    shutil.copytree(study, folder)
    shutil.copytree(study, folder / "judging" / "m" / "Jigsaw")
    (told,) = set(export(folder, tmp_path / "all.zip")) - set(export(study, tmp_path / "one.zip"))
    assert told.startswith("the answers by which the choice of data was judged: judging/")
    assert told in " ".join(contents(tmp_path / "all.zip")["README.txt"].decode().split())
    assert not [name for name in contents(tmp_path / "all.zip") if "judging" in name]
    export(folder / "judging" / "m" / "Jigsaw", tmp_path / "part.zip")  # like any study
    assert contents(tmp_path / "part.zip")["cells.csv"]


def test_other_measures_are_told_as_accuracies_and_pgf(tmp_path):
    rows = "0,,S,0.5\n0,,T,0.25\n0,S,S,0.75\n0,S,T,0.125\n0,T,S,0.5\n0,T,T,1\n"
    (tmp_path / "m.csv").write_text("seed,source,target,accuracy\n" + rows)
    told = []
    for name in ("relative_gain", "raw_gain", "pgf"):
        settings = Settings(measure=name)
        analysis = ts.analyze(read_results(tmp_path / "m.csv", ceiling=1.0), settings)
        results.save(tmp_path / name, to_json(analysis))
        export(tmp_path / name, tmp_path / f"{name}.zip")
        told.append(pl.read_csv(contents(tmp_path / f"{name}.zip")["cells.csv"]))
    for cells in told:
        assert cells["tuned"].to_list() == pytest.approx([0.75, 0.125, 0.5, 1])
        assert cells["pgf"].to_list() == pytest.approx([0.5, -1 / 6, 0, 1])


def test_an_analysis_of_other_tables_is_not_passed_on(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "copy")
    index = results.read_index(copy)
    index["runs"] = [
        one
        for one in index["runs"]
        if one["run"]["seed"] != 1 or one["run"]["source"] != "Counting"
    ]
    (copy / results.INDEX).write_bytes(results.as_json(index))
    with raises(DataError):
        export(copy, tmp_path / "b.zip")
    (copy / "analysis.json").unlink()
    missing = export(copy, tmp_path / "b.zip")
    assert "analysis.json: the folder had not been analyzed" in missing
    assert "3 of 30 cells, which were not measured" in missing


def test_a_folder_without_results_is_refused(tmp_path):
    with raises(DataError):
        export(tmp_path, tmp_path / "b.zip")
    with raises(DataError):
        export(tmp_path / "x", tmp_path / "b.zip")
    assert list(tmp_path.iterdir()) == []


# What is read


def test_a_table_that_was_changed_is_missing_or_is_not_listed_is_named(packed):
    files = contents(packed)
    name = next(name for name in files if name.startswith("predictions/s/Counting/1/"))
    changed = files | {name: files[name][:-1] + b"x"}
    assert f"bundle.zip: '{name}': the checksum differs" in refusal(rezipped(packed, changed))
    fewer = {other: data for other, data in files.items() if other != name}
    assert f"'{name}': is missing" in refusal(rezipped(packed, fewer))
    more = files | {"predictions/more.parquet": b"PAR1"}
    assert "'predictions/more.parquet': index.json does not" in refusal(rezipped(packed, more))
    damaged = files | {"index.json": b"{}"}
    assert "index.json is not a valid index" in refusal(rezipped(packed, damaged))


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "predictions/../../evil.parquet", "/etc/evil.json", "predictions\\..\\e.json",
     "predictions/.evil.parquet", "predictions/a/b.json", "C:evil.json", "adapters/x.json"],
)  # fmt: skip
def test_an_entry_of_another_name_is_refused_and_written_nowhere(packed, tmp_path, name):
    said = refusal(rezipped(packed, contents(packed) | {name: b"{}"}))
    assert "not a file of a bundle" in said
    assert not list(tmp_path.parent.rglob("*evil*"))


def test_a_link_is_refused(packed):
    files = contents(packed)
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            link = name == "study.yaml"
            entry.external_attr = (stat.S_IFLNK if link else stat.S_IFREG) << 16
            archive.writestr(entry, b"/etc/passwd" if link else data)
    assert "'study.yaml': must be a file, got a link" in refusal(packed)


def test_a_bomb_is_refused_before_it_is_unpacked(packed, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "extract", lambda *_: pytest.fail("it was unpacked"))
    files = contents(packed) | {"cells.csv": b"\0" * (300 << 20)}
    assert "unpacked it would have 314," in refusal(rezipped(packed, files))


def test_an_entry_that_lies_about_its_size_is_refused(packed):
    files = contents(packed) | {"cells.csv": b"," * 5000}
    rezipped(packed, files)
    data = packed.read_bytes()
    assert data.count((5000).to_bytes(4, "little")) == 2  # in its header, and in the directory
    packed.write_bytes(data.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    assert "'cells.csv'" in refusal(packed)


@pytest.mark.parametrize(
    ("suite", "why"),
    [
        ("FOLDER", "the suite was a folder of another machine"),
        ("{name: blink, path: FOLDER}", "blink is not on this machine"),
    ],
)
def test_no_folder_that_a_bundle_names_is_opened(packed, tmp_path, monkeypatch, suite, why):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "suite.yaml").write_text("tasks: [{name: Counting}]")
    monkeypatch.setattr("transferscope.study.file.cached", lambda *_: None)
    monkeypatch.setattr("transferscope.study.file.open_suite", lambda *_, **__: pytest.fail("open"))
    text = f"name: x\nsuite: {suite}\n".replace("FOLDER", str(tmp_path / "own"))
    rezipped(packed, contents(packed) | {"study.yaml": text.encode()})
    shown = exhibits_of(read_inputs(packed), images=True)
    assert shown is not None
    assert f"bundle.zip: no questions and images: {why}" in shown.notes


def test_what_is_no_zip_is_refused(tmp_path, packed):
    (tmp_path / "text.zip").write_text("model,seed\n")
    assert refusal(tmp_path / "text.zip").startswith("text.zip: not a readable zip file")
    (tmp_path / "short.zip").write_bytes(packed.read_bytes()[:-100])
    assert refusal(tmp_path / "short.zip").startswith("short.zip: not a readable zip file")
    assert "no such file" in refusal(tmp_path / "none.zip")


def test_an_encrypted_or_twice_given_entry_is_refused(packed):
    files = contents(packed)
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cells.csv", b"")
    assert "'cells.csv': must be in it once" in refusal(packed)
    data = bytearray(rezipped(packed, files).read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1  # the directory's flag of the last entry
    packed.write_bytes(data)
    assert "encrypted" in refusal(packed)


def test_a_bundle_that_others_packed_anew_is_read(packed, tmp_path):
    shutil.unpack_archive(packed, tmp_path / "un")
    shutil.make_archive(str(tmp_path / "anew"), "zip", tmp_path / "un")  # with entries of folders
    assert read_results(tmp_path / "anew.zip").equals(read_results(packed))


def test_other_compressions_and_other_folders_are_refused(packed):
    files = contents(packed)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert "this compression is not supported" in refusal(packed)
    assert "'adapters/': not a file of a bundle" in refusal(
        rezipped(packed, files | {"adapters/": b""})
    )


def test_a_file_that_is_gone_is_named_and_no_bundle_is_left(tmp_path):
    with raises(DataError):
        archive.pack(tmp_path / "b.zip", {"study.yaml": tmp_path / "study.yaml"})
    assert list(tmp_path.iterdir()) == []
    assert archive.is_bundle(tmp_path / "B.ZIP")
