"""Which of several metrics of an item or a task is its accuracy.

In:   values by the metrics' names.
Out:  a name and a value in [0, 1]; nothing where that is unclear.
"""

import re
from collections.abc import Mapping
from typing import Any

from transferscope.readers.harness.record import fraction_of

_KNOWN = ("acc", "accuracy", "exact_match", "is_correct", "correct", "em", "pass", "pass@1")
"""Names of accuracies, in the order in which one is taken."""
_LESS = re.compile(
    r"(^|[_ -])(wer|cer|ter|ppl|perplexity|loss|errors?|mae|mse|rmse|brier|incorrect|toxicity)"
    r"([_ -]|$)",
    re.I,
)


def accuracy_of(values: Mapping[str, Any], main: Any = None) -> tuple[str, float] | None:
    """The accuracy among metrics: the one called `main`, else a known one, else the only one."""
    found = {
        name: score
        for name, value in values.items()
        if (score := fraction_of(value)) is not None and not less_is_better(name)
    }
    if isinstance(main, str) and main in found:
        return main, found[main]
    plain = {name.lower().removeprefix("mean_"): name for name in found}
    known = next((plain[name] for name in _KNOWN if name in plain), None)
    if known is None and len(values) == 1:
        known = next(iter(found), None)
    return None if known is None else (known, found[known])


def less_is_better(name: str) -> bool:
    """Whether a metric's name is that of an error."""
    return _LESS.search(name) is not None
