"""Intervals and p-values from bootstrap draws, which are the last axis.

Where few draws are undefined (NaN) they are left out; above `MOST_UNDEFINED` nothing is known.
"""

import numpy as np
from jaxtyping import Float

MOST_UNDEFINED = 0.05
"""Share of a quantity's draws that may be undefined."""


def intervals(
    draws: Float[np.ndarray, "*shape draw"],
    estimate: Float[np.ndarray, "*shape"],
    alpha: float,
    *,
    low: float = -np.inf,
    high: float = np.inf,
) -> Float[np.ndarray, "*shape 2"]:
    """Where the quantity would lie, in 1 - alpha of studies of this size.

    The draws' quantiles, moved so that the draws' mean (`draw_mean`) is the estimate: a sum of
    positive parts is larger in every noisier draw, which is no evidence about its spread. (How much
    of it noise alone would make is the noise floor, `nulls.no_transfer_effects`.)

    Returns:
        (low, high), NaN where the estimate is, or where more than 5 % of draws are undefined.
    """
    draws = np.asarray(draws, np.float32)
    undefined = ~np.isfinite(draws)
    enough = undefined.mean(axis=-1) <= MOST_UNDEFINED
    middle = draw_mean(draws)
    if undefined.any():
        draws = np.where(undefined, middle[..., None], draws)
    ends = np.quantile(draws, [alpha / 2, 1 - alpha / 2], axis=-1)
    moved = np.moveaxis(ends - middle + estimate, 0, -1)
    return np.where(enough[..., None], np.clip(moved, low, high), np.nan)


def draw_mean(draws: Float[np.ndarray, "*shape draw"]) -> Float[np.ndarray, "*shape"]:
    """Mean over the defined draws, the outer hundredth at each end drawn in; NaN without any.

    Of two seeds the draws have the tails of Student's t with one degree of freedom, which has no
    mean: the plain mean of such draws is anywhere, carried off by the few largest.
    """
    known = np.isfinite(draws)
    if known.all():
        ends = np.quantile(draws, [0.01, 0.99], axis=-1, keepdims=True)
        return np.asarray(np.clip(draws, *ends).mean(axis=-1, dtype=float))
    count = known.sum(axis=-1)
    some = np.where(known, draws, np.where(count > 0, np.nan, 0)[..., None])
    ends = np.nanquantile(some, [0.01, 0.99], axis=-1, keepdims=True)
    mean = np.nanmean(np.clip(some, *ends), axis=-1, dtype=float)
    return np.where(count > 0, mean, np.nan)


def sign_p_values(
    draws: Float[np.ndarray, "*shape draw"], estimate: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Two-sided p-value that the quantity is 0, from the draws behind its interval.

    Never below 2 / (draws + 1); NaN where the interval is.
    """
    known = np.isfinite(draws)
    shift = (estimate - draw_mean(draws))[..., None].astype(np.float32)
    below = (draws <= -shift).sum(axis=-1)
    above = (draws >= -shift).sum(axis=-1)
    p_values = np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (known.sum(axis=-1) + 1))
    enough = (~known).mean(axis=-1) <= MOST_UNDEFINED
    return np.where(np.isfinite(estimate) & enough, p_values, np.nan)
