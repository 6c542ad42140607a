"""The bases' words: a tokenizer with one token a word, in Qwen2.5-VL's chat format.

White space parts words and vanishes; `.`, `,`, `?` and `:` and the option letters `(A)` to `(J)`
are tokens of their own. The vocabulary is a list in `vocabulary.json` that only ever grows at its
end, so a row of an embedding keeps its meaning. A word that is not in it becomes `<|unknown|>`.

`words` needs the tokenizers library only, so that the processes that draw stay light.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from transferscope.engine.glimpse.prompt_layout import IMAGE_PAD, PAD, SPECIAL, TURN_END, VIDEO_PAD

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = Path(__file__).with_name("vocabulary.json")
UNKNOWN = "<|unknown|>"
_PIECE = r"\([A-J]\)|[.,?:]"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's template without its system prompt, numbering and videos."""


@cache
def vocabulary() -> tuple[str, ...]:
    """All words, in the order of their ids."""
    return tuple(json.loads(VOCABULARY.read_text(encoding="utf-8")))


@cache
def letters() -> tuple[int, ...]:
    """Ids of `(A)`, `(B)` ... `(J)`."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    return tuple(ids[f"({letter})"] for letter in "ABCDEFGHIJ")


def rows(words: int) -> int:
    """Rows of the embedding: the vocabulary's size, padded to a multiple of 64."""
    return -(-words // 64) * 64


@cache
def tokenizer() -> Tokenizer:
    """The tokenizer itself, without transformers."""
    words = {word: index for index, word in enumerate(vocabulary())}
    made = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_PIECE), "isolated")]
    )
    made.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIAL, UNKNOWN)])
    return made


def encode(text: str) -> list[int]:
    """Ids of a text's words."""
    return tokenizer().encode(text).ids


def missing(texts: Iterable[str]) -> list[str]:
    """The words of some texts that the vocabulary lacks, sorted."""
    found = {piece for text in texts for word in text.split() for piece in _pieces(word)}
    return sorted(found - set(vocabulary()))


def extend(texts: Iterable[str]) -> list[str]:
    """Append the words that are missing to `vocabulary.json`; answers with them."""
    new = missing(texts)
    if new:
        VOCABULARY.write_text(
            json.dumps([*vocabulary(), *new], indent=0, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
        for kept in (vocabulary, letters, tokenizer):
            kept.cache_clear()
    return new


def pretrained_tokenizer() -> "PreTrainedTokenizerFast":
    """The tokenizer as transformers wants it, chat template included."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(),
        bos_token=None,
        eos_token=SPECIAL[TURN_END],
        pad_token=SPECIAL[PAD],
        unk_token=UNKNOWN,
        extra_special_tokens={
            "image_token": SPECIAL[IMAGE_PAD],
            "video_token": SPECIAL[VIDEO_PAD],
        },
        model_max_length=1024,
        padding_side="left",  # so that generation works for a batch
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
    )


def _pieces(word: str) -> list[str]:
    """A word without white space, parted as the tokenizer parts it."""
    return [piece for piece in re.split(f"({_PIECE})", word) if piece]
