"""Replies of many adapters at once, decoded greedily by transformers' `generate`.

transformers makes the KV cache, whichever a family has, and follows the checkpoint's generation
settings, so that a reply here is the reply of the served model.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferscope.engine.base_model import Base
from transferscope.engine.devices import to_device
from transferscope.engine.families import family_of
from transferscope.engine.forward_paths import ForwardPath, Row
from transferscope.engine.processors import after_block, open_block, prompt_end
from transferscope.tasks.answers import is_final

LONGEST_REPLY = 16
"""Most tokens of a reply by default."""

READ_EVERY = 16
"""Tokens between two readings of a reply that is longer than this. Reading takes as long as the
reply is."""


def replies(
    base: Base,
    path: ForwardPath,
    rows: Sequence[Row],
    settled: Callable[[str], bool] = is_final,
    most: int = LONGEST_REPLY,
) -> list[str]:
    """A base's replies to some rows, decoded greedily up to `most` tokens.

    A reply also ends when more tokens could not change the parsed answer. Image tokens are never
    generated. A thinking block is not part of a reply; a reply that ends inside one is empty.
    """
    tokenizer, end, ends = base.processor.tokenizer, prompt_end(base.processor), end_tokens(base)
    written: list[list[int]] = [[] for _ in rows]
    going = [True] * len(rows)

    def text(tokens: list[int]) -> str:
        whole = tokenizer.decode(tokens, skip_special_tokens=False)
        if open_block(end + whole):
            return ""
        after = after_block(whole)
        return after if after != whole else tokenizer.decode(tokens, skip_special_tokens=True)

    def finished(ids: Tensor, *_: Any, **__: Any) -> Tensor:
        # Finished rows stay in the batch: a row's place identifies its adapter.
        for index, token in enumerate(ids[:, -1].tolist()):
            own = written[index]
            if going[index] and token in ends:
                going[index] = False
            elif going[index]:
                own.append(token)
                read = len(own) <= READ_EVERY or len(own) % READ_EVERY == 0
                going[index] = not (read and settled(text(own)))
        return to_device(~torch.tensor(going), ids.device)

    config = base.model.generation_config
    path.generate(
        rows,
        max_new_tokens=most,
        stopping_criteria=[finished],
        suppress_tokens=[*(config.suppress_tokens or ()), *image_tokens(base)],
        eos_token_id=sorted(ends) or None,
        pad_token_id=tokenizer.pad_token_id or 0,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        disable_compile=True,  # would take longer than most replies
    )
    return [text(tokens) for tokens in written]


def image_tokens(base: Base) -> list[int]:
    """Tokens of images and videos."""
    config = base.model.config
    named = (getattr(config, name, None) for name in family_of(config).image_tokens)
    return [token for token in named if isinstance(token, int)]


def end_tokens(base: Base) -> set[int]:
    """Tokens that end a reply, by the model's generation settings and by the tokenizer."""
    ends: set[int] = set()
    for config in (base.model.generation_config, base.processor.tokenizer):
        found = getattr(config, "eos_token_id", None)
        ends |= {found} if isinstance(found, int) else set(found or ())
    return ends


def generate_from_features(
    model: Any,
    rows: Sequence[Row],
    grids: Sequence[tuple[int, int, int]],
    features: Sequence[Tensor],
    **options: Any,
) -> Tensor:
    """`generate` of one of Qwen's families, without its vision tower.

    Args:
        grids: time, height and width of each image in patches, in the order of the rows.
        features: of each image (tokens, hidden size), with Qwen3-VL's deep ones side by side.

    Returns:
        The new tokens (rows, longest reply).
    """
    length = max(row.length for row in rows)
    # Padded with the first token, which no penalty of repetitions sees for the first time.
    ids = np.array([[row.ids[0]] * (length - row.length) + [*row.ids, *row.answer_ids]
                    for row in rows])  # fmt: skip
    mask = np.arange(length) >= length - np.array([[row.length] for row in rows])
    image = ids == model.config.image_token_id
    inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": image}
    inputs = {
        name: to_device(torch.from_numpy(value).long(), model.device)
        for name, value in inputs.items()
    }
    if features:
        size = model.config.get_text_config().hidden_size
        first, *deep = torch.cat([to_device(one, model.device) for one in features]).split(size, -1)
        encoded = SimpleNamespace(pooler_output=[first], deepstack_features=[[x] for x in deep])
        inputs |= {
            "image_grid_thw": to_device(torch.tensor(grids), model.device),
            "mm_encoder_outputs": {"image": encoded},
        }
    return model.generate(**inputs, **options)[:, length:]
