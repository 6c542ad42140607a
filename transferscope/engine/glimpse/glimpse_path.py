"""The embedded bases' forward path: the model's modules, with less work around them.

Rows may differ in their number of images, and the last layer runs only at the positions whose
logits are kept. Linear layers are called as modules, so that a fleet's adapters take part.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.engine.base_model import Base
from transferscope.engine.devices import to_device
from transferscope.engine.forward_paths import Row
from transferscope.engine.generation import generate_from_features
from transferscope.engine.glimpse import prompt_layout as layout
from transferscope.engine.glimpse.arithmetic import norm, rotate, rotation, vision_features
from transferscope.engine.vision_cache import VisionCache
from transferscope.tasks import Item, ItemImage

_ENDING = (layout.TURN_END, layout.TURN, layout.ASSISTANT)


class GlimpsePath:
    """Items with images of 112 x 112 pixels, on an embedded base."""

    def __init__(self, base: Base) -> None:
        self.base, self._model, self._tokenizer = base, base.model, base.processor.tokenizer
        batch = 64 if base.device.type == "cpu" else 1024
        name = base.cache_name("small")
        self.vision_cache = VisionCache(
            self._encode_images, batch, base.cache_limits, name, device=base.device
        )

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows."""
        texts = self._tokenizer([item.prompt for item in items], add_special_tokens=False)
        return [
            Row(item, (*layout.opening(len(item.images)), *ids, *_ENDING))
            for item, ids in zip(items, texts["input_ids"], strict=True)
        ]

    def logits(self, rows: Sequence[Row], num_logits_to_keep: int = 1) -> Tensor:
        """Logits (rows, num_logits_to_keep, vocabulary) at the last positions."""
        device = self._model.device
        lengths = np.array([row.length for row in rows])
        ids = np.full((len(rows), lengths.max()), layout.PAD, dtype=np.int64)
        for padded, row in zip(ids, rows, strict=True):
            padded[: row.length] = row.ids + row.answer_ids
        last = lengths[:, None] - np.arange(num_logits_to_keep, 0, -1)
        kept = to_device(torch.from_numpy(last), device)
        images = np.array([len(row.item.images) for row in rows])
        x = self._embedded(to_device(torch.from_numpy(ids), device), rows, images)
        angles = self._angles(images, ids.shape[1], x)
        language: Any = self._model.model.language_model
        for layer in language.layers[:-1]:
            x = x + _attention(layer.self_attn, norm(layer.input_layernorm, x), angles)
            x = x + layer.mlp(norm(layer.post_attention_layernorm, x))
        layer = language.layers[-1]
        y = norm(layer.input_layernorm, x)
        x = x[torch.arange(len(x), device=x.device)[:, None], kept]
        x = x + _attention(layer.self_attn, y, angles, kept)
        x = x + layer.mlp(norm(layer.post_attention_layernorm, x))
        states = norm(language.norm, x)
        logits = functional.linear(states, language.embed_tokens.weight)
        return logits.to(torch.promote_types(states.dtype, torch.float32))

    def generate(self, rows: Sequence[Row], **options: Any) -> Tensor:
        """The tokens (rows, longest reply) that transformers' `generate` writes after the rows."""
        features = self.vision_cache.features([one for row in rows for one in row.item.images])
        grids = [(1, 2 * layout.GRID, 2 * layout.GRID)] * len(features)
        return generate_from_features(self._model, rows, grids, features, **options)

    def _encode_images(self, images: Sequence[ItemImage]) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack([image.pixels() for image in images]))
        return list(vision_features(self._model, to_device(pixels, self._model.device)))

    def _embedded(self, ids: Tensor, rows: Sequence[Row], images: np.ndarray) -> Tensor:
        """The language model's input (rows, length, hidden size), images included."""
        x = functional.embedding(ids, self._model.model.language_model.embed_tokens.weight)
        wanted = [image for row in rows for image in row.item.images]
        if not wanted:
            return x
        features = self.vision_cache.features(wanted)
        features = torch.cat([to_device(one, x.device).to(x) for one in features])
        slots = [
            index * ids.shape[1] + slot
            for index, count in enumerate(images.tolist())
            for slot in layout.image_slots(count)
        ]
        index = to_device(torch.tensor(slots), x.device)
        flat = x.flatten(0, 1).index_copy(0, index, features)
        return flat.view_as(x)

    def _angles(self, images: np.ndarray, length: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (1 or rows, 1, length, 32)."""
        kinds, which = np.unique(images, return_inverse=True)
        tables = [rotation(int(kind), length, x.device, x.dtype) for kind in kinds]
        cosine, sine = (torch.stack(table)[:, None] for table in zip(*tables, strict=True))
        if len(kinds) == 1:
            return cosine, sine
        index = to_device(torch.from_numpy(which), x.device)
        return cosine[index], sine[index]


def _attention(
    module: Any, y: Tensor, angles: tuple[Tensor, Tensor], kept: Tensor | None = None
) -> Tensor:
    """Causal attention, with queries only at the positions `kept` (rows, kept); None: at all."""
    rows, length, _ = y.shape
    queries, query_angles = y, angles
    if kept is not None:
        index = torch.arange(rows, device=y.device)[:, None]
        queries = y[index, kept]
        query_angles = tuple(
            table.expand(rows, 1, -1, -1)[index, 0, kept][:, None] for table in angles
        )
    q, k, v = (
        project(x).view(rows, x.shape[1], -1, layout.HEAD).transpose(1, 2)
        for project, x in ((module.q_proj, queries), (module.k_proj, y), (module.v_proj, y))
    )
    q, k = rotate(q, *query_angles), rotate(k, *angles)
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    allowed = None
    if kept is not None:
        allowed = (torch.arange(length, device=y.device) <= kept[..., None])[:, None]
    heads = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed, is_causal=allowed is None
    )
    return module.o_proj(heads.transpose(1, 2).flatten(2))
