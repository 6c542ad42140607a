"""Items as token rows, and the forward paths that run a base on rows.

A forward path turns items into rows, and rows into logits of the tokens that follow, or into
replies. There is one for any model (`reference_path`), one for Qwen's families (`qwen_path`) and
one for the embedded bases (`glimpse`). They give the same numbers. `families` lists which path a
family has.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from transferscope.engine.base_model import Base
from transferscope.engine.devices import layers_by_device
from transferscope.engine.families import FAMILIES, GLIMPSE, OTHER
from transferscope.engine.glimpse.prompt_layout import fits, is_embedded
from transferscope.tasks import Item

REFERENCE = "reference"
"""The path that runs any model, by name."""


class Row(NamedTuple):
    """One question as token ids, up to the position where the answer begins."""

    item: Item
    ids: tuple[int, ...]
    """The prompt's tokens, image tokens included."""
    grids: tuple[tuple[int, int, int], ...] = ()
    """Time, height and width of each image in patches; only on Qwen's path."""
    answer_ids: tuple[int, ...] = ()
    """Tokens of the answer after the prompt."""

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids) + len(self.answer_ids)


class ForwardPath(Protocol):
    """One way to run a base."""

    base: Base

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows."""
        ...

    def logits(self, rows: Sequence[Row], num_logits_to_keep: int = 1) -> Tensor:
        """Logits (rows, num_logits_to_keep, vocabulary) at the last positions, float32 or more."""
        ...

    def generate(self, rows: Sequence[Row], **options: Any) -> Tensor:
        """The tokens (rows, longest reply) that transformers' `generate` writes after the rows."""
        ...


def forward_path(
    base: Base, items: Sequence[Item], kind: str = "", *, writes: bool = False
) -> ForwardPath:
    """The fastest path that runs items on a base, or that of the family `kind` or `REFERENCE`.

    Args:
        writes: whether the path must write replies. An embedded base does so, and runs other items
            than the embedded suite's, only as `complete`: adapters belong beside `path.base`.
    """
    if not kind:
        family = base.model.config.model_type
        kind = family if family in FAMILIES else REFERENCE
        if len(layers_by_device(base.model)) == 1 and is_embedded(base) and fits(items):
            kind = GLIMPSE
        kind = REFERENCE if base.plain else kind
    if kind != GLIMPSE or writes:
        base = base.complete
    if kind not in base.paths:
        module, _, name = FAMILIES.get(kind, OTHER).path.partition(":")
        base.paths[kind] = getattr(import_module(module), name)(base)
    return base.paths[kind]


def chat(item: Item, images: Sequence[object] | None = None) -> list[dict[str, Any]]:
    """An item as a conversation: PIL images, None if only their positions matter, then text."""
    shown = [{"type": "image"}] * len(item.images)
    if images is not None:
        shown = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": item.prompt}]}]
