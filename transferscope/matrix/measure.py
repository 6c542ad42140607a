"""How large a change is: the measures of what finetuning on one source did to one target.

`MEASURES` holds everything about each of them; to add a measure, add a record to it. Accuracies
are fractions in [0, 1]: numbers, numpy arrays or labeled xarray arrays, which broadcast.

NaN means "not measured" or "undefined": such an effect is left out, and never counts as 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.errors import DataError

NO_GAP = 1e-9
"""A smaller gap between base and ceiling is a rounding error between equal accuracies."""


def pgf(base: Any, tuned: Any, ceiling: Any = 1.0, *, epsilon: float = 0.0) -> Any:
    """Part of each target's gap to its ceiling that finetuning closed.

        pgf = (tuned - base) / (ceiling - base + epsilon)

    1 closes the whole gap, 0 changes nothing, negative is harm. The range is lopsided: at most 1
    where no accuracy exceeds the ceiling, but as low as -(m - 1) on m items, so never clip it to
    [-1, 1].

    Args:
        base: accuracy of the untuned model, a fraction in [0, 1].
        tuned: accuracy after finetuning, a fraction in [0, 1].
        ceiling: best reachable accuracy of the target, a fraction in [0, 1].
        epsilon: added to the gap, as a fraction. The paper states 1e-6 on its percent scale, 1e-8
            as a fraction; its published values contain none.

    Returns:
        PGF, without unit. NaN where there is no gap (`base` at or above `ceiling`): PGF is then
        undefined, not 0 and not a million.

    Raises:
        DataError: a value is outside [0, 1], as when percent is passed.

    Source:
        Sachdeva et al., "Understanding Task Transfer in Vision-Language Models", eq. 3.
    """
    for name, accuracy in (("base", base), ("tuned", tuned), ("ceiling", ceiling)):
        check_fraction(name, accuracy)
    return (tuned - base) / _or_nan(ceiling - base + epsilon)


def relative_gain(base: Any, tuned: Any) -> Any:
    """Change relative to the baseline, `(tuned - base) / base`; NaN where the baseline is 0.

    Arguments and errors as in `pgf`.

    Source:
        The paper's alternative measure (section 3, note to definition 2).
    """
    return raw_gain(base, tuned) / _or_nan(base + 0.0)


def raw_gain(base: Any, tuned: Any) -> Any:
    """Change in accuracy, `tuned - base`, as a fraction. Arguments and errors as in `pgf`."""
    check_fraction("base", base)
    check_fraction("tuned", tuned)
    return tuned - base


@dataclass(frozen=True)
class Measure:
    """One way to express the change of a target's accuracy: the change over a denominator."""

    label: str
    """As in figures and on the page."""
    denominator: Callable[[Any, Any], Any]
    """Of (base, ceiling): linear in the base. Where it is not above 0, the effect is undefined."""
    slope: float
    """How far the denominator moves with the base."""

    def effect(self, base: Any, tuned: Any, ceiling: Any) -> Any:
        """NaN where it is undefined."""
        return raw_gain(base, tuned) / _or_nan(self.denominator(base, ceiling), least=NO_GAP)

    def change(self, effect: Any, base: Any, ceiling: Any) -> Any:
        """The change of accuracy, `tuned - base`, that an effect is."""
        return effect * self.denominator(base, ceiling)


MEASURES: dict[str, Measure] = {
    "pgf": Measure("PGF", lambda base, ceiling: ceiling - base, slope=-1.0),
    "relative_gain": Measure("relative gain", lambda base, _: base + 0.0, slope=1.0),
    "raw_gain": Measure("raw gain", lambda base, _: base * 0 + 1.0, slope=0.0),
}
"""All measures, by their names in settings, on the command line and in files."""


def check_fraction(name: str, accuracy: Any) -> None:
    """Refuse accuracies outside [0, 1]; NaN passes."""
    values = np.atleast_1d(np.asarray(accuracy, float))
    outside = values[(values < 0) | (values > 1)]
    if outside.size:
        remedy = "; divide percent by 100" if outside.max() > 1 else ""
        raise DataError(
            f"{name} must be fractions in [0, 1], but {outside.size} of {values.size} are outside, "
            f"the first {outside[0]:g}{remedy}"
        )


def known_mean(values: np.ndarray, axis: int | tuple[int, ...] = 0) -> np.ndarray:
    """Mean of the known (finite) values, in their precision; NaN where none is known."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.asarray(total / np.where(count > 0, count, np.nan), values.dtype)


def _or_nan(denominator: Any, least: float = 0.0) -> Any:
    """The denominator with NaN where it is not above `least`, labels kept."""
    return denominator + np.where(np.asarray(denominator) > least, 0.0, np.nan)
