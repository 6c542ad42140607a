"""What a file is that no reader takes, in words for a note.

In:   a file's path and its content, where it has one.
Out:  a few words, or None for what lies in every checkpoint's folder and is no result.
"""

import re
from pathlib import Path

from transferscope.readers.harness.record import Content

_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a file of HELM", ("adapter_spec",)),
    ("a training log", ("log_history", "global_step")),
)
"""Keys of a file's first object that tell what it is."""
_RESULTS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".eval", ".pkl", ".parquet")
_CHECKPOINT = re.compile(
    r"((.*_)?config|tokenizer|special_tokens_map|added_tokens|vocab|chat_template|trainer_state"
    r"|training_args|(train|all)_results|.*\.index)\.json"
)
"""Files that lie in every checkpoint's folder."""


def described(path: Path, content: Content | None) -> str | None:
    """What a file is that is no result of a known harness; None where that needs no word."""
    ending = path.suffix.lower()
    if content is None and ending == ".pkl":
        return "a pickle, which is never opened; let the harness write tables or JSON"
    if content is None and ending == ".eval":
        return "an Inspect log"
    if ending not in _RESULTS or _CHECKPOINT.fullmatch(path.name):
        return None
    first = content.first if content is not None else {}
    known = (what for what, keys in _KEYS if first.keys() >= set(keys))
    return next(known, "no file of a known harness")
