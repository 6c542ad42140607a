"""A study's items: each split is opened once, and evaluation items are kept once they are drawn.

In:   a `Study`.
Out:  items with the study's prompt, digests of them, and an error where training items are also
      evaluated.

Draws or reads items; needs no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferscope.errors import StudyError
from transferscope.study import Study
from transferscope.study.file import suite_of
from transferscope.tasks import BY_IMAGES, LETTERS, Item, Split, Suite, gold
from transferscope.tasks.choices import with_style

if TYPE_CHECKING:
    from transferscope.suites.similar_images import KnownItems


class StudyItems:
    """The items of a study's suite. A pickled copy opens the suite anew, so that it stays small.

    Args:
        digests: known digests, by what determines them; drawn items add theirs.
    """

    def __init__(self, study: Study, digests: Mapping[str, str] | None = None) -> None:
        self.study = study
        self.digests = dict(digests or {}) if self.stable else {}
        self._splits: dict[tuple[str, Split], Sequence[Item]] = {}
        self._eval: dict[str, list[Item]] = {}
        self._shown: KnownItems | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return StudyItems, (self.study,)

    @cached_property
    def suite(self) -> Suite:
        """The suite, opened with the study's options."""
        return suite_of(self.study)

    @property
    def stable(self) -> bool:
        """Whether the suite's version determines its items; files of a user may change in place."""
        return self.suite.immutable

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know of the items drawn so far."""
        return list(self.suite.notes)

    def split(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task's split, as the suite has them.

        Raises:
            StudyError: the split is empty.
        """
        if (task, split) not in self._splits:
            items = self.suite.items(task, split)
            if not len(items):
                raise StudyError(f"{self.suite.name}: {task} has no {split} items")
            self._splits[task, split] = items
        return self._splits[task, split]

    def eval_count(self, target: str) -> int:
        """The number of a target's evaluation items.

        Raises:
            StudyError: the study skips all of them.
        """
        size, skipped = len(self.split(target, "eval")), self.study.evaluation.after
        if size <= skipped:
            raise StudyError(
                f"{self.suite.name}: {target} has {size} eval items, but evaluation.after skips "
                f"{skipped}; lower it"
            )
        return min(self.study.evaluation.items or size, size - skipped)

    def eval_items(self, target: str) -> list[Item]:
        """The evaluation items of a target, with the study's prompt.

        Raises:
            StudyError: a right answer is hidden.
        """
        if target not in self._eval:
            first = self.study.evaluation.after
            items = self.split(target, "eval")[first : first + self.eval_count(target)]
            if hidden := sum(item.hidden for item in items):
                raise StudyError(
                    f"{self.suite.name}: {target}: the right answers of {hidden} of {len(items)} "
                    "items are hidden, so they cannot be scored"
                )
            self._eval[target] = [with_style(item, self.study.evaluation.prompt) for item in items]
        return self._eval[target]

    def gold(self, target: str) -> str:
        """The hash of the right answers to a target's evaluation items."""
        name = f"gold {hashed([*self._eval_source(), target, self.eval_count(target)])}"
        if name not in self.digests:
            self.digests[name] = gold(self.eval_items(target))
        return self.digests[name]

    def eval_digest(self, target: str) -> str:
        """SHA-256 of a target's evaluation items, ids included: predictions refer to the ids."""
        prompt = self.study.evaluation.prompt
        name = f"eval {hashed([*self._eval_source(), prompt, target, self.eval_count(target)])}"
        if name not in self.digests:
            self.digests[name] = hashed(list(map(_as_evaluated, self.eval_items(target))))
        return self.digests[name]

    def _eval_source(self) -> list[object]:
        """All that determines a target's evaluation items except for their number."""
        skipped = self.study.evaluation.after
        return [self.suite.name, self.suite.version, *([skipped] if skipped else [])]

    def refuse_overlap(self, training: Sequence[Item]) -> None:
        """Refuse to train on evaluation items.

        Images and options are compared, not files or wording (`similar_images.KnownItems`).

        Raises:
            StudyError: naming both items.
        """
        if self.stable:  # a test of the suite shows that its splits share nothing
            return
        from transferscope.suites.similar_images import KnownItems

        evaluated = [i for target in self.study.targets or () for i in self.eval_items(target)]
        if self._shown is None:
            self._shown = KnownItems(evaluated)
        if found := next(self._shown.repeats(training), None):
            item, other = found
            raise StudyError(
                f"training item {item.id!r} of {item.task} is evaluation item {other.id!r} of "
                f"{other.task}: the same images, with the same question or choices; remove it "
                "from the training items"
            )


def _as_evaluated(item: Item) -> list[object]:
    """All of an item that its row in a table depends on, beside the model."""
    parts: list[object] = [item.id, item.digest(), len(item.choices)]
    shown = (f"({letter}) {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False))
    if not all(choice in item.prompt for choice in shown):  # else the digest has them
        parts.append(item.choices)
    if item.group and not item.group.startswith(BY_IMAGES):  # else it follows from the images
        parts.append({"group": item.group})
    return parts


def hashed(value: object) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
