"""Items as token rows, the tokens of options, and the forward paths that run a base on rows.

A forward path turns items into rows, and rows into logits of the tokens that follow, or into
replies. There is one for any model (`reference_path`), one for Qwen's families (`qwen_path`) and
one for the embedded bases (`glimpse`). They give the same numbers. `families` lists which path a
family has.
"""

from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from transferscope.engine.base_model import Base
from transferscope.engine.devices import layers_by_device
from transferscope.engine.families import FAMILIES, GLIMPSE, OTHER
from transferscope.engine.glimpse.prompt_layout import fits, is_embedded
from transferscope.errors import DataError
from transferscope.tasks import LETTERS, Item

REFERENCE = "reference"
"""The path that runs any model, by name."""

ANSWER = "({})"
"""How an answer is written: a letter in parentheses, as BLINK's prompts write the options."""


class Row(NamedTuple):
    """One question as token ids, up to the position where the answer begins."""

    item: Item
    ids: tuple[int, ...]
    """The prompt's tokens, image tokens included."""
    grids: tuple[tuple[int, int, int], ...] = ()
    """Time, height and width of each image in patches; only on Qwen's path."""
    answer_ids: tuple[int, ...] = ()
    """Tokens of the answer after the prompt."""

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids) + len(self.answer_ids)


class ForwardPath(Protocol):
    """One way to run a base."""

    def encode(self, items: Sequence[Item]) -> list[Row]:
        """Items as rows."""
        ...

    def logits(self, rows: Sequence[Row], num_logits_to_keep: int = 1) -> Tensor:
        """Logits (rows, num_logits_to_keep, vocabulary) at the last positions, float32 or more."""
        ...

    def generate(self, rows: Sequence[Row], **options: Any) -> Tensor:
        """The tokens (rows, longest reply) that transformers' `generate` writes after the rows."""
        ...


def forward_path(base: Base, items: Sequence[Item], kind: str = "") -> ForwardPath:
    """The fastest path that runs items on a base, or that of the family `kind` or `REFERENCE`."""
    if not kind:
        family = base.model.config.model_type
        kind = family if family in FAMILIES else REFERENCE
        if len(layers_by_device(base.model)) == 1 and is_embedded(base) and fits(items):
            kind = GLIMPSE
    if kind not in base.paths:
        module, _, name = FAMILIES.get(kind, OTHER).path.partition(":")
        base.paths[kind] = getattr(import_module(module), name)(base)
    return base.paths[kind]


class OptionTokens(NamedTuple):
    """The tokens with which answers begin."""

    prefix: tuple[int, ...]
    """Tokens that all answers begin with."""
    suffixes: tuple[tuple[int, ...], ...]
    """For each letter the tokens after the prefix, up to the first that no other letter has."""


def option_tokens(processor: Any) -> OptionTokens:
    """How a tokenizer writes the answers (A) to (J) at the beginning of a reply.

    Raises:
        DataError: the tokenizer writes two letters alike.
    """
    tokenizer = processor.tokenizer
    chat = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    before = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    # A template may write white space before a reply, as SmolVLM's in `Assistant: (A)`.
    first = ANSWER.format(LETTERS[0])
    reply = {"role": "assistant", "content": [{"type": "text", "text": first}]}
    whole = processor.apply_chat_template([*chat, reply], tokenize=False)
    blank, found, _ = whole.removeprefix(before).partition(first)
    if not (whole.startswith(before) and found and not blank.strip()):
        blank = ""
    prompt_ids, answers = tokenizer(before)["input_ids"], []
    for letter in LETTERS:
        answer = blank + ANSWER.format(letter)
        ids = tokenizer(before + answer)["input_ids"]
        if ids[: len(prompt_ids)] != prompt_ids:  # the answer merges with the prompt's last token
            ids = prompt_ids + tokenizer(answer, add_special_tokens=False)["input_ids"]
        answers.append(tuple(ids[len(prompt_ids) :]))
    return distinct_tokens(answers)


def distinct_tokens(answers: Sequence[tuple[int, ...]]) -> OptionTokens:
    """Answers' tokens as a common prefix and the shortest suffixes that differ.

    Raises:
        DataError: two answers are equal, or one begins with another.
    """
    equal = takewhile(lambda column: len(set(column)) == 1, zip(*answers, strict=False))
    shared, suffixes = len([*equal]), []
    for answer in answers:
        others = [other for other in answers if other is not answer]
        ends = range(shared + 1, len(answer) + 1)
        new = (end for end in ends if all(other[:end] != answer[:end] for other in others))
        if (end := next(new, None)) is None:
            raise DataError("the tokenizer does not distinguish the answers (A) to (J)")
        suffixes.append(answer[shared:end])
    return OptionTokens(answers[0][:shared], tuple(suffixes))


def chat(item: Item, images: Sequence[object] | None = None) -> list[dict[str, Any]]:
    """An item as a conversation: PIL images, None if only their positions matter, then text."""
    shown = [{"type": "image"}] * len(item.images)
    if images is not None:
        shown = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": item.prompt}]}]
