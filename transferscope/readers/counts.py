"""The integer counts behind published PGF values.

Without an epsilon and at ceiling 1, a PGF is (change in right answers) / (errors of the base), so
the values of one target and seed share a denominator: the smallest that makes them all whole is
the number of base errors. With the target's number of items, accuracies follow.

The smallest denominator is only a divisor of the true one, so it is believed where chance is an
unlikely explanation: twice of it would exceed the items, or enough different values support it.
Nothing is borrowed from one seed for another.
"""

from fractions import Fraction

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from transferscope.predictions import some
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.untrusted import shown

MOST_ERRORS = 2_000
"""Largest number of base errors that is tried if the target's number of items is unknown."""
_EXACT = 1e-9  # distance at which a value is that fraction; two fractions differ by 2.5e-7 or more
_SHORT = 6  # values with at most so many decimals may have been rounded
_LUCK = 0.01  # a coincidence less likely than this is not believed
_FEWEST = 3  # with fewer different values, a divisor of the base errors is too likely

_REASONS = (
    "the values are no exact fractions, perhaps because they were rounded",
    "every known value is 0",
    "too few different values",
    "another seed has a multiple of the base errors found, so they may be only a divisor",
    "the counts found do not fit the number of items in the benchmark",
)


def with_counts(dataset: xr.Dataset) -> xr.Dataset:
    """The matrix of a PGF table, with the counts and accuracies behind it where they are certain.

    If a target's number of items is unknown, `base_errors` alone is filled in.
    """
    names = dataset["target"].values.tolist()
    items = np.array([getattr(KNOWN_TASKS.get(name), "items", None) for name in names], float)
    values, notes = dataset["pgf"].values, list(dataset.attrs["notes"])
    errors = np.full((*values.shape[:2], len(items)), np.nan)
    for m, model in enumerate(dataset["model"].values.tolist()):
        errors[m], reason = _base_errors(values[m], items)
        notes += [
            f"{shown(model)}: the counts behind the PGF could not be recovered for "
            f"{some(np.array(names)[(reason == index).any(axis=0)].tolist())}: {text}"
            for index, text in enumerate(_REASONS)
            if (reason == index).any()
        ]
    if unsized := [name for name, size in zip(names, items, strict=True) if np.isnan(size)]:
        notes.append(f"accuracies are unknown where the number of items is: {some(unsized)}")
    base_correct = items - errors
    correct = base_correct[:, :, None] + np.round(values * errors[:, :, None])
    total = np.where(np.isnan(correct), np.nan, items)
    paired = np.broadcast_to(base_correct[:, :, None], correct.shape)
    tuned_dims, base_dims = dataset["pgf"].dims, dataset["base_errors"].dims
    return dataset.assign(
        correct=(tuned_dims, correct),
        total=(tuned_dims, total),
        accuracy=(tuned_dims, correct / items),
        run_total=(tuned_dims, total),
        paired_base_correct=(tuned_dims, paired),
        paired_base_accuracy=(tuned_dims, paired / items),
        base_correct=(base_dims, base_correct),
        base_total=(base_dims, np.where(np.isnan(errors), np.nan, items)),
        base_accuracy=(base_dims, base_correct / items),
        base_errors=(base_dims, errors),
    ).assign_attrs(notes=notes)


def _base_errors(
    values: Float[np.ndarray, "seed source target"], items: Float[np.ndarray, " target"]
) -> tuple[Float[np.ndarray, "seed target"], Int[np.ndarray, "seed target"]]:
    """One model's base errors, NaN where uncertain, and the index of why in `_REASONS`, else -1."""
    limit = np.where(np.isnan(items), MOST_ERRORS, items).astype(int)
    errors = smallest_errors(values, limit)
    different = _different(values)
    changes = np.round(values * errors[:, None])
    conflicts = (changes < -(items - errors)[:, None]).any(axis=1)
    multiple = (errors % np.maximum(errors[:, None], 1) == 0) & (errors > errors[:, None])
    ratio = np.where(multiple, errors / np.maximum(errors[:, None], 1), np.inf).min(axis=1)
    reason = np.select(
        [
            np.isnan(values).all(axis=1),
            different == 0,
            errors == 0,
            (different < _FEWEST) & (2 * errors <= limit),
            np.where(np.isinf(ratio), 0.0, ratio ** -different.astype(float)) > _LUCK,
            conflicts,
        ],
        [-1, 1, 0, 2, 3, 4],
        default=-2,
    )
    return np.where(reason == -2, errors, np.nan), np.maximum(reason, -1)


def smallest_errors(
    values: Float[np.ndarray, "*seed source target"], limit: Int[np.ndarray, " target"]
) -> Int[np.ndarray, "*seed target"]:
    """Smallest number of base errors up to `limit` that makes each PGF a count; 0 if none does.

    If all values are rounded to a few decimals d, they fit 10^d and its divisors, which proves
    nothing: a denominator g counts only where random d-digit values would hardly all fit it.
    """

    def denominator(value: float, most: int) -> int:
        if np.isnan(value):
            return 1
        near = Fraction(value).limit_denominator(max(most, 1))
        return near.denominator if abs(value - float(near)) < _EXACT else 0

    denominators = np.vectorize(denominator, otypes=[int])(values, limit)
    common = np.ones((*values.shape[:-2], values.shape[-1]), int)
    for i in range(values.shape[-2]):
        common = np.lcm(common, denominators[..., i, :])  # 0 stays 0
        common[common > limit] = 0
    # Decimals that each value is written with, `_SHORT` + 1 for more; 0 for NaN.
    given, decimals = np.nan_to_num(values), np.zeros(values.shape, int)
    for places in range(_SHORT + 1):
        longer = np.abs(given - np.round(given, places)) > 1e-12 * np.maximum(np.abs(given), 1)
        decimals = np.where(longer, places + 1, decimals)
    digits = decimals.max(axis=-2).astype(float)
    if digits.max() <= _SHORT:
        common[(common / 10**digits) ** _different(values) > _LUCK] = 0
    return common


def _different(values: Float[np.ndarray, "*seed source target"]) -> Int[np.ndarray, "*seed target"]:
    """How many different values other than 0 each column has."""
    ordered = np.sort(np.where(np.abs(values) > _EXACT, values, np.nan), axis=-2)
    steps = (np.diff(ordered, axis=-2) > _EXACT).sum(axis=-2)
    return steps + (~np.isnan(ordered)).any(axis=-2)
