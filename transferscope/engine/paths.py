"""Which forward path runs a base for some items."""

from collections.abc import Sequence
from typing import Any

from transferscope.engine.glimpse.glimpse_path import SmallPath, fits, is_embedded
from transferscope.engine.plain_path import PlainPath
from transferscope.engine.qwen_path import FAMILIES, QwenPath
from transferscope.engine.rows import ForwardPath
from transferscope.engine.split import layers_by_device
from transferscope.engine.vlm import Base
from transferscope.tasks import Item

PATHS: dict[str, Any] = {"small": SmallPath, "qwen": QwenPath, "plain": PlainPath}


def forward_path(base: Base, items: Sequence[Item], kind: str = "") -> ForwardPath:
    """The fastest path that runs these items on this base.

    Args:
        kind: a path of `PATHS` to take whatever is fastest.
    """
    if not kind:
        whole = len(layers_by_device(base.model)) == 1
        if whole and is_embedded(base) and fits(items):
            kind = "small"
        else:
            kind = "qwen" if base.model.config.model_type in FAMILIES else "plain"
    if kind not in base.paths:
        base.paths[kind] = PATHS[kind](base)
    return base.paths[kind]
