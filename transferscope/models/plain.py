"""The forward path for any model: its own processor, its own forward, nothing kept.

Slower than the others, as pictures are looked at in every call, and right by construction.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transferscope.models.rows import Row, chat
from transferscope.models.vlm import Base
from transferscope.suite import Item


class PlainPath:
    """Items on any base that transformers loads with `AutoModelForImageTextToText`."""

    def __init__(self, base: Base) -> None:
        self._base = base
        base.processor.tokenizer.padding_side = "left"
        parameters = inspect.signature(base.model.forward).parameters
        self._keeps = "logits_to_keep" in parameters

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows without tokens: the processor makes those batch by batch."""
        return [Row(item, (), ()) for item in items]

    def logits(self, rows: Sequence[Row], read: int = 1) -> Tensor:
        """Scores (rows, read, vocabulary) of what follows the last `read` places."""
        inputs = self.inputs(rows)
        kept = {"logits_to_keep": read} if self._keeps else {}
        scores = self._base.model(**inputs, use_cache=False, **kept).logits[:, -read:]
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """What the model's forward takes, rows padded on the left."""
        from PIL import Image

        lengths = {len(row.said) for row in rows}
        if len(lengths) > 1:
            raise ValueError("rows of one call must have said equally much")
        chats = [
            chat(row.item, [Image.fromarray(image.pixels()) for image in row.item.images])
            for row in rows
        ]
        made: dict[str, Any] = dict(
            self._base.processor.apply_chat_template(
                chats,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                processor_kwargs={"return_tensors": "pt", "padding": True},
            )
        )
        said = torch.tensor([row.said for row in rows], dtype=torch.long)
        for key, value in made.items():
            if key == "input_ids":
                made[key] = torch.cat([value, said], 1)
            elif key == "attention_mask":
                made[key] = torch.cat([value, torch.ones_like(said, dtype=value.dtype)], 1)
            elif key in ("token_type_ids", "mm_token_type_ids"):
                made[key] = torch.cat([value, torch.zeros_like(said, dtype=value.dtype)], 1)
        return {key: self._placed(value) for key, value in made.items()}

    def _placed(self, value: Tensor) -> Tensor:
        dtype = self._base.dtype if value.is_floating_point() else value.dtype
        return value.to(self._base.device, dtype)
