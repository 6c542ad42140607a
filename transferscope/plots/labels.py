"""Names and numbers as a reader sees them.

Names of tasks and models come from files and are not to be trusted: here they become plain,
unique, printable labels. They stay text everywhere else too, as the page escapes them and a chart
holds them as data only.

In:   an `Analysis`.
Out:  strings. A number that is not known is a dash.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlencode

from transferscope.analysis import Analysis, Interval, ModelAnalysis
from transferscope.analysis.settings import Settings
from transferscope.matrix.behavior_record import Answers, letter, says
from transferscope.study.controls import PLACEBOS, REORDERED
from transferscope.tasks import GRANULARITIES, LEVELS
from transferscope.tasks.checkpoints import checkpoint

UNKNOWN = "–"
TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Codes of text's direction that last until they are taken back."""
MEASURES = {"pgf": "PGF", "relative_gain": "relative gain", "raw_gain": "raw gain"}


class Labels(NamedTuple):
    """Labels of tasks by their names; no two tasks share one."""

    long: dict[str, str]
    """For where there is room: `Relative Depth`."""
    short: dict[str, str]
    """For axes and nodes: `RD`."""


def labels(analysis: Analysis) -> Labels:
    """Labels of every task of the analysis."""
    names = [task.name for task in analysis.tasks]
    long = _unique([clean(name).replace("_", " ").strip() or "(no name)" for name in names])
    short = _unique([clean(task.abbreviation).strip() or "?" for task in analysis.tasks])
    return Labels(
        dict(zip(names, long, strict=True)),
        dict(zip(names, short, strict=True)),
    )


def same_task(source: str, target: str) -> bool:
    """Whether an effect is self-transfer; a checkpoint's task is the one it finetunes on."""
    return checkpoint(source).task == target


def model_labels(analysis: Analysis) -> dict[str, str]:
    """Labels of every model of the analysis, unique and in the order of its models."""
    names = list(analysis.models)
    return dict(zip(names, _unique([clean(name) for name in names]), strict=True))


def clean(text: str) -> str:
    """`text` without what breaks a line or a file format: control and lone surrogate codes.

    Nor what turns the direction of all that follows it, numbers too.
    """
    return "".join(
        "\ufffd"
        if unicodedata.category(letter) in {"Cc", "Cs", "Cn", "Zl", "Zp"} or letter in TURNS
        else letter
        for letter in text
    )


def _unique(texts: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    taken = set(texts)
    answer = []
    for text in texts:
        seen[text] += 1
        label = text
        while seen[text] > 1 and label in taken:
            label = f"{text} ({seen[text]})"
            seen[text] += label in taken
        taken.add(label)
        answer.append(label)
    return answer


def link(**view: str) -> str:
    """The address, after its `#`, of a view of the page's explorer: labels by their keys."""
    return urlencode(view)


def spelled(text: str, names: Labels) -> str:
    """A sentence of the analysis with the labels of tasks: `Art_Style` as `Art Style`."""
    for name in sorted((n for n in names.long if "_" in n), key=len, reverse=True):
        label = names.long[name].replace("\\", r"\\")
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", label, text)
    return text


def with_links(text: str, links: dict[str, str]) -> list[tuple[str, str]]:
    """`text` in pieces, each with its address in the explorer, empty for what has none."""
    if not links:
        return [(text, "")]
    pattern = "|".join(re.escape(each) for each in sorted(links, key=len, reverse=True))
    pieces = re.split(rf"(?<!\w)({pattern})(?!\w)", text)
    return [(piece, links.get(piece, "") if n % 2 else "") for n, piece in enumerate(pieces)]


def known(value: float) -> float | None:
    """`value`, or None where it is NaN or infinite: charts and JSON have no such numbers."""
    return value if math.isfinite(value) else None


def has_interval(interval: Interval) -> bool:
    """Whether both ends are known."""
    return all(math.isfinite(end) for end in interval)


def from_zero(interval: Interval) -> bool | None:
    """Whether the interval excludes 0; None where there is no interval."""
    return (interval[0] > 0 or interval[1] < 0) if has_interval(interval) else None


def signed(value: float, digits: int = 2) -> str:
    """An effect: `+0.12`, `−0.30`, `0.00`."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def plain(value: float, digits: int = 2) -> str:
    """A number without a plus sign."""
    return signed(value, digits).lstrip("+")


def between(interval: Interval, digits: int = 2) -> str:
    """An interval of effects: `−0.05 to +0.12`, or a dash.

    An end that is not 0 but would be written so gets more digits where the interval leaves 0 out:
    `−2.88 to −0.004`.
    """
    if not has_interval(interval):
        return UNKNOWN
    return " to ".join(_end(end, digits, exact=bool(from_zero(interval))) for end in interval)


def _end(value: float, digits: int, *, exact: bool) -> str:
    while exact and digits < 6 and float(f"{value:.{digits}f}") == 0:
        digits += 1
    return signed(value, digits)


def percent(value: float) -> str:
    """A fraction as percent: `41%`."""
    return f"{100 * value:.0f}%".replace("-", "−") if math.isfinite(value) else UNKNOWN


def chance(value: float) -> str:
    """A p- or q-value: `0.03`, `0.051`, `0.002`, `< 0.001`.

    What two digits would write as 0.05 gets three: it matters on which side of it one is.
    """
    if not math.isfinite(value):
        return UNKNOWN
    if value < 0.001:
        return "< 0.001"
    text = f"{value:.2f}"
    return f"{value:.3f}" if value < 0.01 or text == "0.05" else text


def in_order(categories: Iterable[str]) -> list[str]:
    """Categories, once each, from low to high and from pixel to image; unknown ones last."""
    order = (*LEVELS, *GRANULARITIES)
    found = dict.fromkeys(categories)
    return [c for c in order if c in found] + [c for c in found if c not in order]


def listed(items: Iterable[str]) -> str:
    """`a, b and c`."""
    words = list(items)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(number: int, word: str) -> str:
    """`1 seed`, `4 seeds`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def row_label(task: str, names: Labels) -> str:
    """A task's full name, with the abbreviation that columns use."""
    long, short = names.long[task], names.short[task]
    return long if long == short else f"{long} · {short}"


def control_label(name: str) -> str:
    """A control's name and what it is."""
    return f"{clean(name)} · {control_kind(name)}"


def control_kind(name: str) -> str:
    """What a control is: `placebo`, `no finetune`, or `mixture` where it is a user's own."""
    if name in PLACEBOS:
        return "placebo"
    return "no finetune" if name == REORDERED else "mixture"


def answer_words(answers: Answers) -> str:
    """How one cell's answers are given: `always A`, `A 31%, B 69%`, `always A in 2 of 4 seeds`."""
    parts = [f"{letter(n)} {percent(share)}" for n, share in enumerate(answers.letters)]
    words = says(answers) if answers.collapsed else ", ".join(parts)
    unread = [f"{percent(answers.unreadable)} unreadable"] if answers.unreadable > 0 else []
    return "; ".join([*([words] if words else []), *unread]) or UNKNOWN


def covers(model: ModelAnalysis, settings: Settings) -> str:
    """One sentence that says what this model's intervals account for."""
    seeds = counted(len(model.seeds), "seed")
    if model.basis == "none":
        why = "preset paper" if settings.preset == "paper" else "nothing to resample"
        return f"No intervals ({seeds}; {why})."
    source = {
        "predictions": "; items paired with the base",
        "counts": "; items from counts of correct answers",
        "none": "",
    }[model.items if "items" in model.basis else "none"]
    missing = {
        "seeds and items": "",
        "seeds": ", not the choice of items",
        "items": ", not the choice of seed",
    }[model.basis]
    share = percent(1 - settings.alpha)
    return f"{share} intervals cover {model.basis}{missing} ({seeds}{source})."
