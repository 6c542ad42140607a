"""Labels and sentences as a reader sees them.

Names of tasks and models come from files and are untrusted. Here they become plain, unique,
printable labels; the page escapes them, and a chart holds them as data only.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlencode

from transferscope.analysis import Analysis
from transferscope.matrix.measure import MEASURES as RECORDS
from transferscope.plots.numbers import percent
from transferscope.study.controls import PLACEBOS, REORDERED
from transferscope.tasks import GRANULARITIES, LEVELS

TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidi control characters: each changes the direction of all text up to a closing one."""
MEASURES = {name: measure.label for name, measure in RECORDS.items()}
"""{measure: label}"""


class Labels(NamedTuple):
    """{name: label} of tasks and models; no two share one."""

    long: dict[str, str]
    """Full names: `Relative Depth`."""
    short: dict[str, str]
    """Abbreviations, for axes and nodes: `RD`."""
    models: dict[str, str]
    """In the order of the analysis."""


def labels(analysis: Analysis) -> Labels:
    """Labels of every task and model of the analysis."""
    names = [task.name for task in analysis.tasks]
    long = _unique([clean(name).replace("_", " ").strip() or "(no name)" for name in names])
    short = _unique([clean(task.abbreviation).strip() or "?" for task in analysis.tasks])
    models = _unique([clean(name) for name in analysis.models])
    pairs = ((names, long), (names, short), (analysis.models, models))
    return Labels(*(dict(zip(*pair, strict=True)) for pair in pairs))


def clean(text: str) -> str:
    """`text` with control, line-break, bidi and lone surrogate characters replaced."""
    if text.isprintable():  # as nearly every name is
        return text
    bad = {"Cc", "Cs", "Cn", "Zl", "Zp"}
    return "".join(
        "\ufffd" if unicodedata.category(each) in bad or each in TURNS else each for each in text
    )


def _unique(texts: list[str]) -> list[str]:
    found: dict[str, None] = {}
    for text in texts:
        label, number = text, 1
        while label in found or (number > 1 and label in texts):
            number += 1
            label = f"{text} ({number})"
        found[label] = None
    return list(found)


def link(**view: str) -> str:
    """The part after `#` of a link to a view of the page; values are labels."""
    return urlencode(view)


def spelled(text: str, names: Labels) -> str:
    """A sentence of the analysis with task labels: `Art_Style` becomes `Art Style`."""
    for name in sorted((n for n in names.long if "_" in n), key=len, reverse=True):
        label = names.long[name].replace("\\", r"\\")
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", label, text)
    return text


def in_order(categories: Iterable[str]) -> list[str]:
    """Distinct categories, from low to high and from pixel to image; unknown ones last."""
    order = (*LEVELS, *GRANULARITIES)
    found = dict.fromkeys(categories)
    return [c for c in order if c in found] + [c for c in found if c not in order]


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


def accounts(analysis: Analysis, model: str | None = None) -> str:
    """What the intervals of a model account for, or those of all, once where they agree."""
    names, settings, sentences = labels(analysis).models, analysis.settings, dict[str, str]()
    sources = {
        "predictions": "; items paired with the base",
        "counts": "; items from counts of correct answers",
    }
    missing = {"seeds": ", not the choice of items", "items": ", not the choice of seed"}
    for name in names if model is None else [model]:
        one = analysis.models[name]
        seeds = counted(len(one.seeds), "seed")
        source = sources.get(one.items, "") if "items" in one.basis else ""
        basis = one.basis + missing.get(one.basis, "")
        covers = f"{percent(1 - settings.alpha)} intervals cover {basis} ({seeds}{source})."
        why = "preset paper" if settings.preset == "paper" else "items unknown"
        none = f"No intervals ({seeds}; {why})."
        sentences[names[name]] = none if one.basis == "none" else covers
    if len(set(sentences.values())) == 1:
        return next(iter(sentences.values()))
    return " ".join(f"{label}: {sentence}" for label, sentence in sentences.items())
