"""The forward path for any model: its own processor, its own forward, no features kept.

Slower than the others, as pictures are looked at in every call, and right by construction.
"""

import inspect
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from transferscope.engine.rows import Row, chat
from transferscope.engine.vlm import Base
from transferscope.errors import DataError
from transferscope.tasks import Item


class PlainPath:
    """Items on any base that transformers loads with `AutoModelForImageTextToText`."""

    def __init__(self, base: Base) -> None:
        self._base = base
        base.processor.tokenizer.padding_side = "left"
        parameters = inspect.signature(base.model.forward).parameters
        self._keeps = "logits_to_keep" in parameters
        self._known: WeakKeyDictionary[Item, tuple[int, ...]] = WeakKeyDictionary()

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows whose tokens tell their length; each batch is made by the processor.

        Raises:
            DataError: the processor cannot make an item.
        """
        for item in items:
            if item not in self._known:
                self._known[item] = self._ids(item)
        return [Row(item, self._known[item], ()) for item in items]

    def logits(self, rows: Sequence[Row], read: int = 1) -> Tensor:
        """Scores (rows, read, vocabulary) of what follows the last `read` places."""
        inputs = self.inputs(rows)
        kept = {"logits_to_keep": read} if self._keeps else {}
        scores = self._base.model(**inputs, use_cache=False, **kept).logits[:, -read:]
        return scores.to(self._base.device, torch.promote_types(scores.dtype, torch.float32))

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """What the model's forward takes, rows padded on the left."""
        made = self._made([row.item for row in rows])
        said = [row.said for row in rows]
        pad = self._base.processor.tokenizer.pad_token_id or 0
        for key, value in made.items():
            if key == "input_ids":
                made[key] = _continued(value, said, pad)
            elif key == "attention_mask":
                made[key] = _continued(value, [(1,) * len(its) for its in said], 0)
            elif key in ("token_type_ids", "mm_token_type_ids"):
                made[key] = _continued(value, [(0,) * len(its) for its in said], 0)
        return {key: self._placed(value) for key, value in made.items()}

    def _made(self, items: Sequence[Item]) -> dict[str, Any]:
        """Items as the processor makes them."""
        from PIL import Image

        chats = [
            chat(item, [Image.fromarray(image.pixels()) for image in item.images]) for item in items
        ]
        made = self._base.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",  # not among the processor's: SmolVLM's would overwrite it there
            processor_kwargs={"padding": True},
        )
        return dict(made)

    def _ids(self, item: Item) -> tuple[int, ...]:
        """An item's tokens."""
        processor = self._base.processor
        own = [getattr(processor, "image_token", None)]
        if (image := getattr(self._base.model.config, "image_token_id", None)) is not None:
            own.append(processor.tokenizer.convert_ids_to_tokens(image))
        for token in own:
            if token and token in item.prompt:
                raise DataError(f"item {item.id!r}: its text holds {token}")
        try:
            return tuple(self._made([item])["input_ids"][0].tolist())
        except ValueError as error:
            line = str(error).splitlines()[0]
            name = type(processor).__name__
            raise DataError(f"item {item.id!r}: {name} cannot read it: {line}") from None

    def _placed(self, value: Tensor) -> Tensor:
        dtype = self._base.dtype if value.is_floating_point() else value.dtype
        return value.to(self._base.device, dtype)


def _continued(value: Tensor, said: Sequence[tuple[int, ...]], pad: int) -> Tensor:
    """Rows (rows, length) with what each has said after them, padded on the left."""
    most = max(map(len, said))
    longer = value.new_full((len(value), value.shape[1] + most), pad)
    for row, its, own in zip(longer, said, value, strict=True):
        row[most - len(its) :] = torch.cat([own, own.new_tensor(its)])
    return longer
