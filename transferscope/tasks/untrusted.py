"""The guard at the edge: every file that somebody else made is read through here.

Nothing read here can run code, call another program, fill the memory from a few bytes, or change
what a terminal shows. A problem is a `ValueError` with one line of text, without the file's name:
the caller knows which file, row and remedy to name.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import yaml

from transferscope.errors import DataError, TransferscopeError

if TYPE_CHECKING:
    import polars as pl
    from PIL.Image import Image
    from pydantic import ValidationError

MAX_PIXELS = 50_000_000
"""Larger images are refused: a small file can claim any size."""
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "AVIF")
"""Formats that are read. EPS and its like are not: Pillow calls other programs for them."""
UNKNOWN_FORMAT = "is not an image of a supported format, such as PNG, JPEG or WebP"

MAX_YAML_VALUES = 1_000_000
"""Values in a YAML text, counted again wherever an alias (`*name`) repeats them."""
MAX_ROWS = 1_000_000
"""Rows that a Parquet file may always have, and above that 8 for each of its bytes."""

_TERMINAL = re.compile(
    r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def shown(name: str) -> str:
    """A name for a message, on one line: a character that does not print is escaped."""
    return name if name.isprintable() else repr(name)[1:-1]


def for_terminal(text: str) -> str:
    """Text whose colors pass; other escape sequences, controls and bidi marks become U+FFFD."""
    return _TERMINAL.sub("\ufffd", text)


def read_text(
    path: Path, error: type[TransferscopeError] = DataError, *, missing: str = "not found"
) -> str:
    """The UTF-8 text of a regular file, without its byte order mark; line ends become `\\n`.

    Args:
        error: what is raised; the message begins with the path.
        missing: the rest of the message where there is no such file.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise OSError(EINVAL, "expected a file")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error(f"{path}: {missing}") from None
    except UnicodeDecodeError as problem:
        where = f"{problem.reason} at byte {problem.start}"
        raise error(f"{path}: not UTF-8 text: {where}") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None
    except ValueError:
        raise error(f"{shown(str(path))}: not a valid path") from None


class _Loader(yaml.SafeLoader):
    """YAML without tags that make objects, and without two values under one key."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value in node.value:
        key, mark = loader.construct_object(key_node, deep=True), key_node.start_mark
        if not isinstance(key, str | int):
            problem = "a key must be a name or a whole number"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        if key in found:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is given twice", problem_mark=mark)
        found[key] = loader.construct_object(value, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_yaml(text: str | bytes) -> Any:
    """The plain values of a YAML text: no tags that make objects, no key twice, no alias bomb.

    Any other text is a `ValueError`, whose one line of text names the text's line.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        loader = _Loader(text)
        if (node := loader.get_single_node()) is None:
            return None
        if _values(node, {}) > MAX_YAML_VALUES:
            raise ValueError(f"more than {MAX_YAML_VALUES:,} values, each alias counted in full")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = str(getattr(error, "problem", None) or error)
        raise ValueError(line + " ".join(problem.split())) from None
    except OverflowError as error:  # such as a date in the year 10000
        raise ValueError(str(error)) from None


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to."""
    if id(node) not in known:
        known[id(node)] = -1  # until all nodes below it are counted
        below = node.value if isinstance(node, yaml.CollectionNode) else ()
        each = [one for part in below for one in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_values(one, known) for one in each)
    if known[id(node)] < 0:
        raise ValueError("an alias stands within the value that it names")
    return known[id(node)]


def load_json(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """The value of a JSON text, or a `ValueError`; `unique_keys` refuses a key given twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice[:60]!r} is given twice")
    return found


def json_lines(text: str, *, unique_keys: bool = False) -> Iterator[tuple[int, Any]]:
    """Line numbers and values of JSON lines; a damaged line has its `ValueError` as its value.

    Blank lines are skipped. A line ends at a line feed alone: JSON text may hold what `splitlines`
    takes for a line end too, such as U+2028.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = load_json(line, unique_keys=unique_keys)
        except ValueError as error:
            value = error
        yield number, value


def first_problem(error: "ValidationError") -> str:
    """The first thing that pydantic found wrong, with its field, on one line."""
    first = error.errors()[0]
    found = f"; found {str(first['input'])[:60]!r}" if first["type"] != "missing" else ""
    field = ".".join(map(str, first["loc"]))
    problem = f"{field}: {first['msg'].removeprefix('Value error, ')}"
    return f"{problem if field else 'expected keys and values'}{found}"


def read_parquet(
    source: Path | bytes, columns: Sequence[str] | None = None, *, flat: bool = False
) -> "pl.DataFrame":
    """A Parquet table's columns of these names, as far as it has them; None: all columns.

    Args:
        flat: leave columns of lists and the like empty: a few bytes may hold a list of any length.

    Raises:
        ValueError: it cannot be read, or has more rows than its bytes can honestly hold.
    """
    import polars as pl

    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        known = pl.read_parquet_schema(source)
        nested = {name: kind for name, kind in known.items() if flat and kind.is_nested()}
        wanted = [name for name in columns or known if name in known and name not in nested]
        most = max(MAX_ROWS, 8 * size)
        frame = pl.read_parquet(source, columns=wanted, n_rows=most + 1)
        if frame.height > most:
            rows = int(pl.scan_parquet(source).select(pl.len()).collect().item())
            raise ValueError(f"{rows:,} rows in {size:,} bytes; at most {most:,} are allowed")
        return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in nested.items())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise ValueError("not a readable Parquet file; was it cut short?") from None


class ImageTooLarge(ValueError):
    """An image of more than `MAX_PIXELS`; the message has their number."""


def open_image(source: Path | BinaryIO) -> "Image":
    """An image in RGB, turned upright by its EXIF entry.

    Transparent parts become white, 16-bit gray 8-bit; of an animation, the first frame counts.

    Raises:
        FileNotFoundError: there is no such file.
        ImageTooLarge: it has more than `MAX_PIXELS`.
        ValueError: it is damaged or of an unknown format.
    """
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with _opened(source) as image:
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except (FileNotFoundError, ImageTooLarge, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ValueError(UNKNOWN_FORMAT) from None
    except Exception as error:  # at a damaged file Pillow raises any class
        problem = " ".join(str(error).split())
        raise ValueError(f"cannot be decoded as an image: {problem}") from None


def image_problem(source: Path | BinaryIO) -> str | None:
    """What is wrong with an image's header, or None; a missing file is a `FileNotFoundError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(source):
            return None
    except FileNotFoundError:
        raise
    except ImageTooLarge as error:
        return str(error)
    except UnidentifiedImageError:
        return UNKNOWN_FORMAT
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split())
        return f"is not an image: {problem}"


@contextmanager
def _opened(source: Path | BinaryIO) -> Generator["Image"]:
    from PIL import Image

    Image.init()
    formats = [name for name in IMAGE_FORMATS if name in Image.OPEN]  # this Pillow may lack some
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about size (refused below) and odd EXIF entries
        with Image.open(source, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                problem = f"has {width} x {height} pixels; at most {MAX_PIXELS:,} are allowed"
                raise ImageTooLarge(problem)
            yield image


def _rgb(image: "Image") -> "Image":
    """The image in RGB, on white."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would cut off at 255
        gray = np.clip((np.asarray(image, np.int64) + 128) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB")
    if image.mode == "F":
        raise ValueError("gray in floating point has no defined white")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB")
