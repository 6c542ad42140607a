"""Labels, numbers and sentences as a reader sees them.

Names of tasks and models come from files and are untrusted. Here they become plain, unique,
printable labels; the page escapes them, and a chart holds them as data only. An unknown number is
a dash.
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
from transferscope.matrix.collapse import Answers, describe_answers, letter
from transferscope.matrix.measure import MEASURES as RECORDS
from transferscope.study.controls import PLACEBOS, REORDERED
from transferscope.tasks import GRANULARITIES, LEVELS
from transferscope.tasks.checkpoints import checkpoint

UNKNOWN = "–"
TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidi control characters: each changes the direction of all text up to a closing one."""
MEASURES = {name: measure.label for name, measure in RECORDS.items()}
"""{measure: label}"""


class Labels(NamedTuple):
    """{task name: label}; no two tasks share one."""

    long: dict[str, str]
    """Full names: `Relative Depth`."""
    short: dict[str, str]
    """Abbreviations, for axes and nodes: `RD`."""


def labels(analysis: Analysis) -> Labels:
    """Labels of every task of the analysis."""
    names = [task.name for task in analysis.tasks]
    long = _unique([clean(name).replace("_", " ").strip() or "(no name)" for name in names])
    short = _unique([clean(task.abbreviation).strip() or "?" for task in analysis.tasks])
    return Labels(*(dict(zip(names, each, strict=True)) for each in (long, short)))


def same_task(source: str, target: str) -> bool:
    """Whether an effect is self-transfer; a checkpoint's task is the one it finetunes on."""
    return checkpoint(source).task == target


def model_labels(analysis: Analysis) -> dict[str, str]:
    """{model name: label}, unique, in the order of the analysis."""
    names = list(analysis.models)
    return dict(zip(names, _unique([clean(name) for name in names]), strict=True))


def clean(text: str) -> str:
    """`text` with control, line-break, bidi and lone surrogate characters replaced."""
    bad = {"Cc", "Cs", "Cn", "Zl", "Zp"}
    return "".join(
        "\ufffd" if unicodedata.category(each) in bad or each in TURNS else each for each in text
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
    """The part after `#` of a link into the page's explorer; values are labels."""
    return urlencode(view)


def spelled(text: str, names: Labels) -> str:
    """A sentence of the analysis with task labels: `Art_Style` becomes `Art Style`."""
    for name in sorted((n for n in names.long if "_" in n), key=len, reverse=True):
        label = names.long[name].replace("\\", r"\\")
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", label, text)
    return text


def with_links(text: str, links: dict[str, str]) -> list[tuple[str, str]]:
    """`text` in pieces, each with a link into the explorer or an empty string."""
    if not links:
        return [(text, "")]
    pattern = "|".join(re.escape(each) for each in sorted(links, key=len, reverse=True))
    pieces = re.split(rf"(?<!\w)({pattern})(?!\w)", text)
    return [(piece, links.get(piece, "") if n % 2 else "") for n, piece in enumerate(pieces)]


def known(value: float) -> float | None:
    """`value`, or None for NaN and infinity, which charts and JSON cannot hold."""
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

    An interval without 0 never shows an end as 0.00: `−2.88 to −0.004`.
    """
    if not has_interval(interval):
        return UNKNOWN
    ends = []
    for end in interval:
        places = digits
        while from_zero(interval) and places < 6 and float(f"{end:.{places}f}") == 0:
            places += 1
        ends.append(signed(end, places))
    return " to ".join(ends)


def bracketed(interval: Interval, digits: int = 2) -> str:
    """` (−0.05 to +0.12)`, or nothing where the interval is unknown."""
    return f" ({between(interval, digits)})" if has_interval(interval) else ""


def percent(value: float) -> str:
    """A fraction as percent: `41%`."""
    return f"{100 * value:.0f}%".replace("-", "−") if math.isfinite(value) else UNKNOWN


def chance(value: float) -> str:
    """A p- or q-value: `0.03`, `0.051`, `0.002`, `< 0.001`.

    A value that rounds to 0.05 gets a third digit, which shows the side of 0.05.
    """
    if not math.isfinite(value):
        return UNKNOWN
    if value < 0.001:
        return "< 0.001"
    text = f"{value:.2f}"
    return f"{value:.3f}" if value < 0.01 or text == "0.05" else text


def in_order(categories: Iterable[str]) -> list[str]:
    """Distinct categories, from low to high and from pixel to image; unknown ones last."""
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
    """A control's name and kind: `format-only · placebo`."""
    return f"{clean(name)} · {control_kind(name)}"


def control_kind(name: str) -> str:
    """`placebo`, `no finetune`, or `mixture` for a control of the user's own."""
    if name in PLACEBOS:
        return "placebo"
    return "no finetune" if name == REORDERED else "mixture"


def answer_words(answers: Answers) -> str:
    """The options that a cell's replies choose: `A 31%, B 69%`, `always A in 2 of 4 seeds`."""
    parts = [f"{letter(n)} {percent(share)}" for n, share in enumerate(answers.letters)]
    words = describe_answers(answers) if answers.collapsed else ", ".join(parts)
    unread = [f"{percent(answers.unreadable)} unreadable"] if answers.unreadable > 0 else []
    return "; ".join([*([words] if words else []), *unread]) or UNKNOWN


def covers(model: ModelAnalysis, settings: Settings) -> str:
    """One sentence: what this model's intervals account for."""
    seeds = counted(len(model.seeds), "seed")
    if model.basis == "none":
        why = "preset paper" if settings.preset == "paper" else "nothing to resample"
        return f"No intervals ({seeds}; {why})."
    sources = {
        "predictions": "; items paired with the base",
        "counts": "; items from counts of correct answers",
    }
    source = sources.get(model.items, "") if "items" in model.basis else ""
    missing = {"seeds": ", not the choice of items", "items": ", not the choice of seed"}
    more = missing.get(model.basis, "")
    share = percent(1 - settings.alpha)
    return f"{share} intervals cover {model.basis}{more} ({seeds}{source})."


def accounts(analysis: Analysis, names: Iterable[str]) -> str:
    """What the intervals of several models account for, once where all agree."""
    return _once(
        analysis, {name: covers(analysis.models[name], analysis.settings) for name in names}
    )


def seeds_of(analysis: Analysis, names: Iterable[str]) -> str:
    """`Means over 4 seeds.`, by model where they differ."""
    counts = {name: len(analysis.models[name].seeds) for name in names}
    return _once(analysis, {k: f"Means over {counted(n, 'seed')}." for k, n in counts.items()})


def _once(analysis: Analysis, sentences: dict[str, str]) -> str:
    if len(set(sentences.values())) == 1:
        return next(iter(sentences.values()))
    labels = model_labels(analysis)
    return " ".join(f"{labels[name]}: {sentence}" for name, sentence in sentences.items())
