"""What a study costs: shapes, parameters, tokens, FLOPs and bytes, against independent counts."""

import math
import mmap
import os

import engine_factory as factory
import numpy as np
import pytest
import torch
from engine_factory import train_fleet
from messages import raises
from published_configs import QWEN25_7B
from torch.utils.flop_counter import (
    FlopCounterMode,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from transferscope.engine.forward_paths import forward_path
from transferscope.engine.glimpse.shipped import NAMES, folder
from transferscope.engine.records import TrainingJob
from transferscope.engine.reply_tokens import reply_tokens
from transferscope.engine.score import score_fleet
from transferscope.errors import DataError
from transferscope.study import cost
from transferscope.study.cost import MemoryPlan
from transferscope.study.shapes import Shapes, parse_shapes, read_shapes

torch.set_num_threads(1)

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

TARGETS = factory.recipe().targets


def shapes_of(base) -> Shapes:
    """A loaded base's shapes."""
    size = base.processor.image_processor.size
    limits = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    return parse_shapes(base.model.config.to_dict() | limits, base.name)


# Parameters.


def test_the_published_7b_has_its_published_number_of_parameters():
    found = parse_shapes(QWEN25_7B, "config").num_params
    assert found == pytest.approx(8_292_166_656, rel=2e-4)  # norms and biases are left out


def test_the_7b_in_nf4_takes_qlora_bits_a_weight_and_the_rest_two_bytes():
    """QLoRA, section 3: 4 bits and, with double quantization, 0.127 bits a weight more."""
    shapes = parse_shapes(QWEN25_7B, "config")
    linears = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    expected = linears * (4 + 0.127) / 8 + 2 * (8_292_166_656 - linears)
    assert cost.weights_bytes(shapes, "bfloat16", "nf4") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("family", "tokens"),
    [("qwen3_vl", None), ("internvl", 256), ("gemma3", 256), ("smolvlm", None)],
)
def test_a_familys_parameters_are_nearly_those_of_the_model_that_transformers_builds(
    family, tokens
):
    config = CONFIG_MAPPING[family]()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    its = parse_shapes(config.to_dict(), family)
    assert its.num_params == pytest.approx(model.num_parameters(), rel=0.005)
    if tokens is not None:
        assert its.image_tokens(*cost.grid(its, 300, 500)) == tokens
    assert its.exact == (family == "qwen3_vl")


def test_keys_that_a_converted_checkpoint_keeps_from_another_family_change_nothing():
    """As in a conversion of Qwen3-VL-4B that was published with Qwen2.5-VL's keys in it."""
    config = CONFIG_MAPPING["qwen3_vl"]().to_dict()
    kept = {"fullatt_block_indexes": [5, 11, 17], "window_size": 14, "image_size": 2304}
    converted = config | {"vision_config": config["vision_config"] | kept}
    plain, its = parse_shapes(config, "x"), parse_shapes(converted, "x")
    assert its.num_params == plain.num_params
    assert cost.grid(its, 300, 500) == cost.grid(plain, 300, 500)
    assert cost.vision_flops(its, 20, 32) == cost.vision_flops(plain, 20, 32)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_an_embedded_base_are_nearly_those_of_its_file(name):
    from safetensors import safe_open

    with safe_open(folder(name) / "model.safetensors", "np") as file:
        sizes = [math.prod(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
    assert read_shapes(folder(name)).num_params == pytest.approx(sum(sizes), rel=0.01)


def test_an_adapter_has_as_many_numbers_as_peft_writes():
    base, recipe = (
        factory.family_base("qwen2_5_vl"),
        factory.recipe(targets=("q_proj", "mlp.up_proj")),
    )
    (item,) = factory.items(1)
    (made,) = train_fleet(base, [TrainingJob("a", 0, [item], 1, 2, 3)], recipe)
    written = sum(tensor.numel() for tensor in made.tensors.values())
    assert shapes_of(base).adapter_params(recipe.targets, recipe.rank) == written


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
        for picture, (_, rows, columns) in zip(row.item.images, row.grids, strict=True):
            assert cost.grid(its, *picture.pixels().shape[:2]) == (rows, columns)


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


@pytest.mark.parametrize("family", FAMILIES)
def test_scoring_costs_what_a_counter_of_products_counts(family):
    base = factory.family_base(family)
    its, (item,) = shapes_of(base), factory.items(1, 2)
    (row,) = forward_path(base, [item]).encode([item])
    grids = [cost.grid(its, *picture.pixels().shape[:2]) for picture in item.images]
    vision = sum(cost.vision_flops(its, *grid) for grid in grids)
    whole = counted(lambda: score_fleet(base, [None], [item]))
    language = counted(lambda: score_fleet(base, [None], [item]))  # the features are kept
    assert language == cost.forward_flops(its, row.length)
    assert whole - language == pytest.approx(vision, rel=0.05)  # windows at an edge are smaller


@pytest.mark.parametrize("family", FAMILIES)
def test_training_costs_what_a_counter_of_products_counts(family):
    base = factory.family_base(family)
    (item,) = factory.items(1, 1)
    its, (row,) = shapes_of(base), forward_path(base, [item]).encode([item])
    recipe = factory.recipe(dropout=0.1, epochs=3, batch_size=4)
    job = TrainingJob("a", 0, [item] * 4, 1, 2, 3)
    score_fleet(base, [None], [item])
    params = its.adapter_params(recipe.targets, recipe.rank)
    found = counted(lambda: train_fleet(base, [job], recipe))
    # The tiny models have two layers; no gradient flows into the first one's inputs.
    (reply,) = reply_tokens(base.processor, ["(A)"], end=True)
    length = row.length + len(reply) - 1  # nothing is predicted from the last token
    expected = 3 * 4 * cost.training_flops(its, length, params, again=False)
    assert 0.75 * expected < found <= expected


def test_windows_are_counted_piece_by_piece():
    tower = QWEN25_7B["vision_config"] | {"depth": 1, "fullatt_block_indexes": []}
    windowed = parse_shapes(QWEN25_7B | {"vision_config": tower}, "x")
    tower |= {"fullatt_block_indexes": [0]}
    whole = parse_shapes(QWEN25_7B | {"vision_config": tower}, "x")
    pieces = np.zeros((24, 16), int)  # windows of 8 x 8 patches
    pieces += np.arange(24)[:, None] // 8 * 10 + np.arange(16)[None] // 8
    pairs = sum(np.sum(pieces == piece) ** 2 for piece in np.unique(pieces))
    saved = cost.vision_flops(whole, 24, 16) - cost.vision_flops(windowed, 24, 16)
    assert saved == 4 * 1280 * ((24 * 16) ** 2 - pairs)


def test_training_a_frozen_base_costs_two_forwards_and_a_little():
    its = parse_shapes(QWEN25_7B, "x")
    params, forward = its.adapter_params(TARGETS, 16), cost.forward_flops(its, 600)
    once = cost.training_flops(its, 600, params, again=False)
    assert 2.0 < once / forward < 2.1
    again = cost.training_flops(its, 600, params, again=True) - once
    assert again == forward + 2 * params * 600


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


def test_weights_that_are_mapped_from_a_file_are_not_free_memory(tmp_path):
    size, file = 1 << 30, tmp_path / "model.safetensors"
    file.touch()
    os.truncate(file, size)  # sparse: takes no disk, and its pages count as available
    free = cost.free_memory()
    if free is None or free < 2 * size:
        pytest.skip("needs /proc and 2 GiB free")
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ):
        assert cost.free_memory() == pytest.approx(free - size, abs=size // 2)
