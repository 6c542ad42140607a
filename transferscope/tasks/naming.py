"""Names of tasks, models and measures as a person types them."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

BASES = {"base", "baseline", "none", "null", "nan", "na", "n/a", "-", "--"}
"""How people write "no source", in lower case."""
MEANS = {"average", "avg", "mean", "overall"}
"""What people call a mean over the targets, in lower case."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message on an unknown name: the nearest known one, and all of them."""
    names = [each if each.isprintable() else repr(each)[1:-1] for each in dict.fromkeys(known)]
    by_letters = {_letters(each): each for each in reversed(names)}
    near = get_close_matches(_letters(name), by_letters, n=1)
    hint = f"did you mean {by_letters[near[0]]!r}? " if near else ""
    return f"unknown {kind} {name[:80]!r}; {hint}known: {', '.join(names) or 'none'}"


def task_of(name: str, abbreviations: Mapping[str, str]) -> str | None:
    """The task of a name, of a name in another spelling (`relative depth`), or of an abbreviation.

    Args:
        abbreviations: {name: abbreviation} of the known tasks.

    Returns:
        The name; None where no task, or more than one, is meant.
    """
    if name in abbreviations:
        return name
    for by in (abbreviations, abbreviations.values()):
        found = [
            t for t, text in zip(abbreviations, by, strict=True) if _letters(text) == _letters(name)
        ]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _letters(name: str) -> str:
    """A name without case, spaces and punctuation; shortened, as names are untrusted."""
    return re.sub(r"[\W_]+", "", name).lower()[:80]
