"""How an answer is marked where it is a number: mean relative accuracy, as VSI-Bench has it."""

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Confidence thresholds; spaced by `linspace`, as the benchmark's code does, so that numbers on a
threshold fall on the same side."""


def mean_relative_accuracy(said: float, truth: float) -> float:
    """Mark of a number in [0, 1]: the share of thresholds theta that it meets.

        mean over theta in {.50, .55, ..., .95} of  1[ |said - truth| / truth <= 1 - theta ]

    1 within 5 % of the truth, 0 where it is more than half of it away. Where the truth is 0, the
    error is taken as it is, for there is no relative one.

    Source:
        Yang et al., "Thinking in Space", eq. 1, with `<=`, as in the benchmark's code, where the
        paper prints `<`.
    """
    error = abs(said - truth) / (abs(truth) or 1)
    return float((error <= 1 - THRESHOLDS).mean())
