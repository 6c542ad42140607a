"""What a study costs: shapes, parameters, tokens, FLOPs and bytes, against independent counts."""

import math

import engine_factory as factory
import numpy as np
import pytest
import torch
from messages import raises
from published_configs import QWEN25_7B
from torch.utils.flop_counter import (
    FlopCounterMode,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from transferscope.engine.forward_paths import forward_path
from transferscope.engine.glimpse.shipped import NAMES, folder
from transferscope.engine.profiling import base_shapes
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.engine.train import train_fleet
from transferscope.errors import DataError
from transferscope.study import cost
from transferscope.study.cost import Lora, MemoryPlan
from transferscope.study.shapes import parse_shapes, read_shapes

torch.set_num_threads(1)

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

TARGETS = factory.recipe().targets


# Parameters.


def test_the_published_7b_has_its_published_number_of_parameters():
    assert parse_shapes(QWEN25_7B, "config").num_params == 8_292_166_656


def test_the_7b_in_nf4_takes_qlora_bits_a_weight_and_the_rest_two_bytes():
    """QLoRA, section 3: 4 bits and, with double quantization, 0.127 bits a weight more."""
    shapes = parse_shapes(QWEN25_7B, "config")
    linears = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    expected = linears * (4 + 0.127) / 8 + 2 * (8_292_166_656 - linears)
    assert cost.weights_bytes(shapes, "bfloat16", "nf4") == pytest.approx(expected, rel=1e-4)
    assert cost.weights_bytes(shapes, "bfloat16") == 2 * 8_292_166_656


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_of_a_family_are_those_of_its_weights(family):
    base = factory.family_base(family)
    count = sum(weight.numel() for weight in base.model.parameters())
    assert base_shapes(base).num_params == count


def test_parameters_of_another_model_are_nearly_those_of_its_weights():
    base = factory.family_base("llava")
    count = sum(weight.numel() for weight in base.model.parameters())
    assert base_shapes(base).num_params == pytest.approx(count, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_an_embedded_base_are_those_of_its_file(name):
    from safetensors import safe_open

    with safe_open(folder(name) / "model.safetensors", "np") as file:
        sizes = [math.prod(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
    its = read_shapes(folder(name))
    assert (its.num_params, its.small) == (sum(sizes), True)


def test_an_adapter_has_as_many_numbers_as_peft_writes():
    base, recipe = (
        factory.family_base("qwen2_5_vl"),
        factory.recipe(targets=("q_proj", "mlp.up_proj")),
    )
    (item,) = factory.items(1)
    (made,) = train_fleet(base, [TrainingJob("a", 0, [item], 1, 2, 3)], recipe)
    written = sum(tensor.numel() for tensor in made.tensors.values())
    assert base_shapes(base).adapter_params(recipe.targets, recipe.rank) == written


@pytest.mark.parametrize(
    "change",
    [
        {"vision_config": None},
        {"hidden_size": None},
        {"num_hidden_layers": 10**9},
        {"vocab_size": "many"},
        {"num_experts": 128},
        {"vision_config": {"depth": -1}},
        {"vision_config": {"depth": float("nan")}},
        {"vision_config": {"fullatt_block_indexes": 3}},
    ],
    ids=str,
)
def test_an_invalid_configuration_is_refused_in_one_line(change):
    with raises(DataError) as refused:
        parse_shapes(QWEN25_7B | change, "x")
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_readable_configuration_is_refused(tmp_path):
    with raises(DataError):
        read_shapes(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with raises(DataError):
        read_shapes(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with raises(DataError):
        read_shapes(tmp_path)


# Tokens.


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("most", [None, 56 * 56, 150 * 100])
def test_a_picture_becomes_the_grid_that_the_processor_makes_of_it(family, most, tmp_path):
    base = factory.family_base(family)
    if most is not None:
        base.processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": most}
    base.processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(base.model.config.to_json_string(use_diff=False))
    its = read_shapes(tmp_path)
    items = factory.items(8, 2, seed=5, size=None)
    for row in forward_path(base, items, "qwen2_5_vl").encode(items):
        for picture, (_, rows, columns) in zip(row.images, row.grids, strict=True):
            assert cost.grid(its, *picture.shape[:2]) == (rows, columns)


# FLOPs.


@pytest.fixture(scope="module", autouse=True)
def attention_on_cpu():
    """The counter knows the kernels of GPUs; the CPU's do the same."""

    def back(grad, query, key, value, *_, out_shape=None, **__):
        return sdpa_backward_flop_count(grad, query, key, value)

    def there(query, key, value, *_, out_shape=None, **__):
        return sdpa_flop_count(query, key, value)

    aten = torch.ops.aten
    kernels = {
        aten._scaled_dot_product_flash_attention_for_cpu: there,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: back,
    }
    from torch.utils.flop_counter import flop_registry

    for kernel, formula in kernels.items():
        register_flop_formula(kernel)(formula)
    yield
    for kernel in kernels:
        del flop_registry[kernel]


def counted(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


BASES = {
    "small": factory.small_base,
    **{family: (lambda family=family: factory.family_base(family)) for family in FAMILIES},
}


@pytest.mark.parametrize("name", BASES)
def test_scoring_costs_what_a_counter_of_products_counts(name):
    base = BASES[name]()
    its, (item,) = base_shapes(base), factory.items(1, 2)
    path = forward_path(base, [item])
    (row,) = path.encode([item])
    grids = [cost.grid(its, *picture.shape[:2]) for picture in row.images]
    looking = sum(cost.vision_flops(its, *grid) for grid in grids)
    answer = cost.forward_flops(its, row.length)
    assert counted(lambda: score_fleet(base, [None], [item])) == looking + answer
    again = counted(lambda: score_fleet(base, [None], [item]))
    assert again == answer  # its pictures are known by now


@pytest.mark.parametrize(
    ("name", "targets", "dropout"),
    [
        *((name, TARGETS, dropout) for name in BASES for dropout in (0.0, 0.1)),
        *(("qwen2_5_vl", targets, 0.1) for targets in (("v_proj",), ("o_proj", "up_proj"))),
        *(("small", targets, 0.0) for targets in (("up_proj",), ("down_proj",))),
    ],
)
def test_training_costs_what_a_counter_of_products_counts(name, targets, dropout):
    base = BASES[name]()
    (item,) = factory.items(1, 1)
    its, (row,) = base_shapes(base), forward_path(base, [item]).encode([item])
    recipe = factory.recipe(targets=targets, dropout=dropout, epochs=3, batch_size=4)
    lora = Lora(recipe.rank, targets, folded=not dropout)
    job = TrainingJob("a", 0, [item] * 4, 1, 2, 3)
    score_fleet(base, [None], [item])
    step = cost.step_flops(its, lora, [row.length] * 4)
    found = counted(lambda: train_fleet(base, [job], recipe))
    assert found == 3 * step


def test_windows_are_counted_piece_by_piece():
    vision = {"depth": 1, "fullatt_block_indexes": []}
    windowed = parse_shapes(QWEN25_7B | {"vision_config": QWEN25_7B["vision_config"] | vision}, "x")
    whole = parse_shapes(
        QWEN25_7B
        | {
            "vision_config": QWEN25_7B["vision_config"] | {"depth": 1, "fullatt_block_indexes": [0]}
        },
        "x",
    )
    pieces = np.zeros((20, 12), int)  # windows of 8 x 8 patches, those at the edges smaller
    pieces += np.arange(20)[:, None] // 8 * 10 + np.arange(12)[None] // 8
    pairs = sum(np.sum(pieces == piece) ** 2 for piece in np.unique(pieces))
    saved = cost.vision_flops(whole, 20, 12) - cost.vision_flops(windowed, 20, 12)
    assert saved == 4 * 1280 * (240**2 - pairs)


def test_training_a_frozen_base_costs_two_forwards_and_a_little():
    its = parse_shapes(QWEN25_7B, "x")
    lora = Lora(16, TARGETS)
    forward = cost.forward_flops(its, 600)
    assert 2.0 < cost.step_flops(its, lora, [600]) / forward < 2.1
    again = cost.step_flops(its, lora, [600], again=True) - cost.step_flops(its, lora, [600])
    assert again == cost.forward_flops(its, 600, 1, lora)


# Bytes.


def test_less_memory_means_fewer_adapters_then_parts_of_a_batch_then_activations_twice():
    rooms = [cost.fits(left, 8, 100, 50, alone=False) for left in (5000, 1300, 700, 240, 100, -9)]
    assert rooms == [
        MemoryPlan(4, 1, False),  # 70 % of 5000 holds 4 times 8 x 100 + 50
        MemoryPlan(1, 1, False),
        MemoryPlan(1, 2, False),  # 490 holds 4 rows beside the adapter
        MemoryPlan(1, 8, False),
        MemoryPlan(1, 8, True),
        MemoryPlan(1, 8, True),
    ]
    assert cost.fits(5000, 8, 100, 50, alone=True) == MemoryPlan(1, 1, False)


def test_what_is_too_large_is_parted_down_to_one_question_and_then_computed_twice():
    room, tried = MemoryPlan(3, 1, False), []
    while room := room.smaller(6):
        tried.append(room)
    parted = [MemoryPlan(3, parts, False) for parts in (2, 4, 6)]
    assert tried == [*parted, MemoryPlan(3, 6, True)]


def test_weights_are_folded_on_a_cpu_if_they_are_small_and_in_full_precision():
    small, large = cost.FOLDED_BYTES, cost.FOLDED_BYTES + 1

    def pays(size, precision="float32", **changes):
        usual = {"cpu": True, "dropout": 0.0, "quantization": None}
        return cost.folding_pays(size, precision, **(usual | changes))

    assert pays(small)
    assert not pays(large)
    assert not pays(small, "bfloat16")
    for change in ({"cpu": False}, {"dropout": 0.1}, {"quantization": "nf4"}):
        assert not pays(small, **change)
