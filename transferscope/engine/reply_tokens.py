"""Replies as tokens: those a base is trained on, and those with which options begin."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from transferscope.engine.base_model import Base
from transferscope.engine.families import FAMILIES, GLIMPSE, family_of
from transferscope.engine.glimpse.prompt_layout import is_embedded
from transferscope.engine.qwen_vision import patch_grid
from transferscope.errors import DataError
from transferscope.tasks import LETTERS, Item, ItemImage
from transferscope.tasks.open_answers import Extent, Label

ANSWER = "({})"
"""How an option is written: a letter in parentheses, as BLINK's prompts write the options."""


class OptionTokens(NamedTuple):
    """The tokens with which replies begin that name an option."""

    prefix: tuple[int, ...]
    """Tokens that all answers begin with."""
    suffixes: tuple[tuple[int, ...], ...]
    """For each letter the tokens after the prefix, up to the first that no other letter has."""


def reply_text(base: Base, item: Item, label: Label) -> str:
    """A label as the base is trained to reply to an item."""
    if isinstance(label, int):
        return ANSWER.format(LETTERS[label])
    return label.reply(extent(base, item.images[label.image]))


def extent(base: Base, image: ItemImage) -> Extent:
    """How the base's family writes coordinates in an image, on any path."""
    family = FAMILIES[GLIMPSE] if is_embedded(base) else family_of(base.model.config)
    if largest := family.coordinates:
        return Extent(largest, largest, family.y_first)
    patch = base.processor.image_processor.patch_size
    _, height, width = patch_grid(base.processor.image_processor, image)
    return Extent(width * patch, height * patch, family.y_first)


def reply_tokens(processor: Any, texts: Sequence[str], *, end: bool) -> list[tuple[int, ...]]:
    """The tokens of replies after a prompt, with the token that ends the turn if `end`."""
    tokenizer = processor.tokenizer
    chat = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    before = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    # A template may write white space before a reply, as SmolVLM's in `Assistant: (A)`.
    first = ANSWER.format(LETTERS[0])
    reply = {"role": "assistant", "content": [{"type": "text", "text": first}]}
    whole = processor.apply_chat_template([*chat, reply], tokenize=False)
    blank, found, after = whole.removeprefix(before).partition(first)
    if not (whole.startswith(before) and found and not blank.strip()):
        blank = after = ""
    last: tuple[int, ...] = ()
    if end:
        # Only the first token after the reply; a template without one ends at the tokenizer's own.
        written = tokenizer(after, add_special_tokens=False)["input_ids"][:1]
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        last = (written[0] if special.issuperset(written[:1] or [-1]) else tokenizer.eos_token_id,)
    prompt_ids, made = tokenizer(before)["input_ids"], dict[str, tuple[int, ...]]()
    for text in dict.fromkeys(texts):
        ids = tokenizer(before + blank + text)["input_ids"]
        if ids[: len(prompt_ids)] != prompt_ids:  # the reply merges with the prompt's last token
            ids = prompt_ids + tokenizer(blank + text, add_special_tokens=False)["input_ids"]
        made[text] = (*ids[len(prompt_ids) :], *last)
    return [made[text] for text in texts]


def option_tokens(processor: Any) -> OptionTokens:
    """How a tokenizer writes the answers (A) to (J) at the beginning of a reply.

    Raises:
        DataError: the tokenizer writes two letters alike.
    """
    return distinct_tokens(reply_tokens(processor, [*map(ANSWER.format, LETTERS)], end=False))


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
