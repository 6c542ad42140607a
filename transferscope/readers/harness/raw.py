"""Single values of a foreign file, which may hold anything anywhere."""

import math
from typing import Any


def at(value: Any, *keys: str | int) -> Any:
    """The value below nested keys and indices of parsed JSON; None if one of them is missing."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def object(value: Any, *keys: str | int) -> dict[str, Any]:
    """The value `at` the keys if it is a JSON object, else an empty one."""
    found = at(value, *keys)
    return found if isinstance(found, dict) else {}


def array(value: Any, *keys: str | int) -> list[Any]:
    """The value `at` the keys if it is a JSON list, else an empty one."""
    found = at(value, *keys)
    return found if isinstance(found, list) else []


def string(value: Any, *keys: str | int) -> str | None:
    """The value `at` the keys if it is a string, else None."""
    found = at(value, *keys)
    return found if isinstance(found, str) else None


def text(value: Any, *keys: str | int) -> str:
    """The value `at` the keys as text: whole floats without decimal point, missing values as ""."""
    found = at(value, *keys)
    if found is None or (isinstance(found, float) and math.isnan(found)):
        return ""
    if isinstance(found, float) and found.is_integer() and abs(found) < 1e15:
        return str(int(found))
    return str(found)


def number(value: Any, *keys: str | int) -> float | None:
    """The value `at` the keys as a finite number, also from text; None for anything else."""
    found = at(value, *keys)
    if isinstance(found, str):
        text = found.strip().lower()
        try:
            found = text == "true" if text in ("true", "false") else float(text)
        except ValueError:
            return None
    if isinstance(found, int | float) and abs(found) < 1e300 and math.isfinite(found):
        return float(found)
    return None


def fraction(value: Any, *keys: str | int) -> float | None:
    """The value `at` the keys as a number in [0, 1]; None for anything else."""
    found = number(value, *keys)
    return found if found is not None and 0 <= found <= 1 else None


def messages(given: Any, key: str = "content") -> str:
    """The text of a prompt: a string, or the texts of messages, whole or in parts, under `key`."""
    if isinstance(given, str):
        return given
    texts: list[str | None] = []
    for message in array(given):
        parts = [string(part, "text") for part in array(message, key)]
        texts += parts or [string(message, key)]
    return "\n".join(text for text in texts if text is not None)
