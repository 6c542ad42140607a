"""Raw replies of real models on BLINK, read as the benchmark's authors read them."""

import json
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from transferscope.readers.harness.blink_files import read
from transferscope.readers.harness.evaluations import read_evaluations
from transferscope.readers.harness.foreign_files import load
from transferscope.readers.harness.samples import HarnessSample, Options
from transferscope.tasks.answers import read_reply

REAL = Path("../shared/real").resolve()
RAW = REAL / "blink-raw"
MODELS = sorted(path.name for path in RAW.glob("saved_outputs/*"))
WORST, AVERAGE = 0.03, 0.01
"""How far our accuracy may be from the authors': for one model, and on average."""

pytestmark = pytest.mark.skipif(not MODELS, reason="no real replies here")


@cache
def samples(model: str) -> list[HarnessSample]:
    """The validation items of a model."""
    contents = [load(path) for path in sorted(RAW.glob(f"saved_outputs/{model}/*"))]
    logs = [read(content, Options()) for content in contents if content is not None]
    return [sample for log in logs for sample in log.samples]


read_once = cache(read_reply)  # many replies are alike, such as "(A)"


@cache
def readings(model: str) -> list[int | None]:
    """What we read in each reply, by its text alone."""
    return [read_once(sample.reply or "", sample.choices) for sample in samples(model)]


def authors(model: str) -> float:
    """The authors' accuracy: of their final flat file, else by the reading beside each reply."""
    flat = RAW / "saved_val_predictions" / f"{model}.json"
    if not flat.exists():  # GPT4V_concatenated: its options stand in an older order
        marks = [sample.score for sample in samples(model)]
        return sum(mark for mark in marks if mark is not None) / len(marks)
    gold = json.loads((RAW / "val_answers.json").read_text())
    said = json.loads(flat.read_text())
    return sum(said[item] == right for item, right in gold.items()) / len(gold)


def through_the_reader(folder: Path, model: str, head: str = "") -> pl.DataFrame:
    """A model's rows as a mapping file gives them."""
    path = RAW / "saved_outputs" / model
    part = min(path.iterdir())  # some finetune must be there
    runs = f"runs:\n- path: {path}\n- {{path: {part}, source: Jigsaw}}\n"
    (folder / "mapping.yaml").write_text(f"model: m\n{head}{runs}")
    return read_evaluations(folder / "mapping.yaml", None).rows.filter(pl.col("source").is_null())


def test_accuracies_through_the_reader_are_those_of_the_authors(tmp_path):
    differences = []
    for model in MODELS[::3]:  # by their text alone the next test reads all
        rows = through_the_reader(tmp_path, model)
        right = rows["correct"].to_list().count(True)
        differences.append(abs(right / rows.height - authors(model)))
        assert rows.filter(read_by="harness")["unreadable"].sum() == 0
        assert rows.filter(pl.col("read_by").is_null())["unreadable"].all()
    assert max(differences) <= WORST
    assert sum(differences) / len(differences) <= AVERAGE


def test_accuracies_by_the_text_alone_are_those_of_the_authors():
    differences = []
    for model in MODELS:
        found = samples(model)
        right = sum(o == s.answer for o, s in zip(readings(model), found, strict=True))
        differences.append(abs(right / len(found) - authors(model)))
    assert max(differences) <= WORST
    assert sum(differences) / len(differences) <= AVERAGE


def test_where_both_read_a_reply_they_read_the_same_option():
    both = [
        (ours, theirs)
        for model in MODELS
        for ours, sample in zip(readings(model), samples(model), strict=True)
        if ours is not None
        and (theirs := read_once(sample.parsed or "", sample.choices)) is not None
    ]
    assert len(both) > 15_000
    assert sum(ours != theirs for ours, theirs in both) < 0.005 * len(both)


def test_the_harness_s_reading_alone_gives_the_authors_accuracies(tmp_path):
    rows = through_the_reader(tmp_path, "llava_v1.5_13b", "replies: harness\n")
    right = rows["correct"].to_list().count(True)
    assert right / rows.height == pytest.approx(authors("llava_v1.5_13b"), abs=0.005)


TASKS = (
    *("Counting", "Relative_Depth", "Art_Style"),
    *("Spatial_Relation", "Object_Localization", "Multi-view_Reasoning"),
)


@pytest.mark.parametrize(
    ("run", "published"),
    [
        # Fu et al., "BLINK", validation split: LLaVA-1.6-34B and Gemini Pro 1.0, in percent
        ("base", (66.67, 67.74, 43.59, 74.83, 59.02, 62.41)),
        ("ft", (52.50, 40.32, 50.43, 74.83, 53.28, 44.36)),
    ],
)
def test_workbooks_of_vlmevalkit_give_the_published_accuracies(run, published):
    pytest.importorskip("fastexcel")
    mapping = REAL / "vlmevalkit-xlsx" / "mapping.yaml"
    if not mapping.exists():
        pytest.skip("no real workbooks here")
    rows = read_evaluations(mapping, None).rows
    rows = rows.filter(pl.col("source").is_null() == (run == "base"))
    found = dict(rows.group_by("target").agg(pl.col("correct").mean()).iter_rows())
    differences = [abs(found[t] - p / 100) for t, p in zip(TASKS, published, strict=True)]
    assert max(differences) <= WORST
    assert sum(differences) / len(differences) <= AVERAGE
