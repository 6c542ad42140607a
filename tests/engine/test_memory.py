"""How much of a fleet is at work at once: by the memory that is free, and by the jobs' lengths."""

import platform
import subprocess
import sys
import weakref
from collections import Counter
from itertools import product
from typing import NamedTuple

import engine_factory as factory
import pytest
import torch
from card import CARD, a_card, put_on_card
from engine_factory import train_fleet
from test_fleet import job, random_adapter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transferscope.engine import memory, peft_training, score, train
from transferscope.engine.linears import target_linears
from transferscope.engine.lora import Stack
from transferscope.engine.memory import MemoryPlan, folding_pays, memory_plan, scoring_tokens
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.engine.train import reply_loss
from transferscope.study import Recipe, cost

torch.set_num_threads(1)

TOKEN = 4 * (8 * factory.TEXT["hidden_size"] + 4 * factory.TEXT["intermediate_size"])
"""Bytes of a token's activations in one layer, in float32, by hand."""
BATCH = factory.recipe(batch_size=8)


class Widths(NamedTuple):
    """Of a language model."""

    hidden: int
    intermediate: int
    heads: int
    keys: int

    def kept(self, number: int, rank: int) -> int:
        """Bytes of a token and layer, tensor by tensor, of numbers of so many bytes."""
        hidden, keys = self.hidden, self.keys
        attention = hidden + hidden + 2 * keys + hidden  # its input, q, k and v, o's input
        mlp = hidden + 4 * self.intermediate  # its input, gate, SiLU, up, down's input
        norms = 2 * 4 * (hidden + 1)  # inputs and their sizes, in float32
        return (attention + mlp + 7 * rank) * number + norms + 4 * self.heads  # softmax's sums


QWEN = {
    "3B": Widths(2048, 11008, 16, 256),
    "7B": Widths(3584, 18944, 28, 512),
    "32B": Widths(5120, 27648, 40, 1024),
}
"""Of Qwen2.5-VL, as published."""
TINY = Widths(48, 64, 4, 24)
"""`factory.TEXT`."""


def kept_by_autograd(base, recipe, rows, monkeypatch):
    """Bytes that one step's forward keeps for the backward."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # alive, so that no other one gets its place
        return tensor

    def watched(*args, **named):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            return reply_loss(*args, **named)

    for module in (train, peft_training):
        monkeypatch.setattr(module, "reply_loss", watched)
    items = factory.items(1) * rows
    list(peft_training.train_adapters(base, [TrainingJob("a", 0, items, 1, 2, 3)], recipe(rows)))
    return sum(storage.nbytes() for storage in kept.values())


def kept_per_token(recipe, monkeypatch, *family):
    """Bytes for each token that one layer more makes autograd keep."""
    found, length = {}, 0
    for layers, rows in product((2, 3), (2, 4)):
        monkeypatch.setitem(factory.TEXT, "num_hidden_layers", layers)
        base = factory.family_base(*family)
        found[layers, rows] = kept_by_autograd(base, recipe, rows, monkeypatch)
        (row,) = train.forward_path(base, items := factory.items(1)).encode(items)
        length = row.length + 1  # the answer's token; its end is no input
    more, less = (found[layers, 4] - found[layers, 2] for layers in (3, 2))
    return (more - less) / (2 * length)


def steps_of(**changes):
    """A recipe of one step of some rows."""
    return lambda rows: factory.recipe(epochs=1, batch_size=rows, rank=1, **changes)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "llava"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autograd_keeps_the_tensors_that_are_counted(family, dtype, monkeypatch):
    rank = 0 if dtype == torch.float32 else 1  # folded into the weights, or beside them
    expected = TINY.kept(dtype.itemsize, rank)
    assert kept_per_token(steps_of(), monkeypatch, family, dtype) == expected


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("name", QWEN)
def test_the_rule_is_within_ten_percent_above_the_count(name, number):
    its, rank = QWEN[name], 16
    rule = cost.token_bytes(its.hidden, its.intermediate, 1, number)
    assert 1 < rule / its.kept(number, rank) < 1.1


RECIPES = {
    "lora": steps_of(),
    "dropout": steps_of(dropout=0.1),
    "dora": steps_of(peft={"use_dora": True}),
    "full": lambda rows: Recipe(method="full", learning_rate=1e-4, epochs=1, batch_size=rows),
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_else_a_recipe_keeps_is_in_the_rule(name, monkeypatch):
    """Of layers an eighth as wide as the 3B's."""
    monkeypatch.setitem(factory.TEXT, "hidden_size", 256)
    monkeypatch.setitem(factory.TEXT, "intermediate_size", 1376)
    recipe = RECIPES[name]
    rule = cost.token_bytes(256, 1376, 1, 2) * cost.kept_activations(recipe(1))
    assert 0.9 < kept_per_token(recipe, monkeypatch, "llava", torch.bfloat16) / rule < 1


class Live(TorchDispatchMode):
    """The most bytes of tensors alive at once, without those that were there before."""

    def __init__(self, before):
        super().__init__()
        self.sizes = {one.untyped_storage()._cdata: 0 for one in before}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [one.untyped_storage() for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        for storage in made:
            if storage._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage._cdata)
        self.most = max(self.most, sum(self.sizes.values()))
        return out


def test_a_forward_alone_peaks_at_the_layers_of_the_rule(monkeypatch):
    monkeypatch.setitem(factory.TEXT, "hidden_size", 256)
    monkeypatch.setitem(factory.TEXT, "intermediate_size", 1376)
    base, item, peaks = factory.family_base("llava", torch.bfloat16), factory.items(1), []
    adapter = random_adapter(base, 0)
    for rows in (8, 16):
        with Live(base.model.parameters()) as live:
            score_fleet(base, [adapter], item * rows)
        peaks.append(live.most)
    (row,) = score.forward_path(base, item).encode(item)
    layer = cost.token_bytes(256, 1376, 1, 2) * row.length * 8
    assert 0.6 < (peaks[1] - peaks[0]) / layer / cost.SCORING_LAYERS < 1


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
        found = memory_plan(base, BATCH, 100, 100_000)
        assert found == cost.fits(left, 8, row, adapter, alone=False)
    assert found.adapters == 35  # 70 % of 50
    free[CARD] = 10 * cost.SCORING_LAYERS * TOKEN + 1
    assert scoring_tokens(base) == 7


@pytest.mark.parametrize("left", [None, 1 << 40])
def test_on_a_cpu_each_adapter_is_alone(left, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: left)
    assert memory_plan(factory.small_base(), BATCH, 100, 1000) == MemoryPlan(1, 1, False)


@pytest.mark.parametrize(("times", "short"), [(1.9, True), (2.1, False)])
def test_freed_memory_is_given_back_where_twice_a_batch_would_not_fit(times, short, monkeypatch):
    base, given = factory.family_base("qwen2_5_vl"), []
    monkeypatch.setattr(memory, "free_memory", lambda: round(times * 8 * 100 * 3 * TOKEN))
    monkeypatch.setattr(memory, "_return_freed_memory", lambda: given.append(True))
    assert memory_plan(base, BATCH, 100, 1000) == MemoryPlan(1, 1, False)
    assert bool(given) == short


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

    def room(base, recipe, length, numbers):
        told.append((recipe, length, numbers))
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
    assert {(chosen.batch_size, its) for chosen, _, its in told} == {(4, numbers)}


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
