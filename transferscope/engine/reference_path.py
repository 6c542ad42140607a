"""The forward path for any model: slower, as images are encoded in every call; equal numbers."""

import inspect
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from transferscope.engine.base_model import Base
from transferscope.engine.forward_paths import Row, chat
from transferscope.errors import DataError
from transferscope.tasks import Item


class ReferencePath:
    """Items on any base that transformers loads with `AutoModelForImageTextToText`."""

    def __init__(self, base: Base) -> None:
        self.base = base
        base.processor.tokenizer.padding_side = "left"
        parameters = inspect.signature(base.model.forward).parameters
        self._keeps = "logits_to_keep" in parameters
        self._known: WeakKeyDictionary[Item, tuple[int, ...]] = WeakKeyDictionary()

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows, whose tokens give their length; the processor makes each batch.

        Raises:
            DataError: the processor cannot read an item.
        """
        for item in items:
            if item not in self._known:
                self._known[item] = self._ids(item)
        return [Row(item, self._known[item]) for item in items]

    def logits(self, rows: Sequence[Row], num_logits_to_keep: int = 1) -> Tensor:
        """Logits (rows, num_logits_to_keep, vocabulary) at the last positions."""
        kept = {"logits_to_keep": num_logits_to_keep} if self._keeps else {}
        logits = self.base.model(**self.inputs(rows), use_cache=False, **kept).logits
        logits = logits[:, -num_logits_to_keep:]
        return logits.to(self.base.device, torch.promote_types(logits.dtype, torch.float32))

    def generate(self, rows: Sequence[Row], **options: Any) -> Tensor:
        """The tokens (rows, longest reply) that transformers' `generate` writes after the rows."""
        inputs = self.inputs(rows)
        return self.base.model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The arguments of the model's forward, rows padded on the left."""
        made = self._processed([row.item for row in rows])
        answers = [row.answer_ids for row in rows]
        pad = self.base.processor.tokenizer.pad_token_id or 0
        made["input_ids"] = _appended(made["input_ids"], answers, pad)
        fills = {"attention_mask": 1, "token_type_ids": 0, "mm_token_type_ids": 0}
        for key in fills.keys() & made.keys():
            made[key] = _appended(made[key], [(fills[key],) * len(ids) for ids in answers], 0)
        base = self.base
        return {
            key: value.to(base.device, base.dtype if value.is_floating_point() else value.dtype)
            for key, value in made.items()
        }

    def _processed(self, items: Sequence[Item]) -> dict[str, Any]:
        from PIL import Image

        chats = [
            chat(item, [Image.fromarray(image.pixels()) for image in item.images]) for item in items
        ]
        made = self.base.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",  # not in processor_kwargs: SmolVLM's would overwrite it there
            processor_kwargs={"padding": True},
        )
        return dict(made)

    def _ids(self, item: Item) -> tuple[int, ...]:
        processor = self.base.processor
        tokens = [getattr(processor, "image_token", None)]
        if (image := getattr(self.base.model.config, "image_token_id", None)) is not None:
            tokens.append(processor.tokenizer.convert_ids_to_tokens(image))
        for token in tokens:
            if token and token in item.prompt:
                raise DataError(f"item {item.id!r}: its text contains {token}")
        try:
            return tuple(self._processed([item])["input_ids"][0].tolist())
        except ValueError as error:
            line, name = str(error).splitlines()[0], type(processor).__name__
            raise DataError(f"item {item.id!r}: {name} cannot read it: {line}") from None


def _appended(value: Tensor, tails: Sequence[tuple[int, ...]], pad: int) -> Tensor:
    """Rows (rows, length) with a tail appended to each, padded on the left."""
    most = max(map(len, tails))
    longer = value.new_full((len(value), value.shape[1] + most), pad)
    for row, tail, head in zip(longer, tails, value, strict=True):
        row[most - len(tail) :] = torch.cat([head, head.new_tensor(tail)])
    return longer
