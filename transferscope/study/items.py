"""A study's items: each split opened once, and the evaluation items kept once drawn.

In:   a `Study`.
Out:  items as the study asks them, digests of them, and a refusal to train on what is evaluated.

Draws or reads items; knows no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from transferscope.errors import StudyError
from transferscope.study import Study
from transferscope.study.file import suite_of
from transferscope.tasks import Item, Split, Suite, gold
from transferscope.tasks.choices import Prompt, with_style

if TYPE_CHECKING:
    from transferscope.suites.similar_images import Shown


class Stock:
    """A suite's items, each split opened once, and the evaluation items kept once drawn.

    Args:
        prompt: how every item is asked.
        after: evaluation items of each target that are passed over first.
        digests: known digests, by what determines them; grows with what has to be drawn.
    """

    def __init__(
        self,
        suite: Suite,
        prompt: Prompt = "benchmark",
        digests: Mapping[str, str] | None = None,
        after: int = 0,
    ) -> None:
        self.suite = suite
        self.prompt: Prompt = prompt
        self.after = after
        self.digests = dict(digests or {}) if self.stable else {}
        self._splits: dict[tuple[str, Split], Sequence[Item]] = {}
        self._asked: dict[tuple[str, int], list[Item]] = {}
        self._shown: dict[tuple[tuple[str, int], ...], Shown] = {}

    @property
    def stable(self) -> bool:
        """Whether the suite's version determines its items; a user's files may change in place."""
        return self.suite.immutable

    def split(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task's split, as the suite gives them.

        Raises:
            StudyError: there are none.
        """
        if (task, split) not in self._splits:
            items = self.suite.items(task, split)
            if not len(items):
                raise StudyError(f"{self.suite.name}: {task} has no {split} items")
            self._splits[task, split] = items
        return self._splits[task, split]

    def asked(self, target: str, most: int | None) -> int:
        """Evaluation items of a target, at most so many.

        Raises:
            StudyError: there are none.
        """
        size = len(self.split(target, "eval"))
        if size <= self.after:
            raise StudyError(
                f"{self.suite.name}: {target} has {size} eval items, and {self.after} of them are "
                "passed over, so none is left to ask"
            )
        return min(most or size, size - self.after)

    def questions(self, target: str, count: int) -> list[Item]:
        """The first evaluation items of a target.

        Raises:
            StudyError: a right answer is hidden.
        """
        if (target, count) not in self._asked:
            items = self.split(target, "eval")[self.after : self.after + count]
            if hidden := sum(item.hidden for item in items):
                raise StudyError(
                    f"{self.suite.name}: {target}: the right answers of {hidden} of {len(items)} "
                    "items are hidden, so nothing can be scored on them"
                )
            self._asked[target, count] = [with_style(item, self.prompt) for item in items]
        return self._asked[target, count]

    @property
    def asked_of(self) -> list[object]:
        """All that determines a target's questions, their number aside."""
        passed_over = [self.after] if self.after else []
        return [self.suite.name, self.suite.version, *passed_over]

    def gold(self, target: str, count: int) -> str:
        """`suite.gold` of a target's first items."""
        name = f"gold {hashed([*self.asked_of, target, count])}"
        if name not in self.digests:
            self.digests[name] = gold(self.questions(target, count))
        return self.digests[name]

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know of the items drawn so far."""
        return list(self.suite.notes)

    def refuse_asked(self, learned: Sequence[Item], targets: Mapping[str, int]) -> None:
        """Refuse to train on what is evaluated.

        Pictures and choices are compared, not files or the question's wording
        (`suites.alike.Shown`); an item without pictures or choices counts by its question.

        Args:
            targets: evaluation items of each target.

        Raises:
            StudyError: naming both items.
        """
        if self.stable:  # a test of the suite shows that its splits share nothing
            return
        from transferscope.suites.similar_images import Shown

        asked = [
            item for target, count in targets.items() for item in self.questions(target, count)
        ]
        counts = tuple(targets.items())
        if counts not in self._shown:
            self._shown[counts] = Shown(asked)
        questions = {(item.question, len(item.images)) for item in learned}
        alike = (item for item in asked if (item.question, len(item.images)) in questions)
        same = {item.content_key(): item for item in alike}
        keyed = ((item, item.content_key()) for item in learned if same)
        equal = ((item, same[key]) for item, key in keyed if key in same)
        if found := next(equal, None) or self._shown[counts].repeated(learned):
            item, evaluated = found
            raise StudyError(
                f"training item {item.id!r} of {item.task} is evaluation item {evaluated.id!r} of "
                f"{evaluated.task}: the same pictures, with the same question or choices; take it "
                "out of the training items"
            )


def stock_of(study: Study, digests: Mapping[str, str] | None = None) -> Stock:
    """The study's items.

    Args:
        digests: as for `Stock`.
    """
    asked = study.evaluation
    return Stock(suite_of(study), asked.prompt, digests, asked.after)


def hashed(value: object) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
