"""Answers of one model to one target's items.

In:   marks of the base and of every run, NaN where an item was not answered.
Out:  the same on the items that both answered, and how many those are.

Opens no file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class ItemTable:
    """Answers of one model to one target's items: 1 correct, 0 wrong, NaN not asked.

    Answers that are not right or wrong have scores between.
    """

    base: Float[np.ndarray, "seed item"]
    tuned: Float[np.ndarray, "seed source item"]

    @property
    def right_or_wrong(self) -> bool:
        """Whether every answer is."""
        return all(bool(np.isin(a[np.isfinite(a)], (0, 1)).all()) for a in (self.base, self.tuned))

    @property
    def shared(self) -> Bool[np.ndarray, "seed source item"]:
        """The items that base and run both answered; all of the run's in a seed without a base."""
        asked = np.isfinite(self.base)
        return np.isfinite(self.tuned) & (asked | ~asked.any(axis=1, keepdims=True))[:, None]

    @property
    def shared_items(self) -> int:
        """How many items are shared, mean over the runs that share any."""
        number = self.shared.sum(axis=-1)
        return round(number[number > 0].mean()) if (number > 0).any() else self.base.shape[1]

    def paired(self) -> tuple[np.ndarray, Float[np.ndarray, "seed source item"]]:
        """Base and run on shared items; the base is (seed, item) where all runs have its items."""
        asked, shared = np.isfinite(self.tuned), self.shared
        same = (shared == asked) & (asked == np.isfinite(self.base)[:, None])
        if (same.all(axis=-1) | ~asked.any(axis=-1)).all():
            return self.base, self.tuned
        base = np.where(shared, self.base[:, None], np.nan)
        return base, np.where(shared, self.tuned, np.nan)

    @property
    def equivalent_items(self) -> int:
        """Right-or-wrong items whose mean would be as uncertain as that of the shared items.

        The items themselves where they are right or wrong. Scores vary less around their mean p
        than p (1 - p), so there they are worth more.
        """
        number, asked = self.shared_items, np.isfinite(self.base).any(axis=1)
        if self.right_or_wrong or not asked.any():
            return number
        marks = self.base[asked].astype(float)
        mean, spread = np.nanmean(marks, axis=1), np.nanvar(marks, axis=1).mean()
        chance = (mean * (1 - mean)).mean()
        return round(number * min(chance / spread, 100)) if spread > 0 else number
