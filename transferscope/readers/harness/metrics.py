"""Decide which of a harness's numbers is a score: metric names, units, numbers of items.

A score is the mean of marks in [0, 1] of which more is better. Perplexities, bits per byte, shares
of stereotypes, correlations and sums are not scores: they are left out and named. A mapping file
can request them by name; if less is better, the score is 1 minus the value, so that worse is worse.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from transferscope.readers.harness import raw
from transferscope.readers.harness.foreign_files import ForeignFile

_KNOWN = ("acc", "accuracy", "exact_match", "is_correct", "correct", "em", "pass", "pass@1")
"""Accuracies of one item, the first that is there counts."""
_FIRST = ("blink_acc", "acc", "exact_match", "accuracy")
"""Accuracies of lm-eval's tasks that count before others."""
_ACCURACY = re.compile(
    r"(.*[_ ])?(acc|accuracy|exact_match|em|relaxed_overall|anls|pass(@|_at_)1)"
    r"|(.*_)?acc_(norm|bytes|mutual_info)|aAcc|average",
    re.I,
)
"""Names of metrics that are a mean of marks."""
_LESS = re.compile(
    r"(^|[_ -])(wer|cer|ter|ppl|perplexity|bits_per_byte|nll|loss|err|errors?|mae|mse|rmse|ece"
    r"|brier|incorrect|toxicity|likelihood_diff|pct_stereotype)([_ -]|$)",
    re.I,
)
"""Names of metrics of which less is better, where the file does not state it."""
_NO_METRIC = ("alias", "samples", "size", "sample_len", "name", "sample_count")
_WHOLE = 1e-8
"""Relative distance from a whole number up to which a number of items counts as whole."""
_MOST_ITEMS = 10_000_000


def less_is_better(name: str, higher: Mapping[str, Any] | None = None) -> bool:
    """Whether less of a metric is better: by the file's `higher_is_better`, else by the name."""
    stated = (higher or {}).get(name)
    return not stated if isinstance(stated, bool) else _LESS.search(name) is not None


def accuracy_of(values: Mapping[str, Any], main: Any = None) -> tuple[str, float] | None:
    """The accuracy among an item's metrics: `main`, else a known name, else the only metric."""
    found = {
        name: score
        for name, value in values.items()
        if (score := raw.fraction(value)) is not None and not less_is_better(name)
    }
    if isinstance(main, str) and main in found:
        return main, found[main]
    plain = {name.lower().removeprefix("mean_"): name for name in found}
    known = next((plain[name] for name in _KNOWN if name in plain), None)
    if known is None and len(values) == 1:
        known = next(iter(found), None)
    return None if known is None else (known, found[known])


def plain_names(metrics: Mapping[str, Any]) -> dict[str, float]:
    """lm-eval's metrics without filters (`acc,none` is `acc`) and without standard errors."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        name, number = key.partition(",")[0].strip(), raw.number(value)
        if "stderr" not in name and name not in _NO_METRIC and number is not None and key:
            found.setdefault(name, number)
    return found


def preferred(names: Iterable[str], higher: Mapping[str, Any] | None = None) -> str | None:
    """The usual accuracy among lm-eval's metrics, else the only accuracy.

    A single metric with an unknown name is no accuracy: lm-eval's tasks may measure anything.
    """
    known = [n for n in names if _ACCURACY.fullmatch(n) and (higher or {}).get(n) is not False]
    return next((n for n in _FIRST if n in known), known[0] if len(known) == 1 else None)


def unit_in(file: ForeignFile, values: Iterable[float]) -> int:
    """1 if a file's numbers are fractions, 100 if they are percent.

    Refuses a mixture: beside 57.6, a 0.57 may mean 57 % or 0.57 %.
    """
    known = [value for value in values if value]
    for unit, least in ((1, 0), (100, 1)):
        if all(least < value <= unit for value in known):
            return unit
    if all(0 < value <= 100 for value in known):
        both = f"{min(known):g} and {max(known):g}"
        raise file.refuse(1, f"has {both}: fractions or percent? use one unit")
    worst = max(known, key=abs)
    raise file.refuse(1, f"must have fractions or percent, got {worst:g}")


def items_behind(pairs: Iterable[tuple[float | None, float | None]]) -> int | None:
    """The number of items behind (accuracy, standard error) pairs of them; None if it is unknown.

        n = p (1 - p) / stderr^2 + 1, as lm-eval divides by n - 1

    It counts only if it is whole, and if accuracy times number is whole. A rounded error fits some
    whole number by luck, so the error must have more than eight decimals.
    """
    for share, error in pairs:
        if not (share and error and 0 < share < 1 and error > 0) or round(error, 8) == error:
            continue
        items = share * (1 - share) / error**2 + 1
        whole = round(items)
        right = share * whole
        off = max(abs(items - whole), abs(right - round(right)))
        if 1 < whole <= _MOST_ITEMS and off <= _WHOLE * whole:
            return whole
    return None
