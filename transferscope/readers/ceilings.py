"""A ceiling as a user gives it: a fraction, `self`, or a table of one fraction for each target.

In:   the text of an option.
Out:  what `matrix.apply_ceiling` takes.
"""

from pathlib import Path

from transferscope.errors import DataError
from transferscope.matrix import Ceiling
from transferscope.predictions import shown
from transferscope.readers.files import read_file


def read_ceiling(text: str) -> Ceiling:
    """The ceiling that the text names.

    Args:
        text: a number, `self`, or the path of a CSV or Parquet file with columns `target` and
            `ceiling`.

    Raises:
        DataError: it is none of these, or the table has other columns, a target twice, or a value
            that is not a number.
    """
    if text == "self":
        return "self"
    try:
        return float(text)
    except ValueError:
        pass
    if not Path(text).exists():
        raise DataError(
            f"ceiling {shown(text)!r} is not a number, not 'self', and no such file exists"
        )
    raw = read_file(text)
    for column in ("target", "ceiling"):
        if column not in raw.frame.columns:
            found = ", ".join(map(repr, raw.frame.columns))
            raise DataError(
                f"{raw.name}: no column {column!r}; expected target, ceiling; found {found}"
            )
    ceilings: dict[str, float] = {}
    rows = raw.frame.select("target", "ceiling").rows()
    for line, (target, value) in zip(raw.lines.tolist(), rows, strict=True):
        if target in ceilings:
            raise DataError(f"{raw.name}: row {line}: target {target!r} has a ceiling already")
        try:
            ceilings[str(target)] = float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"{raw.name}: row {line}: ceiling is {value!r}, expected a fraction in (0, 1]"
            ) from None
    return ceilings
