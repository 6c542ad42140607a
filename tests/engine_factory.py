"""Tiny random bases of every family and items for them: what tests of the lab share."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tools.glimpse_bases import tokenizer
from tools.glimpse_bases.architecture import build
from tools.glimpse_bases.processor import processor as small_processor
from transferscope.engine import train
from transferscope.engine.adapter import Adapter
from transferscope.engine.base_model import Base
from transferscope.engine.families import FAMILIES, GLIMPSE
from transferscope.engine.forward_paths import REFERENCE, forward_path
from transferscope.engine.glimpse import prompt_layout as layout
from transferscope.engine.reference_path import ReferencePath
from transferscope.study import Recipe
from transferscope.tasks import ArrayImage, Item, with_choices

FAST_FAMILIES = tuple(
    name for name, family in FAMILIES.items() if family.own_path and name != GLIMPSE
)
"""Families of the Hub with a fast path."""

WORDS = ("closer", "box", "point", "the camera", "which is closer to the box")

IDS = {
    "image_token_id": layout.IMAGE_PAD,
    "video_token_id": layout.VIDEO_PAD,
    "vision_start_token_id": layout.IMAGE,
    "vision_end_token_id": layout.IMAGE_END,
}
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def reference_path(base: Base, items: Sequence[Item]) -> ReferencePath:
    """`forward_path(base, items, "reference")`, whose `inputs` go into a model's own forward."""
    path = forward_path(base, items, REFERENCE)
    assert isinstance(path, ReferencePath)
    return path


def recipe(**changes: Any) -> Recipe:
    """A recipe small enough for a test, unchecked: its learning rate may be 0."""
    its = {
        "rank": 4,
        "alpha": 8,
        "dropout": 0.0,
        "targets": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        "learning_rate": 1e-2,
        "schedule": "linear",
        "warmup": 0.1,
        "epochs": 2,
        "batch_size": 4,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }
    return Recipe(**(its | changes))


def train_fleet(*how: Any, **named: Any) -> list[Adapter]:
    """All adapters of `train.train_fleet`, in the order of the jobs."""
    trained = {
        index: one for group in train.train_fleet(*how, **named) for index, one in group.items()
    }
    return [trained[index] for index in range(len(trained))]


def items(
    count: int,
    pictures: int | None = 1,
    seed: int = 0,
    size: tuple[int, int] | None = (112, 112),
    task: str = "made",
) -> list[Item]:
    """Random items; `pictures` or `size` None: another number, another size, each time."""
    draw = np.random.default_rng(seed)
    made = []
    for index in range(count):
        images = []
        for _ in range(draw.integers(1, 4) if pictures is None else pictures):
            height, width = draw.integers(40, 140, 2) if size is None else size
            images.append(ArrayImage(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)))
        choices = tuple(WORDS[i] for i in draw.permutation(len(WORDS))[: draw.integers(2, 5)])
        question = "Which " + " ".join(["point"] * int(draw.integers(1, 5))) + "?"
        made.append(
            Item(
                f"{task}-{index}",
                task,
                tuple(images),
                question,
                choices,
                int(draw.integers(len(choices))),
                with_choices(question, choices),
            )
        )
    return made


def same(one: Any, other: Any) -> bool:
    """Whether two adapters are the same to the last bit."""
    ours, theirs = one.tensors, other.tensors
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def base_of(model: Any, processor: Any, name: str) -> Base:
    """A base from a model in memory, with SHA-256 over its weights."""
    content = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        content.update(key.encode())
        content.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return Base(name, model, processor, content.hexdigest())


def small_base(dtype: torch.dtype = torch.float32, seed: int = 1) -> Base:
    """An embedded base with random weights."""
    return base_of(build("s", seed=seed).to(dtype), small_processor(), "small")


def family_base(family: str, dtype: torch.dtype = torch.float32) -> Base:
    """A tiny random base of a family of transformers', with Glimpse's words."""
    import transformers as hf

    makers = {"qwen2_vl": _qwen2, "qwen2_5_vl": _qwen25, "qwen3_vl": _qwen3, "llava": _llava}
    config, processor = makers[family](hf)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa")
        for weight in model.parameters():  # fresh weights are too small to tell paths apart
            if weight.dim() > 1:
                weight.data.normal_(std=0.15)
    return base_of(model.to(dtype), processor, family)


def _qwen2(hf: Any) -> tuple[Any, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 48, "mlp_ratio": 2}
    text = TEXT | {"rope_parameters": rope}
    return hf.Qwen2VLConfig(text_config=text, vision_config=vision, **IDS), small_processor()


def _qwen25(hf: Any) -> tuple[Any, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 48,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    text = TEXT | {"rope_parameters": rope}
    return hf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **IDS), small_processor()


def _qwen3(hf: Any) -> tuple[Any, Any]:
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [2, 2, 2],
        "mrope_interleaved": True,
    }
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 48,
        "patch_size": 14,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    text = TEXT | {"rope_parameters": rope, "head_dim": 12}
    return hf.Qwen3VLConfig(text_config=text, vision_config=vision, **IDS), small_processor()


def _llava(hf: Any) -> tuple[Any, Any]:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    text = hf.LlamaConfig(**TEXT)
    vision = hf.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    config = hf.LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=layout.IMAGE_PAD
    )
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
    )
    words = tokenizer.pretrained_tokenizer()
    made = hf.LlavaProcessor(
        pictures,
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.CHAT_TEMPLATE,
        image_token=layout.SPECIAL[layout.IMAGE_PAD],
        num_additional_image_tokens=1,
    )
    return config, made
