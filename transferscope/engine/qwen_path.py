"""The forward path for Qwen2-VL, Qwen2.5-VL and Qwen3-VL: pictures once, then the language model.

The model's own vision tower, position index and language model are called one by one, so that
vision features can be kept. Rows are padded on the right, where causal attention cannot see.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from transferscope.engine.compiled import compile_layers
from transferscope.engine.devices import sent
from transferscope.engine.rows import Row, chat
from transferscope.engine.tower import Pixels, Prepared, smooth
from transferscope.engine.vision import Eyes, Seen, seen
from transferscope.engine.vlm import Base
from transferscope.engine.windows import see_in_windows
from transferscope.errors import DataError
from transferscope.tasks import Item, ItemImage

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Model types, as a configuration names them."""

_PATCHES_AT_ONCE = 1 << 15
"""Patches that a GPU looks at together: enough to be busy, in a gigabyte or two."""

_MOST_PLACES = 4096
"""Rows of different shapes whose tokens' places are kept."""


class QwenPath:
    """Items on a base of one of Qwen's families."""

    def __init__(self, base: Base) -> None:
        self._base, self._body = base, base.model.model
        self._image: int = base.model.config.image_token_id
        self._token = base.processor.tokenizer.convert_ids_to_tokens(self._image)
        self._merge: int = base.model.config.vision_config.spatial_merge_size
        self._grids: dict[tuple[int, ...], tuple[int, int, int]] = {}
        self._narrow = False
        """Whether the last layer knows `asked`."""
        self._places: dict[tuple[Any, ...], Tensor] = {}
        self._known: WeakKeyDictionary[Item, tuple[np.ndarray, tuple[Any, ...]]] = (
            WeakKeyDictionary()
        )
        whole, name = see_in_windows(base.model), base.cache_name("qwen")
        # One picture at a time: what it is looked at with would round its features, so that a run
        # that goes on after a kill would not end as one that was never killed.
        self.eyes = Eyes(self._look, 1, base.budget, name)
        if base.device.type == "cuda":
            self._pixels = Pixels(base.processor.image_processor, base.device, base.dtype)
            self.eyes = Eyes(
                self._look_fast,
                _PATCHES_AT_ONCE,
                base.budget,
                name,
                size=self._patches,
                prepare=self._pixels.prepared,
            )
            smooth(self._body.visual)
            language = self._body.language_model
            if hasattr(language, "_deepstack_process"):
                language._deepstack_process = _added
            self._narrow = _narrowed(language.layers[-1])
            compile_layers(language.layers)
            compile_layers(self._body.visual.blocks if whole else ())

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows.

        Raises:
            DataError: an item's text holds the model's own picture token, or a picture of it is
                too long and thin.
        """
        rows = []
        for item in items:
            pictures = tuple(map(seen, item.images))
            if item not in self._known:
                self._known[item] = self._read(item, pictures)
            ids, grids = self._known[item]
            rows.append(Row(item, tuple(ids.tolist()), pictures, grids))
        return rows

    def _read(self, item: Item, pictures: Sequence[Seen]) -> tuple[np.ndarray, tuple[Any, ...]]:
        """An item's tokens and its pictures' grids."""
        text = self._base.processor.apply_chat_template(
            chat(item), add_generation_prompt=True, tokenize=False
        )
        parts = text.split(self._token)
        if len(parts) != len(item.images) + 1:
            raise DataError(f"item {item.id!r}: its text holds {self._token}")
        try:
            grids = tuple(map(self._grid, pictures))
        except ValueError as error:
            raise DataError(f"item {item.id!r}: {error}") from None
        full = parts[0]
        for grid, part in zip(grids, parts[1:], strict=True):
            full += self._token * self._tokens(grid) + part
        ids = self._base.processor.tokenizer(full)["input_ids"]
        return np.array(ids, dtype=np.int32), grids

    def logits(self, rows: Sequence[Row], read: int = 1) -> Tensor:
        """Scores (rows, read, vocabulary) of what follows the last `read` places."""
        device = self._base.device
        lengths = np.array([row.length for row in rows])
        ids = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long)
        positions = torch.zeros((3, *ids.shape), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : row.length] = torch.tensor(row.ids + row.said)
            positions[:, index, : row.length] = self._positions(row, ids[index, : row.length])
        ids = sent(ids, device)
        x = self._body.get_input_embeddings()(ids)
        image = ids == self._image
        extra: dict[str, Any] = {}
        wanted = [picture for row in rows for picture in row.pictures]
        if wanted:
            features = torch.cat([sent(its, device).to(x) for its in self.eyes.features(wanted)])
            first, *deep = features.split(x.shape[-1], -1)
            x = x.masked_scatter(image[..., None], first)
            if deep:
                extra = {"visual_pos_masks": image, "deepstack_visual_embeds": deep}
        places = sent(torch.from_numpy(lengths[:, None] - np.arange(read, 0, -1)), device)
        if self._narrow:
            extra["asked"] = places
        states = self._body.language_model(
            inputs_embeds=x, position_ids=sent(positions, device), use_cache=False, **extra
        ).last_hidden_state
        said = states if self._narrow else _at(states, places.to(states.device))
        scores = self._base.model.get_output_embeddings()(said).to(device)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _positions(self, row: Row, ids: Tensor) -> Tensor:
        """Time, row and column of every token (3, length)."""
        if not row.grids:
            return torch.arange(len(ids)).expand(3, -1)
        shape = (len(ids), row.grids)  # all: pictures come first, as `rows` puts them
        if shape not in self._places:
            index, _ = self._body.get_rope_index(
                ids[None],
                mm_token_type_ids=(ids == self._image).int()[None],
                image_grid_thw=torch.tensor(row.grids),
            )
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            self._places[shape] = index[:, 0].clone()
        return self._places[shape]

    def _patches(self, picture: Seen) -> int:
        return int(np.prod(self._grid(picture)))

    def _tokens(self, grid: tuple[int, int, int]) -> int:
        return int(np.prod(grid)) // self._merge**2

    def _grid(self, picture: Seen) -> tuple[int, int, int]:
        """A picture's grid of patches, which depends on its size alone."""
        shape = picture.shape
        if shape not in self._grids:
            made = self._processed([np.zeros(shape, dtype=np.uint8)])
            time, height, width = made["image_grid_thw"][0].tolist()
            self._grids[shape] = (time, height, width)
        return self._grids[shape]

    def _processed(self, arrays: Sequence[np.ndarray]) -> Any:
        from PIL import Image

        images = [Image.fromarray(array) for array in arrays]
        return self._base.processor.image_processor(images=images, return_tensors="pt")

    def _look(self, pictures: Sequence[ItemImage]) -> list[Tensor]:
        made = self._processed([picture.pixels() for picture in pictures])
        values = made["pixel_values"].to(self._base.device, self._base.dtype)
        return self._looked(values, made["image_grid_thw"])

    def _look_fast(self, prepared: Sequence[Prepared]) -> list[Tensor]:
        patches = sent(torch.cat([one.patches for one in prepared]), self._base.device)
        return self._looked(
            self._pixels.numbers(patches), torch.cat([one.grid for one in prepared])
        )

    def _looked(self, values: Tensor, grids: Tensor) -> list[Tensor]:
        """Features of pictures from their patches' numbers and their grids (pictures, 3)."""
        out = self._body.get_image_features(values, sent(grids, values.device), return_dict=True)
        layers = [torch.cat(list(out.pooler_output))]
        for deep in getattr(out, "deepstack_features", None) or ():
            layers.append(deep if isinstance(deep, Tensor) else torch.cat(list(deep)))
        sizes = [self._tokens(grid) for grid in grids.tolist()]
        return list(torch.cat(layers, -1).split(sizes))


def _at(states: Tensor, places: Tensor) -> Tensor:
    """The states (rows, read, width) at some places (rows, read) of all (rows, length, width)."""
    return states[torch.arange(len(states), device=states.device)[:, None], places]


def _narrowed(layer: Any) -> bool:
    """Have a decoder's last layer, told which places are asked, feed forward at these alone.

    Nobody reads the others: of a language model of 28 layers, 3 % of the work.
    """
    if "forward" in vars(layer):  # by another path of this base
        return True
    whole = layer.forward

    def forward(states: Tensor, *given: Any, asked: Tensor | None = None, **named: Any) -> Any:
        if asked is None:
            return whole(states, *given, **named)
        attended, _ = layer.self_attn(*given, hidden_states=layer.input_layernorm(states), **named)
        narrow = _at(states + attended, asked)
        return narrow + layer.mlp(layer.post_attention_layernorm(narrow))

    layer.forward = forward
    return True


def _added(states: Tensor, places: Tensor, features: Tensor) -> Tensor:
    """Qwen3-VL's addition of features in the pictures' places, whose number nobody asks a GPU."""
    its = torch.zeros_like(states).masked_scatter(
        places.to(states.device)[..., None], features.to(states)
    )
    return states + its
