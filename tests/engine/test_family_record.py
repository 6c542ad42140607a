"""A family's fast path is its module and one entry: tried on a toy."""

import engine_factory as factory
import pytest

from transferscope.engine.families import FAMILIES, Family
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.processors import set_thinking
from transferscope.engine.reference_path import ReferencePath
from transferscope.engine.score import score_fleet


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


def test_a_family_may_name_another_switch_for_thinking():
    class Processor:
        chat_template = "{{ 'a' if ponder else 'b' }}"

    assert set_thinking(Processor(), False) == ""
    switches = Family(thinking_switches=("ponder",)).thinking_switches
    assert set_thinking(Processor(), False, switches) == "{%- set ponder = false %}"
