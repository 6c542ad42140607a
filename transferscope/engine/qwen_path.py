"""The forward path of Qwen2-VL, Qwen2.5-VL and Qwen3-VL: vision features, then the language model.

The model's vision tower, position index and language model are called one by one, so that vision
features can be kept. Rows are padded on the right, where causal attention cannot see.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from transferscope.engine import qwen_vision
from transferscope.engine.base_model import Base
from transferscope.engine.compiled import compile_layers, eagerly
from transferscope.engine.devices import to_device
from transferscope.engine.forward_paths import Row, chat
from transferscope.engine.generation import generate_from_features
from transferscope.engine.vision_cache import VisionCache
from transferscope.errors import DataError
from transferscope.tasks import Item, ItemImage, fingerprint

_PATCHES_AT_ONCE = 1 << 15
"""Patches that a GPU encodes at once: enough to be busy, in one or two gigabytes."""

_MAX_POSITIONS = 4096
"""Rows of different shapes whose positions are kept."""


class QwenPath:
    """Items on a base of one of Qwen's families."""

    def __init__(self, base: Base) -> None:
        self.base, self._body = base, base.model.model
        self._image: int = base.model.config.image_token_id
        self._token = base.processor.tokenizer.convert_ids_to_tokens(self._image)
        self._merge: int = base.model.config.vision_config.spatial_merge_size
        self._narrow = False
        """Whether the last layer takes `positions_to_keep`."""
        self._positions: dict[tuple[Any, ...], Tensor] = {}
        self._known: WeakKeyDictionary[Item, Any] = WeakKeyDictionary()
        """Token ids and grids of images."""
        one_call = qwen_vision.use_window_attention(base.model)
        qwen_vision.embed_by_product(self._body.visual)
        name = base.cache_name("qwen-2")  # 1 were a CPU's features from a convolution
        if base.device.type != "cuda":
            # One image at a time: the other images of a batch would change its rounding, and a
            # run resumed after a kill would not end like one that was never killed.
            self.vision_cache = VisionCache(self._encode, 1, base.cache_limits, name)
            return
        images = base.processor.image_processor
        self._preparer = qwen_vision.ImagePreparer(images, base.device, base.dtype)
        self.vision_cache = VisionCache(
            self._encode_prepared,
            _PATCHES_AT_ONCE,
            base.cache_limits,
            name,
            device=base.device,
            size=lambda image: int(np.prod(self._grid(image))),
            prepare=self._preparer.prepare,
        )
        qwen_vision.pad_tower(self._body.visual)
        language = self._body.language_model
        if hasattr(language, "_deepstack_process"):
            language._deepstack_process = _add_features
        self._narrow = _narrowed(language.layers[-1])
        compile_layers(language.layers)
        compile_layers(self._body.visual.blocks if one_call else ())

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows.

        Raises:
            DataError: an item's text contains the model's image token, or the aspect ratio of an
                image is too extreme.
        """
        new = [item for item in dict.fromkeys(items) if item not in self._known]
        with ThreadPoolExecutor() as pool:  # images are decoded and hashed on all cores
            list(pool.map(fingerprint, (image for item in new for image in item.images)))
        self._known.update((item, self._tokenized(item)) for item in new)
        known = [(item, *self._known[item]) for item in items]
        return [Row(item, tuple(ids.tolist()), grids) for item, ids, grids in known]

    def _tokenized(self, item: Item) -> tuple[np.ndarray, tuple[Any, ...]]:
        text = self.base.processor.apply_chat_template(
            chat(item), add_generation_prompt=True, tokenize=False
        )
        parts = text.split(self._token)
        if len(parts) != len(item.images) + 1:
            raise DataError(f"item {item.id!r}: its text contains {self._token}")
        try:
            grids = tuple(map(self._grid, item.images))
        except ValueError as error:
            raise DataError(f"item {item.id!r}: {error}") from None
        full = parts[0]
        for grid, part in zip(grids, parts[1:], strict=True):
            full += self._token * self._tokens(grid) + part
        ids = self.base.processor.tokenizer(full)["input_ids"]
        return np.array(ids, dtype=np.int32), grids

    def logits(self, rows: Sequence[Row], num_logits_to_keep: int = 1) -> Tensor:
        """Logits (rows, num_logits_to_keep, vocabulary) at the last positions."""
        device = self.base.device
        lengths = np.array([row.length for row in rows])
        ids = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long)
        positions = torch.zeros((3, *ids.shape), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : row.length] = torch.tensor(row.ids + row.answer_ids)
            positions[:, index, : row.length] = self._rope_index(row, ids[index, : row.length])
        ids = to_device(ids, device)
        x = self._body.get_input_embeddings()(ids)
        image = ids == self._image
        extra: dict[str, Any] = {}
        images = [one for row in rows for one in row.item.images]
        if images:
            features = self.vision_cache.features(images)
            features = torch.cat([to_device(one, device).to(x) for one in features])
            first, *deep = features.split(x.shape[-1], -1)
            x = x.masked_scatter(image[..., None], first)
            if deep:
                extra = {"visual_pos_masks": image, "deepstack_visual_embeds": deep}
        last = lengths[:, None] - np.arange(num_logits_to_keep, 0, -1)
        kept = to_device(torch.from_numpy(last), device)
        if self._narrow:
            extra["positions_to_keep"] = kept
        states = self._body.language_model(
            inputs_embeds=x, position_ids=to_device(positions, device), use_cache=False, **extra
        ).last_hidden_state
        states = states if self._narrow else _at(states, kept.to(states.device))
        logits = self.base.model.get_output_embeddings()(states).to(device)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def generate(self, rows: Sequence[Row], **options: Any) -> Tensor:
        """The tokens (rows, longest reply) that transformers' `generate` writes after the rows."""
        features = self.vision_cache.features([one for row in rows for one in row.item.images])
        grids = [grid for row in rows for grid in row.grids]
        with eagerly(self.base.model):  # a cache that grows would be compiled again and again
            return generate_from_features(self.base.model, rows, grids, features, **options)

    def _rope_index(self, row: Row, ids: Tensor) -> Tensor:
        """Time, row and column of every token (3, length)."""
        if not row.grids:
            return torch.arange(len(ids)).expand(3, -1)
        # Length and grids determine the positions: images come first in the prompt, see `chat`.
        shape = (len(ids), row.grids)
        if shape not in self._positions:
            index, _ = self._body.get_rope_index(
                ids[None],
                mm_token_type_ids=(ids == self._image).int()[None],
                image_grid_thw=torch.tensor(row.grids),
            )
            if len(self._positions) >= _MAX_POSITIONS:
                self._positions.clear()
            self._positions[shape] = index[:, 0].clone()
        return self._positions[shape]

    def _tokens(self, grid: tuple[int, int, int]) -> int:
        return int(np.prod(grid)) // self._merge**2

    def _grid(self, image: ItemImage) -> tuple[int, int, int]:
        return qwen_vision.patch_grid(self.base.processor.image_processor, image)

    def _processed(self, arrays: Sequence[np.ndarray]) -> Any:
        from PIL import Image

        images = [Image.fromarray(array) for array in arrays]
        return self.base.processor.image_processor(images=images, return_tensors="pt")

    def _encode(self, images: Sequence[ItemImage]) -> list[Tensor]:
        made = self._processed([image.pixels() for image in images])
        values = made["pixel_values"].to(self.base.device, self.base.dtype)
        return self._features(values, made["image_grid_thw"])

    def _encode_prepared(self, images: Sequence[qwen_vision.PreparedImage]) -> list[Tensor]:
        patches = to_device(torch.cat([one.patches for one in images]), self.base.device)
        grids = torch.cat([one.grid for one in images])
        return self._features(self._preparer.values(patches), grids)

    def _features(self, values: Tensor, grids: Tensor) -> list[Tensor]:
        """Features of images from their patches' values and their grids (images, 3)."""
        grids_there = to_device(grids, values.device)
        out = self._body.get_image_features(values, grids_there, return_dict=True)
        layers = [torch.cat(list(out.pooler_output))]
        for deep in getattr(out, "deepstack_features", None) or ():
            layers.append(deep if isinstance(deep, Tensor) else torch.cat(list(deep)))
        sizes = [self._tokens(grid) for grid in grids.tolist()]
        return list(torch.cat(layers, -1).split(sizes))


def _at(states: Tensor, positions: Tensor) -> Tensor:
    """The states (rows, kept, hidden size) at some positions (rows, kept) of each row."""
    return states[torch.arange(len(states), device=states.device)[:, None], positions]


def _narrowed(layer: Any) -> bool:
    """Run a decoder's last MLP only where logits are kept: saves 3 % of the work at 28 layers."""
    if "forward" in vars(layer):  # by another path of this base
        return True
    whole = layer.forward

    def forward(
        states: Tensor, *args: Any, positions_to_keep: Tensor | None = None, **named: Any
    ) -> Any:
        if positions_to_keep is None:
            return whole(states, *args, **named)
        attended, _ = layer.self_attn(*args, hidden_states=layer.input_layernorm(states), **named)
        kept = _at(states + attended, positions_to_keep)
        return kept + layer.mlp(layer.post_attention_layernorm(kept))

    layer.forward = forward
    return True


def _add_features(states: Tensor, image_mask: Tensor, features: Tensor) -> Tensor:
    """Qwen3-VL's addition of deep features at image tokens, without counting them on the GPU."""
    added = torch.zeros_like(states).masked_scatter(
        image_mask.to(states.device)[..., None], features.to(states)
    )
    return states + added
