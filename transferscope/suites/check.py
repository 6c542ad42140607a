"""What is wrong with a suite's items, row by row, and what they are like.

In:   a suite.
Out:  problems, one line each, and a record of every split: items, options, right letters.

Wrong are rows that are no items, ids, items and choices that repeat others, and training items
that repeat evaluation items. Letters that are not right equally often are not wrong, but a model
can learn it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import chdtrc

from transferscope.errors import DataError, StudyError
from transferscope.suites.similar_images import KnownItems
from transferscope.tasks import LETTERS, SPLITS, Item, Split, Suite


@dataclass
class SplitCheck:
    """What a task's split is like."""

    task: str
    split: Split
    items: int
    wrong: int
    """Rows that are no items."""
    options: dict[int, int]
    """Items by their number of options, 0 for open answers."""
    right: dict[str, int]
    """Items by the letter of the right option."""
    uneven: float | None
    """p-value of a chi-squared test that each letter is right equally often; None: no options."""


class SuiteCheck:
    """The checks of a suite, a split at a time."""

    def __init__(self, suite: Suite) -> None:
        self.suite, self.splits = suite, list[SplitCheck]()
        self._wrong: dict[str, None] = {}
        self._items: dict[Split, list[Item]] = {split: [] for split in SPLITS}

    @property
    def wrong(self) -> list[str]:
        """All problems, each once."""
        return list(self._wrong)

    def parts(self) -> Iterator[tuple[str, Split]]:
        """The tasks and splits to read."""
        for task in self.suite.tasks:
            yield task.name, "eval"
        # A test shows what holds for embedded suites, which draw any number of training items.
        for name in () if self.suite.immutable else self.suite.sources:
            yield name, "train"

    def read(self, task: str, split: Split) -> None:
        """Check the rows of a task's split, if the suite has it."""
        items: list[Item] = []
        before, first = len(self._wrong), dict[str, Item]()
        try:
            for item in self.suite.checked(task, split):
                if isinstance(item, DataError):
                    self._wrong[f"{item}"] = None
                    continue
                items.append(item)
                if twice := [one for one, count in Counter(item.choices).items() if count > 1]:
                    named = f"{task}, {split}: item {item.id!r}"
                    self._wrong[f"{named} offers {twice[0][:60]!r} more than once"] = None
                if (other := first.setdefault(item.digest(), item)) is not item:
                    self._wrong[f"{task}, {split}: item {item.id!r} repeats {other.id!r}"] = None
        except DataError as error:
            self._wrong[f"{error}"] = None
        except StudyError:
            return
        self._items[split] += items
        closed = [item for item in items if item.answer >= 0]
        counts, expected = Counter[str](), Counter[str]()
        for item in closed:
            counts[LETTERS[item.answer]] += 1
            expected.update(dict.fromkeys(LETTERS[: len(item.choices)], 1 / len(item.choices)))
        right = {letter: counts[letter] for letter in sorted(expected)}
        squared = sum((counts[one] - count) ** 2 / count for one, count in expected.items())
        found = SplitCheck(
            task=task,
            split=split,
            items=len(items),
            wrong=len(self._wrong) - before,
            options=dict(sorted(Counter(len(item.choices) for item in items).items())),
            right=right,
            uneven=float(chdtrc(len(right) - 1, squared)) if right else None,
        )
        self.splits.append(found)

    def compare(self) -> None:
        """Compare the training items with the evaluation items that were read."""
        for item, other in KnownItems(self._items["eval"]).repeats(self._items["train"]):
            self._wrong[
                f"training item {item.id!r} of {item.task} is evaluation item {other.id!r} of "
                f"{other.task}: the same images, with the same question or choices"
            ] = None

    def record(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "suite": self.suite.name,
            "version": self.suite.version,
            "splits": [asdict(each) for each in self.splits],
            "wrong": self.wrong,
            "notes": self.suite.notes,
        }
