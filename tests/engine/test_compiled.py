"""Layers compiled one by one, and the vision tower's attention without a loop over windows."""

import itertools
from typing import Any

import engine_factory as factory
import pytest
import torch
from engine_factory import FAST_FAMILIES, train_fleet
from torch._dynamo.utils import counters

from transferscope.engine import qwen_vision, train
from transferscope.engine.compiled import compile_layers
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.qwen_path import _narrowed
from transferscope.engine.qwen_vision import use_window_attention
from transferscope.engine.records import TrainingJob

torch.set_num_threads(1)

DYNAMO: Any = torch._dynamo.config  # pyright: ignore[reportPrivateUsage]

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning"
)  # dynamo's


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    with DYNAMO.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):  # torch's own
        yield


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Two adapters in the same forwards, beside the weights rather than in them."""
    monkeypatch.setattr(train, "memory_plan", lambda *_: MemoryPlan(2, 1, False))
    monkeypatch.setattr(train, "folding_pays", lambda *_: False)


def jobs(seed: int) -> list[TrainingJob]:
    made = [factory.items(4, 1, seed=seed + index, size=(56, 56)) for index in (0, 1)]
    return [
        TrainingJob(f"task{index}", seed, items, seed + index, 2, 3)
        for index, items in enumerate(made)
    ]


def numbers(adapters) -> torch.Tensor:
    return torch.cat([its.flatten() for one in adapters for its in one.tensors.values()])


def scores(base, items) -> torch.Tensor:
    path = forward_path(base, items)
    with torch.no_grad():
        return path.logits(path.encode(items))


RECIPE = factory.recipe(epochs=2, targets=("q_proj", "down_proj"))


@pytest.mark.parametrize("together", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_compiled_layers_train_any_fleet_alike_and_are_compiled_once(
    together, as_on_a_gpu, monkeypatch
):
    monkeypatch.setattr(train, "memory_plan", lambda *_: MemoryPlan(together, 1, False))
    items = factory.items(4, 1, size=(56, 56))
    base, plain = (factory.family_base("qwen2_5_vl", torch.float64) for _ in range(2))
    compile_layers(base.model.get_decoder().layers, "aot_eager")
    untuned = scores(base, items)
    graphs = []
    for seed in (0, 10):
        found, expected = (
            train_fleet(base, jobs(seed), RECIPE),
            train_fleet(plain, jobs(seed), RECIPE),
        )
        torch.testing.assert_close(numbers(found), numbers(expected), atol=1e-9, rtol=1e-7)
        graphs.append(counters["stats"]["unique_graphs"])
    # The base, and with adapters the first layer, whose input needs no gradient, and the others.
    assert graphs == [3, 3]
    assert not counters["graph_break"]
    torch.testing.assert_close(scores(base, items), untuned, atol=0, rtol=0)


@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_the_last_layer_says_at_the_places_asked_what_it_says_there_at_all(family):
    items = factory.items(4, 1, size=None)
    base = factory.family_base(family, torch.float64)
    path: Any = forward_path(base, items)
    rows = path.encode(items)
    with torch.no_grad():
        wide = path.logits(rows, 3)
        path._narrow = _narrowed(base.model.get_decoder().layers[-1])
        fed = []
        base.model.get_decoder().layers[-1].mlp.register_forward_hook(
            lambda _, given, __: fed.append(given[0].shape)
        )
        narrow = path.logits(rows, 3)
    assert fed == [(4, 3, 48)]
    torch.testing.assert_close(narrow, wide, atol=1e-12, rtol=1e-10)
    compile_layers(base.model.get_decoder().layers, "aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(path.logits(rows, 3), wide, atol=1e-12, rtol=1e-10)
    assert not counters["graph_break"]


def broken(graph, inputs):
    raise RuntimeError("no compiler here\nat all")


def broken_backward():
    from functorch.compile import make_boxed_func  # pyright: ignore[reportPrivateImportUsage]
    from torch._dynamo.backends.common import aot_autograd
    from torch._dynamo.exc import BackendCompilerFailed

    def backward(graph, inputs):
        raise BackendCompilerFailed(broken, RuntimeError("no backward here"), None)

    return aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph), bw_compiler=backward)


@pytest.mark.parametrize("backend", [broken, broken_backward()])
def test_layers_that_cannot_be_compiled_run_as_they_are_and_one_note_says_so(
    backend, as_on_a_gpu, caplog
):
    base, plain = (factory.family_base("qwen2_vl", torch.float64) for _ in range(2))
    compile_layers(base.model.get_decoder().layers, backend)
    found, expected = train_fleet(base, jobs(0), RECIPE), train_fleet(plain, jobs(0), RECIPE)
    torch.testing.assert_close(numbers(found), numbers(expected), atol=1e-12, rtol=0)
    (note,) = [one for one in caplog.records if one.name == "transferscope.engine.compiled"]
    assert note.getMessage().startswith("layers run uncompiled, which is slower: ")
    assert "\n" not in note.getMessage()


def sized(base, lengths) -> list[torch.Tensor]:
    """Logits of two and three rows of some lengths."""
    said = []
    for length, rows in itertools.product(lengths, (2, 3)):
        ids = torch.arange(rows * length).reshape(rows, length) % 99 + 20
        with torch.no_grad():
            said.append(base.model(input_ids=ids, use_cache=False).logits)
    return said


def test_a_layer_of_too_many_variants_runs_as_it_is_and_one_note_says_so(caplog):
    base, plain = (factory.family_base("qwen2_5_vl", torch.float64) for _ in range(2))
    compile_layers(base.model.get_decoder().layers, "aot_eager")
    with DYNAMO.patch(recompile_limit=1):
        torch.testing.assert_close(sized(base, range(5, 9)), sized(plain, range(5, 9)))
    assert counters["stats"]["unique_graphs"] == 1
    (note,) = [one for one in caplog.records if one.name == "transferscope.engine.compiled"]
    assert "recompile limit" in note.getMessage()


def test_with_dropout_layers_run_as_they_are(as_on_a_gpu):
    base, plain = (factory.family_base("qwen2_vl", torch.float64) for _ in range(2))
    compile_layers(base.model.get_decoder().layers, broken)
    recipe = factory.recipe(epochs=1, dropout=0.2)
    found, expected = train_fleet(base, jobs(0), recipe), train_fleet(plain, jobs(0), recipe)
    torch.testing.assert_close(numbers(found), numbers(expected), atol=0, rtol=0)


# Windows.


def looked(base, images) -> torch.Tensor:
    """What the vision tower says by its own forward."""
    made = base.processor.image_processor(images=images, return_tensors="pt")
    with torch.no_grad():
        out = base.model.model.get_image_features(
            made["pixel_values"].to(base.dtype), made["image_grid_thw"], return_dict=True
        )
    deep = getattr(out, "deepstack_features", None) or ()
    return torch.cat([torch.cat(list(its)) for its in (out.pooler_output, *map(list, deep))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_windows_without_a_loop_equal_the_loop(family, dtype):
    base = factory.family_base(family, dtype)
    images = [image.pixels() for item in factory.items(4, None, size=None) for image in item.images]
    loop = looked(base, images)
    assert base.model.config.vision_config._attn_implementation == "sdpa"
    assert not use_window_attention(base.model)
    assert base.model.config.vision_config._attn_implementation != "sdpa"
    assert base.model.config.text_config._attn_implementation == "sdpa"
    exact = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(looked(base, images), loop, atol=exact, rtol=exact)


@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_attention_of_varying_lengths_gets_the_windows_as_torch_wants_them(family, monkeypatch):
    base, called = factory.family_base(family, torch.float64), []

    def varlen(q, k, v, starts, starts_k, most, most_k):
        """What torch's documentation says, for (patches, heads, width)."""
        assert starts is starts_k
        assert starts.dtype == torch.int32
        assert most == most_k == int(starts.diff().max())
        called.append(most)
        out = torch.empty_like(q)
        for begin, end in itertools.pairwise(starts.tolist()):
            weights = torch.einsum("qhd,khd->hqk", q[begin:end], k[begin:end]) / q.shape[2] ** 0.5
            out[begin:end] = torch.einsum("hqk,khd->qhd", weights.softmax(-1), v[begin:end])
        return out

    images = [item.images[0].pixels() for item in factory.items(3, 1, size=None)]
    loop = looked(base, images)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen)
    monkeypatch.setattr(qwen_vision, "_has_varlen", lambda *_: True)
    assert use_window_attention(base.model)
    torch.testing.assert_close(looked(base, images), loop, atol=1e-10, rtol=1e-10)
    assert len(called) == base.model.config.vision_config.depth


def test_vision_blocks_are_compiled_whole_and_for_pictures_of_any_size(monkeypatch):
    base = factory.family_base("qwen2_5_vl", torch.float64)

    def varlen(q, k, v, starts, starts_k, most, most_k):
        window = torch.bucketize(torch.arange(q.shape[0]), starts, right=True)
        q, k, v = (its.transpose(0, 1) for its in (q, k, v))
        same = window[:, None] == window
        said = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=same)
        return said.transpose(0, 1)

    some = [
        [item.images[0].pixels() for item in factory.items(3, 1, seed=seed, size=None)]
        for seed in range(6)
    ]
    loops = [looked(base, images) for images in some]
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen)
    monkeypatch.setattr(qwen_vision, "_has_varlen", lambda *_: True)
    use_window_attention(base.model)
    compile_layers(base.model.model.visual.blocks, "eager")
    graphs = []
    for images, loop in zip(some, loops, strict=True):
        torch.testing.assert_close(looked(base, images), loop, atol=1e-10, rtol=1e-10)
        graphs.append(counters["stats"]["unique_graphs"])
    assert not counters["graph_break"]
    assert graphs[-3:] == [graphs[2]] * 3
    assert graphs[-1] <= 4
