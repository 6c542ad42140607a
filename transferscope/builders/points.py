"""Points as lettered choices: the right one under the answer's letter, three others beside it."""

from collections.abc import Sequence
from itertools import combinations, islice

import numpy as np

from transferscope.builders.markers import legible

Point = tuple[float, float]
"""(x, y), in pixels from the centre of the top left pixel."""

_TRIES = 60


def lettered_points(
    right: Point,
    others: Sequence[Point],
    answer: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> dict[str, Point] | None:
    """Four points by letter, A to D, on an image of (width, height).

    Args:
        right: gets the letter at index `answer`.
        others: three of them get the other letters, at random, but so that no marker hides another.
        answer: 0 to 3.
        size: of the image, in pixels.
        rng: this candidate's own.

    Returns:
        None where no three of the others go with the right one.
    """
    shuffled = [others[index] for index in rng.permutation(len(others))]
    apart = [other for other in shuffled if legible({"A": right, "B": other}, size)]
    for three in islice(combinations(apart, 3), _TRIES):
        chosen = [*three[:answer], right, *three[answer:]]
        points = dict(zip("ABCD", chosen, strict=True))
        if legible(points, size):
            return points
    return None
