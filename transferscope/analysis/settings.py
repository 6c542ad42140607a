"""Every choice that can change a number of an analysis, in one frozen record."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

from transferscope.errors import StudyError
from transferscope.matrix.measure import MEASURES


def _known_measure(name: str) -> str:
    if name not in MEASURES:
        raise StudyError(f"measure must be one of {', '.join(MEASURES)}, got {name!r}")
    return name


@dataclass(frozen=True)
class Settings:
    """Every choice that can change a number."""

    measure: Annotated[str, AfterValidator(_known_measure)] = "pgf"
    """The measure of change, mu: a key of `matrix.MEASURES`."""
    ceiling: float | dict[str, float] | Literal["self"] = 1.0
    """Best reachable accuracy: one fraction, one per task, or `self`, the diagonal's accuracy."""
    include_self: bool = False
    """Whether a task's effect on itself counts in transferability and malleability."""
    preset: Literal["default", "paper"] = "default"
    """`paper`: the paper's tests alone, no intervals, corrections or null models."""
    alpha: float = 0.05
    """Level of tests and intervals."""
    graph_keep: float = 0.2
    """Share of the edges of each sign that the transfer graph keeps."""
    tolerance: float = 0.05
    """A finetune is safe if it loses less than this on every target: a fraction of accuracy."""
    item_correlation: float = 0.5
    """Assumed correlation of two adapters' answers to one item, where only counts are known."""
    seed: int = 0
    """Seed of all randomness in the analysis."""

    def check(self) -> None:
        """Refuse values out of range.

        Raises:
            StudyError: naming the setting, its value and the allowed values.
        """
        _known_measure(self.measure)
        for name, low, high in (
            ("alpha", 0.0, 1.0),
            ("graph_keep", 0.0, 1.0 + 1e-12),
            ("item_correlation", -1e-12, 1.0),
            ("tolerance", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low < value < high:
                raise StudyError(f"{name} must be a number between 0 and 1, got {value:g}")
        if self.seed < 0:
            raise StudyError(f"seed must be at least 0, got {self.seed}")
