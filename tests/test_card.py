"""What only a GPU runs, on a stand-in for one: nothing on two devices, and nobody waits for it."""

import lab_factory as factory
import pytest
import torch
from card import a_card, put_on_card

from transferscope.fleet import train
from transferscope.fleet.memory import Room
from transferscope.fleet.score import score_fleet
from transferscope.fleet.train import Job, train_fleet
from transferscope.models import qwen
from transferscope.models.devices import free_on
from transferscope.models.qwen import FAMILIES
from transferscope.models.vlm import Base

torch.set_num_threads(1)


@pytest.fixture
def two_at_once(monkeypatch):
    """Two adapters share forwards, beside the weights; nothing is compiled."""
    monkeypatch.setattr(train, "training_room", lambda *_: Room(2, 1, False))
    monkeypatch.setattr(train, "folding_pays", lambda *_: False)
    monkeypatch.setattr(Base, "mergeable", False)
    monkeypatch.setattr(qwen, "compile_layers", lambda *_: None)


def jobs(count: int = 6) -> list[Job]:
    made = (factory.items(count, 1, seed=seed, size=(56, 56)) for seed in (0, 1))
    return [Job(f"task{index}", 0, items, index, 2, 3) for index, items in enumerate(made)]


def on_card(base: Base) -> Base:
    put_on_card(base.model)
    return base


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("family", [*FAMILIES, "llava", "small"])
def test_a_gpu_trains_and_answers_as_a_cpu(family, dropout, two_at_once, monkeypatch):
    monkeypatch.setattr("torch.Generator", lambda *_, plain=torch.Generator: plain())
    items, recipe = factory.items(5, 2, seed=7), factory.recipe(epochs=1)
    if dropout:  # of inputs at all places: the last layer's feed-forward block has fewer on a GPU
        recipe = factory.recipe(epochs=1, dropout=dropout, targets=("q_proj", "o_proj"))
    made = factory.small_base if family == "small" else lambda: factory.family_base(family)

    def run(base: Base):
        adapters = train_fleet(base, jobs(), recipe)
        return adapters, score_fleet(base, [None, *adapters], items, batch_size=2)

    expected, said = run(made())
    with a_card():
        found, answers = run(on_card(made()))
    for its, other in zip(found, expected, strict=True):
        for key, tensor in its.tensors.items():
            torch.testing.assert_close(tensor, other.tensors[key], atol=1e-3, rtol=1e-3)
    for own, others in zip(answers, said, strict=True):
        for its, other in zip(own, others, strict=True):
            assert its.logprobs == pytest.approx(other.logprobs, abs=2e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_waits_for_a_gpu_from_step_to_step(family, two_at_once):
    """Three times the steps, and three times the batches, are waited for as often."""
    base, items = on_card(factory.family_base(family)), factory.items(12, 1, seed=7)
    with a_card() as waits:

        def counted(run, *given, **named) -> dict[str, int]:
            waits.clear()
            run(base, *given, **named)
            return +waits

        adapters = train_fleet(base, jobs(), factory.recipe(epochs=1))
        score_fleet(base, [None, *adapters], items)  # all pictures are looked at
        few, many = (
            counted(train_fleet, jobs(), factory.recipe(epochs=epochs)) for epochs in (1, 3)
        )
        assert few == many
        few, many = (
            counted(score_fleet, [None, *adapters], some, batch_size=4)
            for some in (items[:4], items)
        )
        assert few == many


def test_memory_that_torch_keeps_unused_is_free(monkeypatch):
    """Else each fleet would be smaller than the one before it."""
    known = {"mem_get_info": (10, 80), "memory_reserved": 50, "memory_allocated": 20}
    for name, value in known.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, value=value: value)
    assert free_on(torch.device("cuda", 0)) == 10 + 50 - 20
