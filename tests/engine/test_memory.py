"""How much of a fleet is at work at once: by the memory that is free, and by the jobs' lengths."""

import platform
import subprocess
import sys
from collections import Counter

import engine_factory as factory
import pytest
import torch
from card import CARD, a_card, put_on_card
from engine_factory import train_fleet
from test_fleet import job, random_adapter

from transferscope.engine import memory, score, train
from transferscope.engine.linears import target_linears
from transferscope.engine.lora import Stack
from transferscope.engine.memory import MemoryPlan, folding_pays, memory_plan, scoring_tokens
from transferscope.engine.score import score_fleet
from transferscope.study import cost

torch.set_num_threads(1)

TOKEN = 4 * (14 * factory.TEXT["hidden_size"] + 5 * factory.TEXT["intermediate_size"])
"""Bytes of a token's activations in one layer, in float32, by hand."""


@pytest.fixture
def on_card(monkeypatch):
    """A base of three layers on a GPU with as much free memory as is said."""
    base = factory.family_base("qwen2_5_vl")
    put_on_card(base.model)
    free = {}
    monkeypatch.setattr(memory, "free_memory_on", free.__getitem__)
    with a_card():
        yield base, free


def test_what_fits_on_a_gpu_follows_from_its_free_memory(on_card):
    base, free = on_card
    row, adapter = 100 * 3 * TOKEN, cost.adapter_bytes(100_000)
    for left in (0, 5 * row, 20 * row, 50 * (8 * row + adapter)):
        free[CARD] = left
        found = memory_plan(base, 8, 100, 100_000)
        assert found == cost.fits(left, 8, row, adapter, alone=False)
    assert found.adapters == 35  # 70 % of 50
    free[CARD] = 10 * cost.SCORING_LAYERS * TOKEN + 1
    assert scoring_tokens(base) == 7


@pytest.mark.parametrize("left", [None, 1 << 40])
def test_on_a_cpu_each_adapter_is_alone(left, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: left)
    assert memory_plan(factory.small_base(), 8, 100, 1000) == MemoryPlan(1, 1, False)


def test_of_several_gpus_the_fullest_for_its_layers_decides(on_card, monkeypatch):
    base, free = on_card
    other = torch.device("cuda", 1)
    monkeypatch.setattr(memory, "layers_by_device", lambda _: Counter({CARD: 2, other: 1}))
    layer = cost.SCORING_LAYERS * TOKEN
    free |= {CARD: 40 * layer + 1, other: 100 * layer}
    assert scoring_tokens(base) == 42  # 70 % of 40 for two layers of three
    free |= {CARD: 100 * layer, other: 30 * layer + 1}
    assert scoring_tokens(base) == 63  # 70 % of 30 for one


@pytest.mark.parametrize(("room", "sizes"), [(0, [1, 2] * 3), (1, [1, 2] * 3), (2, [2, 4, 1, 2])])
def test_as_many_adapters_answer_at_once_as_fit_beside_a_batch(on_card, room, sizes, monkeypatch):
    base, _ = on_card
    monkeypatch.setattr("transferscope.engine.qwen_path.compile_layers", lambda *_: None)
    short, long = (factory.items(count, its, size=(56, 56)) for count, its in ((2, 1), (1, 20)))
    items, asked = [*short, *long], []
    path = score.forward_path(base, items)
    longest = max(row.length for row in path.encode(items))
    logits = type(path).logits

    def recorded(self, rows, num_logits_to_keep=1):
        asked.append(len(rows))
        return logits(self, rows, num_logits_to_keep)

    monkeypatch.setattr(type(path), "logits", recorded)
    monkeypatch.setattr(score, "scoring_tokens", lambda _: room * 2 * longest)
    score_fleet(base, [random_adapter(base, seed) for seed in range(3)], items, batch_size=2)
    assert asked == sizes


def test_jobs_of_similar_length_share_forwards_and_longer_training_comes_first(monkeypatch):
    """Rows of 2 pictures are much longer than rows of 1; 8 items take more steps than 4."""
    base = factory.small_base()
    few, longer = factory.items(4, 1), factory.items(4, 2)
    jobs = [job(seed, its) for seed, its in enumerate((few, 2 * few, longer, few, 2 * few))]
    told = []

    def room(base, batch, length, numbers):
        told.append((batch, length, numbers))
        return MemoryPlan(2, 3, False)

    monkeypatch.setattr(train, "memory_plan", room)
    recipe = factory.recipe(epochs=1)
    path = train.forward_path(base, jobs[0].items)
    groups = train.group_jobs(base, path, jobs, recipe, 2)
    assert [sorted(group.indices) for group in groups] == [[2], [1, 4], [0, 3]]
    assert {group.memory for group in groups} == {
        MemoryPlan(2, 3, False)
    }  # not 2 parts, as rows ask
    (made,) = train_fleet(base, jobs[:1], recipe)
    numbers = sum(tensor.numel() for tensor in made.tensors.values())
    assert {(batch, its) for batch, _, its in told} == {(4, numbers)}


def test_weights_are_folded_where_they_are_small_of_one_type_and_on_a_cpu(monkeypatch):
    base = factory.small_base()
    linears = target_linears(base.model, ("q_proj",))
    sizes = {name: tuple(linear.weight.shape) for name, linear in linears.items()}

    def stack(base, size=1):
        return Stack(linears, size, 2, 1.0, torch.promote_types(base.dtype, torch.float32))

    most = sum(4 * rows * columns for rows, columns in sizes.values())
    monkeypatch.setattr(memory, "FOLDED_BYTES", 2 * most)
    assert folding_pays(base, stack(base, 2))
    assert not folding_pays(base, stack(base, 3))
    half = factory.small_base(torch.bfloat16)
    assert not folding_pays(half, stack(half))


KEPT = """
import torch
from transferscope.engine import memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
{first}
del (large := [torch.ones(6 << 20)])[:]  # from here on, glibc keeps blocks of this size
blocks = [torch.ones(1 << 20) for _ in range(64)]
before = resident()
del blocks[::2]
print((before - resident()) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc")
@pytest.mark.parametrize("short", [False, True])
def test_where_memory_is_short_freed_blocks_are_given_back(short):
    first = "memory._return_freed_memory()" if short else ""
    code = KEPT.format(first=first)
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert (int(printed) > 100) == short  # MiB of 128
