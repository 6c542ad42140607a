"""Ask all adapters of a fleet the same items.

Options are compared by the log-probability of their letters where the answer begins, in one
forward pass; `generate` decodes a reply and reads the option in it, or says that it cannot.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import isnan
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from transferscope.engine.adapter import Adapter, stacked
from transferscope.engine.devices import fetched, in_order, sent
from transferscope.engine.lora import attached, merged
from transferscope.engine.memory import tokens_at_once
from transferscope.engine.paths import forward_path
from transferscope.engine.rows import ForwardPath, Letters, Row, letters
from transferscope.engine.thinking import after_block, open_block, prompt_end, refuse_open_block
from transferscope.engine.vlm import Base
from transferscope.errors import StudyError
from transferscope.tasks import LETTERS, Item
from transferscope.tasks.answers import is_final, read_reply
from transferscope.tasks.number_replies import number_is_final, score_number

Scoring = Literal["letters", "generate"]
Progress = Callable[[int, int], None]

LONGEST_REPLY = 16
"""Tokens of a reply at most, where nothing else is said."""


class Answer(NamedTuple):
    """One adapter's answer to one item."""

    choice: int | None
    """Index of the chosen option, the first of equals; None: the reply was unreadable, or the
    log-probabilities are no numbers."""
    logprobs: tuple[float, ...]
    """Log-probability of each option's letter, in the item's order."""
    margin: float
    """Log-probability of the best option less that of the next; 0 is a tie."""
    score: float | None = None
    """Mark of a number in [0, 1], where that is asked; None: no number could be read."""


_Told = tuple[list[int], Callable[[], list[Answer]]]
"""Places of a batch's rows, and what waits for its answers."""


class _Crew(NamedTuple):
    """Adapters that answer in the same forwards."""

    adapters: list[int]
    open: Callable[[], AbstractContextManager[None]]
    """Puts them onto the base."""


@in_order
@torch.no_grad()
def score_fleet(
    base: Base,
    adapters: Sequence[Adapter | None],
    items: Sequence[Item],
    *,
    scoring: Scoring = "letters",
    reply_tokens: int | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """The answers of each adapter, None being the base itself, to each item.

    Args:
        items: of any tasks; those of different ones never share a forward, so that a task's
            answers are the same whatever else is asked.
        reply_tokens: of a generated reply at most; None: `LONGEST_REPLY`.
        batch_size: items of a forward.
        progress: called with the answers given and the answers in all.

    Returns:
        A list for each adapter with an answer for each item, in their order.

    Raises:
        StudyError: an item has more choices than there are letters, or none; or prompts end inside
            an open thinking block, and letters are scored or a reply is too short to end it.
    """
    for item in items:
        if item.truth is None and not 0 < len(item.choices) <= len(LETTERS):
            raise StudyError(f"item {item.id!r}: {len(item.choices)} choices; 1 to {len(LETTERS)}")
    asker = _Asker(base, forward_path(base, items), letters(base.processor), scoring, reply_tokens)
    asker.check()
    rows = asker.path.encode(items)
    batches = list(_batches(rows, batch_size))
    longest = max((row.length for row in rows), default=1)
    found: dict[tuple[int, int], Answer] = {}
    for crew in _crews(base, adapters, batch_size * max(longest, 1)):
        with crew.open():
            told = (
                (batch, asker.answers(asked * len(crew.adapters)))
                for batch in batches
                for asked in ([rows[index] for index in batch],)
            )
            for batch, read in _one_behind(told):
                places = [(its, index) for its in crew.adapters for index in batch]
                found.update(zip(places, read(), strict=True))
                if progress is not None:
                    progress(len(found), len(adapters) * len(items))
    return [[found[its, index] for index in range(len(items))] for its in range(len(adapters))]


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[int]]:
    """Places of rows of one task and of similar length."""
    tasks: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        tasks.setdefault(row.item.task, []).append(index)
    for own in tasks.values():
        own.sort(key=lambda index: rows[index].length)
        yield from (own[start : start + size] for start in range(0, len(own), size))


def _one_behind(every: Iterator[_Told]) -> Iterator[_Told]:
    """Each after the next is told, which a GPU works on while this one is read."""
    before: list[_Told] = []
    for one in every:
        yield from before
        before = [one]
    yield from before


def judged(logprobs: Sequence[float]) -> Answer:
    """The answer that some options' log-probabilities amount to.

    Where they are no numbers, as after a training that went astray, there is none.
    """
    if any(map(isnan, logprobs)):
        return Answer(None, tuple(logprobs), float("nan"))
    best, *others = sorted(logprobs, reverse=True)
    margin = best - others[0] if others else float("inf")
    return Answer(logprobs.index(best), tuple(logprobs), margin)


def _crews(base: Base, adapters: Sequence[Adapter | None], tokens: int) -> Iterator[_Crew]:
    """Adapters in groups: the base alone; on a CPU each merged into the weights; else stacked."""
    bare = [index for index, adapter in enumerate(adapters) if adapter is None]
    for index in bare:
        yield _Crew([index], nullcontext)
    tuned = [(index, adapter) for index, adapter in enumerate(adapters) if adapter is not None]
    size, alone = 1, base.device.type == "cpu"
    if not alone:
        size = max(1, tokens_at_once(base) // tokens)
    for start in range(0, len(tuned), size):
        part = tuned[start : start + size]
        stack = stacked(base, [adapter for _, adapter in part])
        if alone and base.mergeable:
            yield _Crew([part[0][0]], lambda its=stack: merged(base.model, its, 0))
        else:
            yield _Crew([i for i, _ in part], lambda its=stack: attached(base.model, its))


class _Asker(NamedTuple):
    """How rows become answers."""

    base: Base
    path: ForwardPath
    letters: Letters
    scoring: Scoring
    reply_tokens: int | None

    def check(self) -> None:
        """Refuse to look for an answer where the model is still thinking.

        Raises:
            StudyError: see `score_fleet`.
        """
        if self.scoring == "letters":
            refuse_open_block(
                self.base,
                "no option can be scored by its log-probability (evaluation.scoring: generate "
                "with reply_tokens: 2048 would read the reply that follows the block)",
            )
        elif self.reply_tokens is None:
            refuse_open_block(
                self.base,
                f"a reply of {LONGEST_REPLY} tokens ends too soon (set evaluation.reply_tokens, "
                "say 2048)",
            )

    def answers(self, rows: Sequence[Row]) -> Callable[[], list[Answer]]:
        """What waits for the answers of a batch."""
        if rows[0].item.truth is not None:
            numbers = self._numbers(rows)
            return lambda: numbers
        said = self._replies(rows, is_final) if self.scoring == "generate" else []
        if open_block(prompt_end(self.base.processor)):  # whose end is no place for an option
            most = max(len(row.item.choices) for row in rows)
            table = fetched(torch.full((len(rows), most), torch.nan))
        else:
            table = fetched(_logprobs(self.path, self.letters, rows))

        def read() -> list[Answer]:
            answers = [
                judged(line[: len(row.item.choices)])
                for line, row in zip(table().tolist(), rows, strict=True)
            ]
            if self.scoring == "letters":
                return answers
            return [
                answer._replace(choice=read_reply(reply, row.item.choices))
                for answer, reply, row in zip(answers, said, rows, strict=True)
            ]

        return read

    def _numbers(self, rows: Sequence[Row]) -> list[Answer]:
        """Answers that are numbers, which are always generated; a task's items are of one kind."""
        answers = []
        for row, reply in zip(rows, self._replies(rows, number_is_final), strict=True):
            truth = row.item.truth
            assert truth is not None, f"{row.item.task} asks for numbers and for letters"
            answers.append(Answer(None, (), float("nan"), score_number(reply, truth)))
        return answers

    def _replies(self, rows: Sequence[Row], settled: Callable[[str], bool]) -> list[str]:
        most = self.reply_tokens or LONGEST_REPLY
        return replies(self.base, self.path, rows, settled, most)


def _logprobs(path: ForwardPath, its_letters: Letters, rows: Sequence[Row]) -> Tensor:
    """Log-probability (rows, letters) of each letter after the stem that all answers share."""
    most = max(len(row.item.choices) for row in rows)
    stem, tails = its_letters.stem, its_letters.tails[:most]
    if its_letters.single:
        asked = [row._replace(said=stem) for row in rows]
        logprobs = path.logits(asked)[:, -1].log_softmax(-1)
        columns = sent(torch.tensor([tail[0] for tail in tails]), logprobs.device)
        return logprobs.index_select(1, columns)
    columns = []
    for tail in tails:
        asked = [row._replace(said=stem + tail[:-1]) for row in rows]
        logprobs = path.logits(asked, len(tail)).log_softmax(-1)
        said = sent(torch.tensor(tail), logprobs.device).expand(len(rows), -1)
        columns.append(logprobs.gather(2, said[..., None]).sum((1, 2)))
    return torch.stack(columns, 1)


def replies(
    base: Base,
    path: ForwardPath,
    rows: Sequence[Row],
    settled: Callable[[str], bool] = is_final,
    most: int = LONGEST_REPLY,
) -> list[str]:
    """What a base says to some rows, decoded greedily up to `most` tokens.

    A reply also ends where nothing that may follow changes what is read in it. It is text: no
    token that stands for a picture is said. What is thought before it is no part of it; a reply
    that ends inside a thinking block is empty.
    """
    tokenizer, ends, end = base.processor.tokenizer, _ends(base), prompt_end(base.processor)
    unsaid = sent(torch.tensor(_picture_tokens(base), dtype=torch.long), base.device)
    said: list[tuple[int, ...]] = [()] * len(rows)
    texts, going = [""] * len(rows), [True] * len(rows)
    for _ in range(most):
        if not any(going):
            break
        # Rows that have ended stay in the batch: an adapter is known by its rows' places.
        asked = [row._replace(said=its) for row, its in zip(rows, said, strict=True)]
        logits = path.logits(asked)[:, -1]
        logits.index_fill_(1, unsaid, -torch.inf)
        chosen = logits.argmax(-1).tolist()
        for index, token in enumerate(chosen):
            said[index] += (token,)
            if going[index] and token in ends:
                going[index] = False
            elif going[index]:
                whole = tokenizer.decode(said[index], skip_special_tokens=False)
                if open_block(end + whole):
                    texts[index] = ""
                    continue
                texts[index] = after_block(whole)
                if texts[index] == whole:  # nothing was thought
                    texts[index] = tokenizer.decode(said[index], skip_special_tokens=True)
                going[index] = not settled(texts[index])
    return texts


def _picture_tokens(base: Base) -> list[int]:
    """The tokens in whose place a picture's or a video's features stand."""
    named = (getattr(base.model.config, f"{kind}_token_id", None) for kind in ("image", "video"))
    return [token for token in named if isinstance(token, int)]


def _ends(base: Base) -> set[int]:
    """The tokens that end a reply."""
    ends: set[int] = set()
    for config in (base.model.generation_config, base.processor.tokenizer):
        its = getattr(config, "eos_token_id", None)
        ends |= {its} if isinstance(its, int) else set(its or ())
    return ends
