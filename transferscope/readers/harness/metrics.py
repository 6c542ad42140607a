"""Which of a harness's numbers is a score: metrics by name, fractions and percent, items behind.

A score is the mean of marks in [0, 1] where more is better. Perplexities, bits per byte, shares of
stereotypes, correlations and sums are none: they are left out and named, or taken where a mapping
asks for them. Of a metric of which less is better, 1 minus the value is taken: worse is worse.

In:   metrics of one task, or all numbers of one file.
Out:  the score, its unit, the number of items that its standard error belongs to.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from transferscope.predictions import some
from transferscope.readers.harness.record import Content, number_of

_FIRST = ("blink_acc", "acc", "exact_match", "accuracy")
"""Metrics to be taken first where a task has several."""
_ACCURACY = re.compile(
    r"(.*[_ ])?(acc|accuracy|exact_match|em|relaxed_overall|anls|pass(@|_at_)1)"
    r"|(.*_)?acc_(norm|bytes|mutual_info)|aAcc|average",
    re.I,
)
"""Metrics that are a mean of marks."""
_LOWER = re.compile(
    r".*(perplexity|ppl|bits_per_byte|nll|loss|brier|likelihood_diff|_error|_rate_err)|"
    r"(wer|cer|ter|mae|mse|rmse|ece|pct_stereotype)",
    re.I,
)
"""Metrics of which less is better, where the file does not say."""
_NO_METRIC = ("alias", "samples", "size", "sample_len", "name", "sample_count")
_WHOLE = 1e-8
"""How far from a whole number a number of items may come out, as a part of it."""
_MOST_ITEMS = 10_000_000


class Metric(NamedTuple):
    """The score of one task."""

    name: str
    value: float
    """In [0, 1]; more is better."""
    flipped: bool = False
    """Whether it is 1 minus what the file has."""


def plain_names(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name, without filters (`acc,none` is `acc`) and standard errors."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        name, number = key.partition(",")[0].strip(), number_of(value)
        if "stderr" in name or name in _NO_METRIC or number is None:
            continue
        if isinstance(value, int | float | str) and (name or key):
            found.setdefault(name, number)
    return found


def preferred(names: Iterable[str], higher: Mapping[str, Any] | None = None) -> str | None:
    """The metric that counts where a task has several: the usual one, else the only accuracy."""
    known = [n for n in names if _ACCURACY.fullmatch(n) and (higher or {}).get(n) is not False]
    return next((n for n in _FIRST if n in known), known[0] if len(known) == 1 else None)


def score_of(metric: str | None, marks: Mapping[str, float]) -> float | None:
    """One sample's mark in [0, 1], more is better; None where it has none."""
    value = None if metric is None else marks.get(metric)
    if value is None or metric is None or not 0 <= value <= 1:
        return None
    return 1 - value if _less_is_better(metric, {}) else value


def choose(
    numbers: Mapping[str, float], asked: str | None, higher: Mapping[str, Any]
) -> Metric | str:
    """The score among a task's metrics, or why there is none.

    Args:
        numbers: metrics by name.
        asked: the metric that the mapping names; where the task lacks it, the usual one is taken.
        higher: of which metrics more is better, as the file says it.
    """
    name = asked if asked in numbers else preferred(numbers, higher)
    if name is None and not numbers:
        return "no number"
    if name is None:
        return f"no one accuracy among {some(numbers)}; choose one with `metric: NAME`"
    value, less = numbers[name], _less_is_better(name, higher)
    if 1 < value <= 100 and not less:  # an accuracy, or a metric that was asked for by name
        return Metric(f"{name} in percent", value / 100)
    if not 0 <= value <= 1:
        return f"{name} is {value:g}, which is no fraction in [0, 1]"
    return Metric(name, 1 - value if less else value, less)


def _less_is_better(name: str, higher: Mapping[str, Any]) -> bool:
    said = higher.get(name)
    return not said if isinstance(said, bool) else _LOWER.fullmatch(name) is not None


def unit_in(content: Content, values: Iterable[float]) -> int:
    """1 where a file's numbers are fractions, 100 where they are percent.

    Raises:
        DataError: they are neither, or both: where some are above 1 and others between 0 and 1, it
            is unknown whether 0.57 means 57 % or 0.57 %.
    """
    known = [value for value in values if value]
    if all(0 < value <= 1 for value in known):
        return 1
    if all(1 < value <= 100 for value in known):
        return 100
    if all(0 < value <= 100 for value in known):
        raise content.refuse(
            1,
            f"has {min(known):g} and {max(known):g}: fractions or percent? use one unit",
        )
    raise content.refuse(1, f"{max(known, key=abs):g} is neither a fraction nor percent")


def items_behind(pairs: Iterable[tuple[float, float]]) -> int | None:
    """The number of items that accuracies with standard errors are means of; None where unknown.

        n = p (1 - p) / stderr^2 + 1

    Args:
        pairs: accuracy and standard error (of the sample, as lm-evaluation-harness has it) of
            marks of the same items.

    A number counts only where it is whole, and the accuracy times it is. Rounded errors fit a whole
    number by luck, so an error needs more than eight decimals.
    """
    for share, error in pairs:
        if not (0 < share < 1 and error > 0) or round(error, 8) == error:
            continue
        items = share * (1 - share) / error**2 + 1
        whole = round(items)
        if not 1 < whole <= _MOST_ITEMS or abs(items - whole) > _WHOLE * whole:
            continue
        if abs(share * whole - round(share * whole)) <= _WHOLE * whole:
            return whole
    return None
