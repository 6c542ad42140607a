"""An analysis as the bytes of `analysis.json`, and back.

In:   an `Analysis`, or bytes from anywhere: they are checked, field by field.
Out:  the other.
"""

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from transferscope.analysis import Analysis
from transferscope.errors import DataError


def to_json(analysis: Analysis) -> bytes:
    """The analysis as the bytes of `analysis.json`: ASCII, NaN as null, keys in reading order."""
    # Not pydantic: building its schema takes a third of a second, and nothing needs checking here.
    return json.dumps(plain(analysis), indent=1).encode() + b"\n"


def plain(value: Any) -> Any:
    """What JSON can hold: records as dicts, NaN as None."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(data: bytes, name: str = "the analysis") -> Analysis:
    """The analysis that `to_json` wrote.

    Raises:
        DataError: the bytes are not an analysis of schema 1; the message names the file and field.
    """
    try:
        analysis = TypeAdapter(Analysis).validate_json(data)
        if not (analysis.tasks and analysis.models):
            raise DataError(f"{name}: without tasks or models; expected an analysis, schema 1")
        return analysis
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{name}: {where}: {first['msg']}; expected an analysis, schema 1"
        ) from None
