"""A base's processor: loaded with or without torchvision, and held to a limit of pixels.

In:   a checkpoint's folder.
Out:  its family's own processor, for pictures and text.

transformers makes videos with torchvision alone. Where that is missing, pictures are made with PIL
and the processor is built without its video part, which no picture needs.
"""

from math import isqrt
from pathlib import Path
from typing import Any

from transferscope.errors import DataError, MissingExtra, StudyError


def load_processor(folder: Path, trust_remote_code: bool = False) -> Any:
    """The processor of a folder's checkpoint, with a chat template.

    Raises:
        DataError: the folder has no processor, or one without a chat template.
        MissingExtra: it needs a library that is not installed.
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
            f"{folder}: its processor needs a library: {first_line(error)}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no processor: {first_line(error)}") from None
    if not getattr(made, "chat_template", None):
        raise DataError(f"{folder}: its processor has no chat template")
    return made


class _NoVideos:
    """Stands in a processor where its video part would: settings to be read, nothing to be done."""

    model_input_names = ()
    num_frames = fps = _auto_class = None


def _without_videos(folder: Path) -> Any:
    """A family's processor with `_NoVideos` in the video part's place.

    Raises:
        ImportError: it needs more than that.
    """
    from transformers import PROCESSOR_MAPPING, AutoConfig, AutoImageProcessor, AutoTokenizer

    family: Any = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(folder)), None)
    if family is None:
        raise ImportError("it needs torchvision: pip install torchvision")

    class Pictures(family):
        """Takes `_NoVideos` for a video part."""

        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            if isinstance(part, _NoVideos):
                return _NoVideos
            return super().check_argument_for_proper_class(name, part)

        def to_dict(self) -> dict[str, Any]:
            """The settings that there are."""
            its = super().to_dict()
            return {name: its[name] for name in its if name != "video_processor"}

    Pictures.__name__ = family.__name__
    makers = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
    names = Pictures.get_attributes()
    if other := [name for name in names if name not in (*makers, "video_processor")]:
        raise ImportError(f"its {other[0]} needs torchvision: pip install torchvision")
    parts = [
        makers[name].from_pretrained(folder) if name in makers else _NoVideos() for name in names
    ]
    settings, _ = Pictures.get_processor_dict(folder)
    return Pictures.from_args_and_dict(parts, settings)


def limit_pixels(config: Any, processor: Any, most: int) -> None:
    """Hold every picture to `most` pixels after resizing, by the family's own setting.

    Where a picture is cut into tiles, its tiles count and the overview of it does not.

    Args:
        config: the model's, which repeats some of the processor's settings.

    Raises:
        StudyError: the family has no such setting, or cannot go that low.
    """
    pictures = processor.image_processor
    size = dict(getattr(pictures, "size", None) or {})
    tile = _tile(pictures, size)
    if getattr(pictures, "merge_size", None) and "longest_edge" in size:  # edges that are pixels
        smallest = min(size["shortest_edge"], most)
        pictures.size = {"shortest_edge": smallest, "longest_edge": most}
        return
    if tile is None:
        raise StudyError(f"max_pixels: {type(pictures).__name__} has no limit of pixels; say null")
    area = tile[0] * tile[1]
    if area > most:
        raise StudyError(
            f"max_pixels: {type(pictures).__name__} makes pictures of {tile[0]} x {tile[1]} at "
            f"least; {area} or more, found {most}"
        )
    if hasattr(pictures, "max_image_size"):
        longest = isqrt(most) // tile[0] * tile[0]
        pictures.size = {"longest_edge": min(longest, size.get("longest_edge") or longest)}
    elif getattr(pictures, "image_grid_pinpoints", None):
        grids = [list(grid) for grid in pictures.image_grid_pinpoints if grid[0] * grid[1] <= most]
        pictures.image_grid_pinpoints = config.image_grid_pinpoints = grids or [list(tile)]
    elif hasattr(pictures, "max_patches"):
        pictures.max_patches = min(pictures.max_patches, most // area)
        pictures.min_patches = min(pictures.min_patches, pictures.max_patches)


def _tile(pictures: Any, size: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of what the vision tower takes, where that is always the same."""
    if edge := dict(getattr(pictures, "max_image_size", None) or {}).get("longest_edge"):
        return edge, edge
    crop = dict(getattr(pictures, "crop_size", None) or {})
    for its in (crop if getattr(pictures, "do_center_crop", None) else {}, size):
        if its.get("height") and its.get("width"):
            return its["height"], its["width"]
    return None


def first_line(error: Exception) -> str:
    """What an error says, up to the end of its first line that is no heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    end = next((place for place, line in enumerate(lines) if not line.endswith(":")), len(lines))
    return " ".join(lines[: end + 1]) or type(error).__name__
