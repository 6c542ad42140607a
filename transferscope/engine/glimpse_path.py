"""The embedded bases' forward path: the model's own modules, called with less around them.

As `glimpse.forward`, of which it uses the vision part, but rows may differ in their number of
pictures, and the last layer works only at the places that are read. Linear layers are called as
modules, so that a fleet's adapters in their places take part.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.engine.devices import sent
from transferscope.engine.glimpse import forward
from transferscope.engine.glimpse.architecture import HEAD, MROPE_SECTION, ROPE_THETA
from transferscope.engine.glimpse.prompts import SIDE, opening, picture_slots, positions
from transferscope.engine.glimpse.tokenizer import ASSISTANT, PAD, SPECIAL, TURN, TURN_END
from transferscope.engine.rows import Row
from transferscope.engine.vision import Eyes, seen
from transferscope.engine.vlm import Base
from transferscope.tasks import Item, ItemImage

_ENDING = (TURN_END, TURN, ASSISTANT)


def is_embedded(base: Base) -> bool:
    """Whether a base is built as the embedded ones are, by its configuration and its tokenizer."""
    config = base.model.config
    if config.model_type != "qwen2_5_vl":
        return False
    text, vision = config.text_config, config.vision_config
    rope = getattr(text, "rope_parameters", None) or {}
    ids = base.processor.tokenizer.convert_tokens_to_ids(list(SPECIAL))
    return (
        rope.get("rope_theta") == ROPE_THETA
        and tuple(rope.get("mrope_section") or ()) == MROPE_SECTION
        and text.hidden_size == HEAD * text.num_attention_heads
        and vision.hidden_size == HEAD * vision.num_heads
        and (vision.patch_size, vision.spatial_merge_size) == (14, 2)
        and len(vision.fullatt_block_indexes) == vision.depth
        and ids == list(range(len(SPECIAL)))
    )


def fits(items: Sequence[Item]) -> bool:
    """Whether all pictures have the embedded bases' size."""
    return all(seen(image).shape == (SIDE, SIDE, 3) for item in items for image in item.images)


class SmallPath:
    """Items with pictures of 112 x 112 pixels, on an embedded base."""

    def __init__(self, base: Base) -> None:
        self._model, self._tokenizer = base.model, base.processor.tokenizer
        at_once = 64 if base.device.type == "cpu" else 1024
        self.eyes = Eyes(self._look, at_once, base.budget, base.cache_name("small"))

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows."""
        texts = self._tokenizer([item.prompt for item in items], add_special_tokens=False)
        return [
            Row(
                item,
                (*opening(len(item.images)), *ids, *_ENDING),
                tuple(map(seen, item.images)),
            )
            for item, ids in zip(items, texts["input_ids"], strict=True)
        ]

    def logits(self, rows: Sequence[Row], read: int = 1) -> Tensor:
        """Scores (rows, read, vocabulary) of what follows the last `read` places."""
        device = self._model.device
        lengths = np.array([row.length for row in rows])
        ids = np.full((len(rows), lengths.max()), PAD, dtype=np.int64)
        for filled, row in zip(ids, rows, strict=True):
            filled[: row.length] = row.ids + row.said
        places = sent(torch.from_numpy(lengths[:, None] - np.arange(read, 0, -1)), device)
        pictures = np.array([len(row.pictures) for row in rows])
        x = self._embedded(sent(torch.from_numpy(ids), device), rows, pictures)
        return self._read(x, self._angles(pictures, ids.shape[1], x), places)

    def _look(self, pictures: Sequence[ItemImage]) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack([picture.pixels() for picture in pictures]))
        return list(forward.vision_features(self._model, sent(pixels, self._model.device)))

    def _embedded(self, ids: Tensor, rows: Sequence[Row], pictures: np.ndarray) -> Tensor:
        """The language model's input (rows, length, width), pictures in their places."""
        x = functional.embedding(ids, self._model.model.language_model.embed_tokens.weight)
        wanted = [picture for row in rows for picture in row.pictures]
        if not wanted:
            return x
        features = torch.cat([sent(its, x.device).to(x) for its in self.eyes.features(wanted)])
        slots = [
            index * ids.shape[1] + slot
            for index, count in enumerate(pictures.tolist())
            for slot in picture_slots(count)
        ]
        index = sent(torch.tensor(slots), x.device)
        flat = x.flatten(0, 1).index_copy(0, index, features)
        return flat.view_as(x)

    def _angles(self, pictures: np.ndarray, length: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (1 or rows, 1, length, 32)."""
        kinds, which = np.unique(pictures, return_inverse=True)
        tables = [_rotation(int(kind), length, x.device, x.dtype) for kind in kinds]
        cosine, sine = (torch.stack(table)[:, None] for table in zip(*tables, strict=True))
        if len(kinds) == 1:
            return cosine, sine
        index = sent(torch.from_numpy(which), x.device)
        return cosine[index], sine[index]

    def _read(self, x: Tensor, angles: tuple[Tensor, Tensor], places: Tensor) -> Tensor:
        language: Any = self._model.model.language_model
        index = torch.arange(len(x), device=x.device)[:, None]
        for layer in language.layers[:-1]:
            x = x + _attention(layer.self_attn, _norm(layer.input_layernorm, x), angles)
            x = x + layer.mlp(_norm(layer.post_attention_layernorm, x))
        layer = language.layers[-1]
        y = _norm(layer.input_layernorm, x)
        x = x[index, places]
        x = x + _attention(layer.self_attn, y, angles, places)
        x = x + layer.mlp(_norm(layer.post_attention_layernorm, x))
        said = _norm(language.norm, x)
        return functional.linear(said, language.embed_tokens.weight).to(
            torch.promote_types(said.dtype, torch.float32)
        )


def _attention(
    module: Any, y: Tensor, angles: tuple[Tensor, Tensor], places: Tensor | None = None
) -> Tensor:
    """Causal attention, with queries at some places (rows, read) only; None: at all."""
    rows, length, _ = y.shape
    asked, turned = y, angles
    if places is not None:
        index = torch.arange(rows, device=y.device)[:, None]
        asked = y[index, places]
        turned = tuple(table.expand(rows, 1, -1, -1)[index, 0, places][:, None] for table in angles)
    q, k, v = (
        project(x).view(rows, x.shape[1], -1, HEAD).transpose(1, 2)
        for project, x in ((module.q_proj, asked), (module.k_proj, y), (module.v_proj, y))
    )
    q, k = _rotate(q, *turned), _rotate(k, *angles)
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    allowed = None
    if places is not None:
        allowed = (torch.arange(length, device=y.device) <= places[..., None])[:, None]
    heads = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed, is_causal=allowed is None
    )
    return module.o_proj(heads.transpose(1, 2).flatten(2))


def _norm(module: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


@cache
def _rotation(
    pictures: int, length: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the tokens' angles, each (length, 32)."""
    speed = ROPE_THETA ** (-torch.arange(HEAD // 2).float() / (HEAD // 2))
    place = torch.from_numpy(positions(pictures, length)).float()
    axes = zip(place, speed.split(MROPE_SECTION), strict=True)
    angle = torch.cat([axis[:, None] * section for axis, section in axes], -1)
    angle = torch.cat([angle, angle], -1).to(device)
    return angle.cos().to(dtype), angle.sin().to(dtype)
