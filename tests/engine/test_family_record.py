"""A family's fast path is its module and one entry: tried on a toy."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import engine_factory as factory
import pytest
from transformers import CONFIG_MAPPING

from transferscope.engine.families import FAMILIES, GLIMPSE, OTHER, Family
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.processors import set_thinking
from transferscope.engine.reference_path import ReferencePath
from transferscope.engine.reply_tokens import reply_text
from transferscope.engine.score import score_fleet
from transferscope.study.shapes import Shapes
from transferscope.tasks.open_answers import BoxAnswer

MODEL_TYPES = {
    **{"Qwen2-VL": "qwen2_vl", "Qwen2.5-VL": "qwen2_5_vl", "Qwen3-VL": "qwen3_vl"},
    **{"Qwen3-VL-MoE": "qwen3_vl_moe", "Qwen3.5": "qwen3_5", "Qwen3.5-MoE": "qwen3_5_moe"},
    **{"InternVL": "internvl", "SmolVLM": "idefics3", "SmolVLM2": "smolvlm"},
    **{"LLaVA-OneVision": "llava_onevision", "Gemma 3": "gemma3", "Gemma 4": "gemma4"},
    **{"GLM-4V": "glm4v", "GLM-4.6V": "glm46v"},
}
"""`model_type` by the names in docs/matrix.md."""


class ToyPath(ReferencePath):
    """Counts its forwards."""

    forwards = 0

    def logits(self, rows, num_logits_to_keep=1):
        ToyPath.forwards += 1
        return super().logits(rows, num_logits_to_keep)


def test_an_entry_gives_a_family_its_path(monkeypatch):
    items = factory.items(3, 1)
    (expected,) = score_fleet(factory.family_base("llava"), [None], items)
    monkeypatch.setitem(FAMILIES, "llava", Family(path=f"{__name__}:ToyPath"))
    base = factory.family_base("llava")
    assert isinstance(forward_path(base, items), ToyPath)
    (found,) = score_fleet(base, [None], items)
    assert ToyPath.forwards > 0
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)


def test_places_are_written_and_scored_in_the_familys_order(monkeypatch):
    """With a model that replies what it is told."""
    (item,) = factory.items(1, 1)
    item = replace(item, choices=(), answer=-1, truth=BoxAnswer(0.1, 0.2, 0.5, 0.9))
    monkeypatch.setattr("transferscope.engine.score.replies", lambda *_: ["[200, 100, 900, 500]"])
    for y_first, written in ((False, "100, 200, 500, 900"), (True, "200, 100, 900, 500")):
        monkeypatch.setitem(FAMILIES, "llava", Family(y_first=y_first))
        base = factory.family_base("llava")
        assert reply_text(base, item, item.truth) == written
        (((_, _, _, score, _),),) = score_fleet(base, [None], [item])
        assert (score == pytest.approx(1)) == y_first
    assert all(FAMILIES[one].y_first for one in ("gemma3", "gemma4"))


def test_the_documented_families_are_those_of_the_record():
    text = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text()
    table = re.search(r"^\| family \| path .*\n\|---.*\n((?:\|.*\n)+)", text, re.M)
    assert table
    named = set[str]()
    for line in table[1].splitlines():
        names, path, features, _, places = (cell.strip() for cell in line.strip("|").split("|"))
        for name in names.partition(" with ")[0].split(", "):
            family = FAMILIES.get(MODEL_TYPES[name], OTHER)
            named.add(MODEL_TYPES[name])
            assert (path, features) == (
                ("own", "once for all adapters, kept")
                if family.own_path
                else ("reference", "in every forward pass")
            )
            unit = "pixels of the resized image"
            unit = f"0 to {family.coordinates}" if family.coordinates else unit
            order = "y first" if family.y_first else "x first"
            assert places.removesuffix(" (ours)") == f"{unit}, {order}"
    assert named == {*MODEL_TYPES.values()} >= {*FAMILIES} - {GLIMPSE}
    assert named <= {*CONFIG_MAPPING}


def test_a_plan_counts_kept_features_for_the_families_that_keep_them():
    own = {name for name, family in FAMILIES.items() if family.own_path} - {GLIMPSE}
    exact: Any = Shapes.exact.fget
    assert own == {name for name in CONFIG_MAPPING if exact(SimpleNamespace(family=name))}


def test_a_family_may_name_another_switch_for_thinking():
    class Processor:
        chat_template = "{{ 'a' if ponder else 'b' }}"

    assert set_thinking(Processor(), False) == ""
    switches = Family(thinking_switches=("ponder",)).thinking_switches
    assert set_thinking(Processor(), False, switches) == "{%- set ponder = false %}"
