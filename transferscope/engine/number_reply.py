"""Read the number in a reply, or say that there is none.

The first number counts, in digits or in English words, whatever stands around it.
"""

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_SMALL)}
_VALUES |= {word: 10 * value for value, word in enumerate(_TENS, 2)}
_WORD = "|".join(sorted(_VALUES, key=len, reverse=True))
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−])?(?:"
    r"(?P<over>\d+)\s?/\s?(?P<under>[1-9]\d*)"
    r"|(?P<grouped>\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?!\d)"
    r"|(?P<plain>\d+(?:[.,]\d+)?|\.\d+)(?P<power>e[-+]?\d{1,3}\b)?"
    rf"|(?P<words>(?:{_WORD}|hundred)(?:(?:\s+and\s+|[\s-]+)(?:{_WORD}|hundred))*)\b"
    r")",
    re.I,
)


def read_number(reply: str) -> float | None:
    """The number that a reply says first; None where it says none.

    `3`, `about 3.5 meters`, `3,5` (a comma before other than three digits is a decimal point),
    `1,200`, `1/2` and `twenty-one` are understood.
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
        value = float(_in_words(found["words"]))
    return -value if found["sign"] else value


def number_is_settled(reply: str) -> bool:
    """Whether nothing that may still come changes what is read."""
    found = _NUMBER.search(reply)
    return bool(found and not found["words"] and re.match(r"\s*[^\s\d.,/e]", reply[found.end() :]))


def _in_words(text: str) -> int:
    total = 0
    for word in re.split(r"[\s-]+", text.lower()):
        if word == "hundred":
            total = max(total, 1) * 100
        else:
            total += _VALUES.get(word, 0)
    return total
