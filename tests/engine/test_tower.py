"""A vision tower and its pictures in the shapes that a GPU likes say what they said before."""

import threading

import engine_factory as factory
import numpy as np
import pytest
import torch
from engine_factory import FAST_FAMILIES
from torch import nn

from transferscope.engine.qwen_path import QwenPath
from transferscope.engine.qwen_vision import (
    ImagePreparer,
    embed_by_product,
    pad_gated_mlp,
    pad_tower,
)
from transferscope.engine.records import CacheLimits
from transferscope.engine.vision_cache import VisionCache
from transferscope.tasks import ArrayImage

torch.set_num_threads(1)

CPU = torch.device("cpu")


def pictures(*sizes: tuple[int, int]) -> list[ArrayImage]:
    draw = np.random.default_rng(0)
    return [ArrayImage(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_bytes_amount_to_the_processors_own_numbers(family, dtype):
    processor = factory.family_base(family).processor.image_processor
    processor.image_mean = [0.1, 0.4, 0.7]
    pixels = ImagePreparer(processor, CPU, dtype)
    for picture in pictures((112, 112), (40, 130), (300, 200)):
        made = processor(images=[picture.pixels().transpose(2, 0, 1)], return_tensors="pt")
        prepared = pixels.prepare(picture)
        assert prepared.patches.dtype == torch.uint8
        assert torch.equal(prepared.grid, made["image_grid_thw"])
        assert torch.equal(pixels.values(prepared.patches), made["pixel_values"].to(dtype))


@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_a_smooth_tower_says_what_it_said_without_a_convolution(family, monkeypatch):
    base = factory.family_base(family, torch.float64)
    tower = base.model.model.visual
    made = base.processor.image_processor(
        images=[its.pixels() for its in pictures((112, 112), (40, 130))], return_tensors="pt"
    )
    given = made["pixel_values"].double(), made["image_grid_thw"]
    before = tower(*given).pooler_output
    embed_by_product(tower)
    monkeypatch.delattr(nn.Conv3d, "_conv_forward")
    torch.testing.assert_close(tower(*given).pooler_output, before, atol=1e-12, rtol=1e-12)
    gated = [block.mlp for block in tower.blocks if hasattr(block.mlp, "gate_proj")]
    for mlp in gated:
        pad_gated_mlp(mlp)
        assert mlp.gate_proj.weight.shape[0] == mlp.down_proj.weight.shape[1] == 128
    assert bool(gated) == (family == "qwen2_5_vl")
    torch.testing.assert_close(tower(*given).pooler_output, before, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_a_path_embeds_patches_without_a_convolution_on_a_cpu_too(family, dtype, monkeypatch):
    base = factory.family_base(family, dtype)
    (picture,) = pictures((112, 112))
    made = base.processor.image_processor(images=[picture.pixels()], return_tensors="pt")
    first = base.model.model.visual.patch_embed
    with torch.no_grad():
        theirs = first(made["pixel_values"].to(dtype))
        path = QwenPath(base)
        monkeypatch.delattr(nn.Conv3d, "_conv_forward")
        torch.testing.assert_close(first(made["pixel_values"].to(dtype)), theirs)
        assert path.vision_cache.features([picture])[0].isfinite().all()


@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_an_images_grid_is_the_processors(family):
    base = factory.family_base(family)
    base.processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 300 * 200}
    path = QwenPath(base)
    for image in pictures((1, 1), (3, 500), (111, 113), (200, 300), (640, 480), (41, 42)):
        made = path._processed([image.pixels()])
        assert path._grid(image) == tuple(made["image_grid_thw"][0].tolist())


def test_units_that_tensor_cores_do_not_take_are_filled_up_and_others_are_not():
    base = factory.family_base("qwen2_5_vl")
    tower = base.model.model.visual
    first = tower.blocks[0].mlp
    for linear in (first.gate_proj, first.up_proj):
        linear.weight, linear.bias = (
            nn.Parameter(its[:-1]) for its in (linear.weight, linear.bias)
        )
        linear.out_features -= 1
    first.down_proj.weight = nn.Parameter(first.down_proj.weight[:, :-1])
    pad_tower(tower)
    assert [block.mlp.gate_proj.out_features for block in tower.blocks] == [128, 48]


def test_pictures_are_looked_at_in_parts_of_a_size_and_prepared_meanwhile():
    last, parts = threading.Event(), []
    some = pictures((2, 2), (1, 3), (5, 2), (1, 1), (1, 2))

    def prepare(picture):
        area = picture.pixels()[..., 0].size
        if area == 1:
            last.set()
        return area

    def look(areas):
        assert last.wait(10)  # of a later part, before the first is done
        parts.append(areas)
        return [torch.full((1, 1), float(area)) for area in areas]

    cache = VisionCache(
        look, 8, CacheLimits(), size=lambda one: one.pixels()[..., 0].size, prepare=prepare
    )
    said = cache.features([*some, some[0]])
    assert [int(its) for its in said] == [4, 3, 10, 1, 2, 4]
    assert parts == [[4, 3], [10], [1, 2]]
