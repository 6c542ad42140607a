"""The one rule for "beyond noise": what is drawn filled, counted as an effect, and said of a task.

In:   a cell of an analysis.
Out:  yes, no, or not known.
"""

import math

from transferscope.analysis import Cell
from transferscope.matrix.estimate import Estimate


def beyond_noise(effect: Cell | Estimate, alpha: float) -> bool | None:
    """Whether an effect can be told from noise.

    It can where its interval leaves 0 out and, where it is known which items changed, the exact
    test over items agrees (`exact.sign_flip`): a resample of few changed items is too sure of them.

    Args:
        alpha: level of the interval and of the test.

    Returns:
        None where there is no interval: nothing was resampled, or it was not measured.
    """
    low, high = effect.ci
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    if low <= 0 <= high:
        return False
    exact = effect.exact_p if isinstance(effect, Cell) else None
    return exact is None or math.isnan(exact) or exact <= alpha
