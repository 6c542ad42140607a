"""What to train on, target by target, as the page lists it.

In:   an `Analysis`; `selection` chooses.
Out:  rows of text. Nothing here is escaped: the template does that.
"""

import math
from typing import NamedTuple

from transferscope.analysis import Analysis
from transferscope.plots.text import (
    Labels,
    between,
    labels,
    link,
    model_labels,
    percent,
    signed,
    spelled,
)
from transferscope.plots.accuracy_points import of_effect, points
from transferscope.selection import Mixture, mixtures

SOURCES = 4
"""Sources of a mixture that are named."""


class Part(NamedTuple):
    """One source of a mixture."""

    source: str
    share: str
    link: str
    """The address of its effect on the target."""


class Advice(NamedTuple):
    """What to train on for one target."""

    target: str
    name: str
    """The target's name as it was given."""
    sources: list[Part]
    """Those with the largest shares."""
    more: int
    """How many others there are."""
    expected: str
    interval: str
    change: str
    """`expected` in points of accuracy; empty where they are not known."""
    note: str
    """What to know of this target, such as what a placebo alone does."""


class Training(NamedTuple):
    """What to train on, target by target."""

    model: str
    """Whose matrix was read: the last, hence largest."""
    rows: list[Advice]
    """The most promising first."""
    helpless: list[str]
    """Targets that no source is known to help, not even at an earlier checkpoint."""
    earlier: list[str]
    """Verdicts on the targets that only an earlier checkpoint helps."""
    notes: list[str]
    """What to know before believing any of it."""


def training(analysis: Analysis) -> Training:
    """For every target what to train on where it has no data of its own, by the default rule."""
    names, model = labels(analysis), list(analysis.models)[-1]
    found = sorted(mixtures(analysis, model).values(), key=_promise)
    notes = [note for mix in found for note in mix.notes if not _own(note, mix)]
    return Training(
        model=model_labels(analysis)[model],
        rows=[
            Advice(
                target=names.long[mix.target],
                name=mix.target,
                sources=_parts(mix, names, model_labels(analysis)[model]),
                more=max(0, len(mix.choices) - SOURCES),
                expected=signed(mix.expected.mean),
                interval=between(mix.expected.ci),
                change=points(
                    analysis,
                    of_effect(analysis, analysis.models[model], mix.target, mix.expected.mean),
                ),
                note=spelled(" ".join(note for note in mix.notes if _own(note, mix)), names),
            )
            for mix in found
            if mix.choices
        ],
        helpless=[names.long[mix.target] for mix in found if not mix.choices and not _early(mix)],
        earlier=[spelled(mix.verdict, names) for mix in found if not mix.choices and _early(mix)],
        notes=list(dict.fromkeys(notes)),
    )


def _early(mix: Mixture) -> bool:
    return any(each.reason == "an earlier checkpoint" for each in mix.left_out)


def _promise(mix: Mixture) -> float:
    return -mix.expected.mean if mix.choices else math.inf


def _own(note: str, mix: Mixture) -> bool:
    """Whether a note is about one target or its sources, rather than about all."""
    return mix.target in note or " tie: " in note


def _parts(mix: Mixture, names: Labels, model: str) -> list[Part]:
    target = names.long[mix.target]
    return [
        Part(
            names.long[choice.source],
            percent(choice.share),
            link(model=model, source=names.long[choice.source], target=target),
        )
        for choice in mix.choices[:SOURCES]
    ]
