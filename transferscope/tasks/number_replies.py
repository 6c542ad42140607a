"""Read the number in a reply, and score it.

The first number counts, in digits or in English words, with any text around it.
"""

import re

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Confidence thresholds; spaced by `linspace`, as the benchmark's code does, so that numbers on a
threshold fall on the same side."""

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_WORD = "|".join(sorted(_VALUES, key=len, reverse=True))
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−]|(?:minus|negative)\s)?(?:"
    r"(?P<over>\d+)\s?[/⁄]\s?(?P<under>[1-9]\d*)"
    r"|(?P<grouped>[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)(?!\d)"
    r"|(?P<plain>\d+(?:[.,]\d+)?|\.\d+)(?P<power>e[-+]?\d{1,3}\b)?"
    rf"|(?P<words>(?:{_WORD}|hundred)(?:(?:\s+and\s+|[\s-]+)(?:{_WORD}|hundred))*)\b"
    r")",
    re.I,
)


def read_number(reply: str) -> float | None:
    """The first number in a reply; None where there is no number.

    `3`, `about 3.5 meters`, `3,5` (a comma before other than three digits is a decimal point),
    `1,200`, `1/2`, `minus 2` and `twenty-one` are understood.
    """
    found = _NUMBER.search(reply)
    if found is None:
        return None
    if found["over"]:
        value = int(found["over"]) / int(found["under"])
    elif found["grouped"]:
        value = float(found["grouped"].replace(",", ""))
    elif found["plain"]:
        value = float(found["plain"].replace(",", ".") + (found["power"] or ""))
    else:
        value = 0.0
        for word in re.split(r"[\s-]+", found["words"].lower()):
            value = max(value, 1) * 100 if word == "hundred" else value + _VALUES.get(word, 0)
    return -value if found["sign"] else value


def number_is_final(reply: str) -> bool:
    """Whether nothing that may follow can change the number that is read."""
    found = _NUMBER.search(reply)
    return bool(found and not found["words"] and re.match(r"\s*[^\s\d.,/e]", reply[found.end() :]))


def mean_relative_accuracy(number: float, truth: float) -> float:
    """Score of a number in [0, 1]: the share of thresholds theta that it meets.

        mean over theta in {.50, .55, ..., .95} of  1[ |number - truth| / truth <= 1 - theta ]

    1 within 5 % of the truth, 0 where it is more than half of it away. Where the truth is 0, the
    absolute error counts, for there is no relative one.

    Source:
        Yang et al., "Thinking in Space", eq. 1, with `<=`, as in the benchmark's code, where the
        paper prints `<`.
    """
    error = abs(number - truth) / (abs(truth) or 1)
    return float((error <= 1 - THRESHOLDS).mean())
