"""A base's processor: images, text and chat template, and whether the template makes it think.

An answer stands after thinking has ended. Option tokens that are scored, or trained, inside an open
thinking block are at the wrong position.
"""

import re
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

from transferscope.engine.families import OTHER
from transferscope.errors import DataError, MissingExtra, StudyError


def load_processor(folder: Path, trust_remote_code: bool = False) -> Any:
    """The processor of a folder's checkpoint, with a chat template.

    Raises:
        DataError: the folder has no processor, or one without a chat template.
        MissingExtra: the processor needs a library that is not installed.
    """
    from transformers import AutoProcessor
    from transformers.utils.import_utils import is_torchvision_available

    try:
        try:
            made = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except ImportError:
            if is_torchvision_available():
                raise
            made = _without_videos(folder)
    except ImportError as error:
        raise MissingExtra(
            f"{folder}: the processor needs a library: {first_line(error)}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no processor: {first_line(error)}") from None
    if not getattr(made, "chat_template", None):
        raise DataError(f"{folder}: the processor has no chat template")
    return made


class _NoVideos:
    """Stands in for the video part of a processor: attributes to read, nothing to call."""

    model_input_names = ()
    num_frames = fps = _auto_class = None


def _without_videos(folder: Path) -> Any:
    """A family's processor, images by PIL, with `_NoVideos` in place of the video part.

    transformers processes videos with torchvision only, which is missing here. An ImportError if
    another part needs it too.
    """
    from transformers import (
        PROCESSOR_MAPPING,
        AutoConfig,
        AutoFeatureExtractor,
        AutoImageProcessor,
        AutoTokenizer,
    )

    family: Any = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(folder)), None)
    if family is None:
        raise ImportError("it needs torchvision: pip install torchvision")

    class ImagesOnly(family):
        """Accepts `_NoVideos` as the video part."""

        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            if isinstance(part, _NoVideos):
                return _NoVideos
            return super().check_argument_for_proper_class(name, part)

        def to_dict(self) -> dict[str, Any]:
            """The settings without the video part."""
            settings = super().to_dict()
            return {name: settings[name] for name in settings if name != "video_processor"}

    ImagesOnly.__name__ = family.__name__
    makers = {
        "tokenizer": AutoTokenizer,
        "image_processor": AutoImageProcessor,
        "feature_extractor": AutoFeatureExtractor,  # of sounds, which no item has
    }
    names = ImagesOnly.get_attributes()
    if other := [name for name in names if name not in (*makers, "video_processor")]:
        raise ImportError(f"its {other[0]} needs torchvision: pip install torchvision")
    parts = [
        makers[name].from_pretrained(folder) if name in makers else _NoVideos() for name in names
    ]
    settings, _ = ImagesOnly.get_processor_dict(folder)
    return ImagesOnly.from_args_and_dict(parts, settings)


def limit_pixels(config: Any, processor: Any, max_pixels: int) -> None:
    """Limit every image to `max_pixels` pixels after resizing, by the family's own setting.

    If an image is cut into tiles, the tiles count and the overview image does not. The model's
    `config` repeats some settings of the processor.

    Raises:
        StudyError: the family has no such setting, or cannot go that low.
    """
    images = processor.image_processor
    size = dict(getattr(images, "size", None) or {})
    tile = _tile(images, size)
    # With `merge_size`, transformers' "edges" are numbers of pixels.
    if getattr(images, "merge_size", None) and "longest_edge" in size:
        smallest = min(size["shortest_edge"], max_pixels)
        images.size = {"shortest_edge": smallest, "longest_edge": max_pixels}
        return
    if tile is None:
        raise StudyError(
            f"max_pixels: {type(images).__name__} does not support max_pixels; set it to null"
        )
    area = tile[0] * tile[1]
    if area > max_pixels:
        raise StudyError(
            f"max_pixels: must be at least {area}, as {type(images).__name__} makes images of "
            f"{tile[0]} x {tile[1]}, got {max_pixels}"
        )
    if hasattr(images, "max_image_size"):
        longest = isqrt(max_pixels) // tile[0] * tile[0]
        images.size = {"longest_edge": min(longest, size.get("longest_edge") or longest)}
    elif getattr(images, "image_grid_pinpoints", None):
        grids = [
            list(grid) for grid in images.image_grid_pinpoints if grid[0] * grid[1] <= max_pixels
        ]
        images.image_grid_pinpoints = config.image_grid_pinpoints = grids or [list(tile)]
    elif hasattr(images, "max_patches"):
        images.max_patches = min(images.max_patches, max_pixels // area)
        images.min_patches = min(images.min_patches, images.max_patches)


def _tile(images: Any, size: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of the vision tower's input, if that is always the same."""
    if edge := dict(getattr(images, "max_image_size", None) or {}).get("longest_edge"):
        return edge, edge
    crop = dict(getattr(images, "crop_size", None) or {})
    for found in (crop if getattr(images, "do_center_crop", None) else {}, size):
        if found.get("height") and found.get("width"):
            return found["height"], found["width"]
    return None


def first_line(error: Exception) -> str:
    """An error's message up to its first line that is not a heading (does not end with a colon)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    end = next((place for place, line in enumerate(lines) if not line.endswith(":")), len(lines))
    return " ".join(lines[: end + 1]) or type(error).__name__


_OPEN = re.compile(
    r"<[\w:]*(?:think|thought|reason)\w*>|\[think\]|◁think▷|<unused94>"
    r"|<\|channel\|?>\s*(?:thought|thinking|analysis)"
    r"|<\|(?:start_|begin_)?(?:of_)?(?:think|thought)(?!\w*end)\w*\|>",
    re.I,
)
_CLOSED = re.compile(
    r"</[\w:]*(?:think|thought|reason)\w*>|\[/think\]|◁/think▷|<unused95>"
    r"|<channel\|>|<\|end\|>|<\|channel\|>\s*final"
    r"|<\|(?:end_|/)(?:of_)?(?:think|thought)\w*\|>|<\|(?:think|thought)\w*end\|>",
    re.I,
)


def set_thinking(
    processor: Any, on: bool, switches: Sequence[str] = OTHER.thinking_switches
) -> str:
    """Switch thinking on or off by a line put in front of a processor's chat template.

    Returns the line; empty if the template has none of the switches.
    """
    templates = processor.chat_template
    several = isinstance(templates, dict)
    text = "\n".join(templates.values()) if several else templates
    known = [name for name in switches if re.search(rf"(?<![\w.'\"]){name}\b(?!['\"])", text)]
    lines = "".join(f"{{%- set {name} = {str(on).lower()} %}}" for name in known)
    if known and several:
        processor.chat_template = {name: lines + one for name, one in templates.items()}
    elif known:
        processor.chat_template = lines + templates
    return lines


def prompt_end(processor: Any) -> str:
    """The text that a chat template writes between a question and the reply."""
    chat = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    whole = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return whole.rpartition("?")[2]


def open_block(text: str) -> str:
    """The tag of a thinking block that a text opens and does not close; empty without one."""
    opened = [*_OPEN.finditer(text)]
    closed = max((tag.end() for tag in _CLOSED.finditer(text)), default=0)
    return opened[-1][0] if opened and opened[-1].start() >= closed else ""


def after_block(text: str) -> str:
    """The text after the last closed thinking block."""
    return text[max((tag.end() for tag in _CLOSED.finditer(text)), default=0) :]
