"""What the names of files tell of the evaluation that wrote them.

In:   paths as text.
Out:  times, and the key of a mapping that would keep two files apart.
"""

import re
from pathlib import Path
from typing import NamedTuple

from transferscope.tasks.checkpoints import step_of

_SEED = re.compile(r"(?<![a-z])seed[-_ ]?(\d+)", re.I)
_TIME = re.compile(
    r"""(?<!\d)(?:
    (?P<iso>\d{4}-\d\d-\d\d(?:[T_ ]\d\d[-:]\d\d(?:[-:]\d\d(?:\.\d+)?)?)?)
    (?:[+-]\d\d[-:]\d\d)?                                    # zone: 2026-01-02T10-00-00+00-00
    | (?P<compact>20\d{6}(?:[_T-]?\d{4,6})?)(?:_G[0-9a-f]+)?  # 20260102_100000, 20260102_Gf00
    )(?!\d)""",
    re.X,
)
_SCORED = re.compile(
    r"_(?:(?:exact_matching|extract_matching|openai|chatgpt|gpt)[\w.-]*|auxmatch|judge)$"
)
"""How VLMEvalKit calls a table after scoring."""


class Identity(NamedTuple):
    """Which evaluation a file belongs to, by its path."""

    evaluation: str
    """The path without times and without the mark of a scored table: a rerun has the same."""
    time: str
    """The time in the path, as digits; "" where there is none."""


def identity(path: Path) -> Identity:
    """What a file's path says of the evaluation that wrote it."""
    text = str(path.parent / path.name.rsplit(".", 1)[0])
    times = [found["iso"] or found["compact"] for found in _TIME.finditer(text)]
    digits = re.sub(r"\D", "", times[-1]) if times else ""
    bare = [part.strip("_-. ") for part in Path(_TIME.sub("", text)).parts]
    return Identity(_SCORED.sub("", "/".join(bare)), digits)


def missing_key(one: str, two: str, *, base: bool) -> str:
    """The key of a mapping that would keep two files of one run apart, and how to give it."""
    steps = step_of(one), step_of(two)
    if not base and None not in steps and steps[0] != steps[1]:
        return f"`step` is missing: {steps[0]} for one and {steps[1]} for the other"
    seeds = [found[-1] if found else None for found in map(_SEED.findall, (one, two))]
    if None not in seeds and seeds[0] != seeds[1]:
        return f"`seed` is missing: {seeds[0]} for one and {seeds[1]} for the other"
    if base:
        return "`source` is missing: only the base has none"
    return "`source` is missing: give each a source of its own, or a `step` or `seed`"
