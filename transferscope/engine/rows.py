"""Items as what a model reads: rows of tokens, the letters' tokens, and the paths that read them.

A row is one question up to the place where the answer begins. A forward path turns items into
rows, and rows into scores of the tokens that follow; there is one for any model (`plain`), one for
Qwen's families (`qwen`) and one for the embedded bases (`small`). They agree.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from transferscope.engine.vision import Seen
from transferscope.errors import DataError
from transferscope.tasks import LETTERS, Item

ANSWER = "({})"
"""How an answer is said: a letter in parentheses, as BLINK's prompts write the choices."""


class Row(NamedTuple):
    """One question as a model reads it."""

    item: Item
    ids: tuple[int, ...]
    """The prompt's tokens, picture tokens included."""
    pictures: tuple[Seen, ...]
    """In order; empty on the plain path."""
    grids: tuple[tuple[int, int, int], ...] = ()
    """Time, height and width of each picture in patches; Qwen's path alone."""
    said: tuple[int, ...] = ()
    """Tokens of the answer that stand after the prompt already."""

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.ids) + len(self.said)


class ForwardPath(Protocol):
    """One way to run a base."""

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows."""
        ...

    def logits(self, rows: Sequence[Row], read: int = 1) -> Tensor:
        """Scores (rows, read, vocabulary) of what follows the last `read` places, in float32."""
        ...


class Letters(NamedTuple):
    """The tokens with which answers begin."""

    stem: tuple[int, ...]
    """Tokens that all answers begin with."""
    tails: tuple[tuple[int, ...], ...]
    """Of each letter the tokens after the stem, up to the one that tells it from all others."""

    @property
    def single(self) -> bool:
        """Whether one token tells the letters apart."""
        return all(len(tail) == 1 for tail in self.tails)


def letters(processor: Any) -> Letters:
    """How a tokenizer writes the answers (A) to (J) where a reply begins.

    Raises:
        DataError: the tokenizer writes two letters alike.
    """
    tokenizer = processor.tokenizer
    chat = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    before = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    lead, blank = tokenizer(before)["input_ids"], _blank(processor, chat, before)
    written = []
    for letter in LETTERS:
        answer = blank + ANSWER.format(letter)
        ids = tokenizer(before + answer)["input_ids"]
        if ids[: len(lead)] != lead:  # the answer melts into the prompt: write it alone
            ids = lead + tokenizer(answer, add_special_tokens=False)["input_ids"]
        written.append(tuple(ids[len(lead) :]))
    return told_apart(written)


def _blank(processor: Any, chat: list[dict[str, Any]], before: str) -> str:
    """White space that a chat template writes before a reply, as SmolVLM's in `Assistant: (A)`."""
    answer = ANSWER.format(LETTERS[0])
    reply = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    whole = processor.apply_chat_template([*chat, reply], tokenize=False)
    blank, found, _ = whole.removeprefix(before).partition(answer)
    return blank if whole.startswith(before) and found and not blank.strip() else ""


def told_apart(written: Sequence[tuple[int, ...]]) -> Letters:
    """Answers' tokens as a common stem and the shortest tails that differ.

    Raises:
        DataError: two answers are the same, or one begins with another.
    """
    stem = 0
    while len({answer[: stem + 1] for answer in written}) == 1 and stem < len(written[0]):
        stem += 1
    tails = []
    for answer in written:
        others = [other for other in written if other is not answer]
        for end in range(stem + 1, len(answer) + 1):
            if all(other[:end] != answer[:end] for other in others):
                tails.append(answer[stem:end])
                break
        else:
            raise DataError("the tokenizer does not tell the answers (A) to (J) apart")
    return Letters(written[0][:stem], tuple(tails))


def chat(item: Item, pictures: Sequence[object] | None = None) -> list[dict[str, Any]]:
    """An item as a conversation: the pictures, then the text.

    Args:
        pictures: PIL images; None where only their places matter.
    """
    seen = [{"type": "image"}] * len(item.images)
    if pictures is not None:
        seen = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*seen, {"type": "text", "text": item.prompt}]}]
