"""Score all adapters of a fleet on the same items.

Options are compared by the log-probability of their letters where the answer begins, in one
forward; `generate` writes a reply and reads the option or the open answer in it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from transferscope.engine.adapter import Adapter, stacked
from transferscope.engine.base_model import Base, refuse_open_block
from transferscope.engine.checkpoint import finetuned
from transferscope.engine.devices import deterministic, to_cpu, to_device
from transferscope.engine.forward_paths import ForwardPath, Row, forward_path
from transferscope.engine.generation import LONGEST_REPLY, replies
from transferscope.engine.lora import attached, merged
from transferscope.engine.memory import scoring_tokens
from transferscope.engine.peft_layers import with_peft
from transferscope.engine.processors import open_block, prompt_end
from transferscope.engine.records import Prediction, Progress, Scoring
from transferscope.engine.reply_tokens import OptionTokens, extent, option_tokens
from transferscope.errors import StudyError
from transferscope.tasks import LETTERS, Item
from transferscope.tasks.answers import is_final, read_reply

Pending = Callable[[], list[Prediction]]
"""Waits for a batch's predictions on the GPU and returns them."""


class _AdapterGroup(NamedTuple):
    """Adapters that are scored in the same forwards."""

    indices: list[int]
    """Their places among all adapters."""
    base: Base
    """The base, or a copy with PEFT's own layers or other weights."""
    attach: Callable[[], AbstractContextManager[None]] = nullcontext
    """A context in which the base has these adapters."""


@deterministic
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
) -> list[list[Prediction]]:
    """The predictions of each adapter, None for the base itself, for each item.

    Args:
        items: of any tasks. Items of different tasks never share a forward, so that a task's
            predictions do not depend on the other tasks.
        reply_tokens: most tokens of a generated reply; None: `LONGEST_REPLY`, or an open answer's
            `longest`.
        batch_size: items per forward.
        progress: called with the number of predictions made and their total.

    Returns:
        A list for each adapter with a prediction for each item, in their order.

    Raises:
        StudyError: an item has more choices than there are letters, or none; or prompts end inside
            an open thinking block, and letters are scored or a reply is too short to close it.
    """
    _check(base, items, scoring, reply_tokens)
    writes = scoring == "generate" or any(item.truth is not None for item in items)
    path = forward_path(base, items, writes=writes)
    base, options = path.base, option_tokens(path.base.processor)
    rows = path.encode(items)
    batches = _batches(rows, batch_size)
    longest = max((row.length for row in rows), default=1)
    if writes:  # replies; the keys and values of all layers take as much as a forward
        longest = 2 * (longest + (reply_tokens or max(map(_longest_reply, items))))
    found: dict[tuple[int, int], Prediction] = {}
    for group in _adapter_groups(base, adapters, batch_size * longest):

        def read(batch: list[int], pending: Pending, group: _AdapterGroup = group) -> None:
            places = [(adapter, index) for adapter in group.indices for index in batch]
            found.update(zip(places, pending(), strict=True))
            if progress is not None:
                progress(len(found), len(adapters) * len(items))

        own_path = path if group.base is base else forward_path(group.base, items)
        start = partial(_predictions, group.base, own_path, options, scoring, reply_tokens)
        with group.attach():
            # Read one batch behind, so that the GPU works on the next one meanwhile.
            started: deque[tuple[list[int], Pending]] = deque()
            for batch in batches:
                own = [rows[index] for index in batch]
                started.append((batch, start(own * len(group.indices))))
                if len(started) > 1:
                    read(*started.popleft())
            for batch, pending in started:
                read(batch, pending)
    return [[found[own, index] for index in range(len(items))] for own in range(len(adapters))]


def _longest_reply(item: Item) -> int:
    return LONGEST_REPLY if item.truth is None else item.truth.longest


def _check(base: Base, items: Sequence[Item], scoring: Scoring, reply_tokens: int | None) -> None:
    for item in items:
        if item.truth is None and not 0 < len(item.choices) <= len(LETTERS):
            raise StudyError(
                f"item {item.id!r}: must have 1 to {len(LETTERS)} choices, got {len(item.choices)}"
            )
    if scoring == "letters":
        refuse_open_block(
            base,
            "no option can be scored by its log-probability (evaluation.scoring: generate "
            "with reply_tokens: 2048 would read the reply that follows the block)",
        )
    elif reply_tokens is None:
        refuse_open_block(
            base,
            f"a reply of {LONGEST_REPLY} tokens ends too soon (set evaluation.reply_tokens, "
            "e.g. to 2048)",
        )


def _batches(rows: Sequence[Row], size: int) -> list[list[int]]:
    """Indices of rows of one task and of similar length.

    The longest come first, so that later batches reuse the memory that they took.
    """
    tasks: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        tasks.setdefault(row.item.task, []).append(index)
    batches = []
    for own in tasks.values():
        own.sort(key=lambda index: rows[index].length)
        batches += [own[start : start + size] for start in range(0, len(own), size)]
    return sorted(batches, key=lambda batch: -rows[batch[-1]].length)


def _adapter_groups(
    base: Base, adapters: Sequence[Adapter | None], tokens: int
) -> Iterator[_AdapterGroup]:
    """The base alone; then adapters, on a CPU each merged into the weights, else stacked; in the
    end whole models and those that need PEFT's own layers, each in a copy of the base."""
    tuned: list[tuple[int, Adapter]] = []
    plain: list[tuple[int, Adapter]] = []
    for index, adapter in enumerate(adapters):
        if adapter is None:
            yield _AdapterGroup([index], base)
        else:
            (plain if adapter.plain else tuned).append((index, adapter))
    on_cpu = base.device.type == "cpu"
    size = 1 if on_cpu else max(1, scoring_tokens(base) // tokens)
    for start in range(0, len(tuned), size):
        part = tuned[start : start + size]
        stack = stacked(base, [adapter for _, adapter in part])
        if on_cpu and base.mergeable:
            yield _AdapterGroup([part[0][0]], base, lambda s=stack: merged(base.model, s, 0))
        else:
            places = [index for index, _ in part]
            yield _AdapterGroup(places, base, lambda s=stack: attached(base.model, s))
    for index, adapter in plain:
        if adapter.whole:
            copy = finetuned(base, adapter.tensors)
        else:
            copy = with_peft(base, adapter.config, adapter.tensors, base.name)
        yield _AdapterGroup([index], copy)


def _predictions(
    base: Base,
    path: ForwardPath,
    options: OptionTokens,
    scoring: Scoring,
    reply_tokens: int | None,
    rows: Sequence[Row],
) -> Pending:
    """Start a batch; a task's items are of one kind."""
    first, texts = rows[0].item.truth, [""] * len(rows)
    if first is not None or scoring == "generate":  # open answers are always generated
        settled = is_final if first is None else first.is_final
        most = reply_tokens or _longest_reply(rows[0].item)
        texts = replies(base, path, rows, settled, most)
    if first is not None:
        made = []
        for row, text in zip(rows, texts, strict=True):
            assert row.item.truth is not None, f"{row.item.task} has open items and others"
            image = row.item.images[row.item.truth.image]
            score = row.item.truth.score(text, extent(base, image))
            made.append(Prediction(None, (), math.nan, score, text))
        return lambda: made
    if open_block(prompt_end(base.processor)):  # no option's letter stands there
        most = max(len(row.item.choices) for row in rows)
        table = to_cpu(torch.full((len(rows), most), torch.nan))
    else:
        table = to_cpu(_logprobs(path, options, rows))

    def pending() -> list[Prediction]:
        made = []
        for line, text, row in zip(table().tolist(), texts, rows, strict=True):
            one = from_logprobs(line[: len(row.item.choices)])
            if scoring == "generate":
                one = one._replace(choice=read_reply(text, row.item.choices), reply=text)
            made.append(one)
        return made

    return pending


def from_logprobs(logprobs: Sequence[float]) -> Prediction:
    """The prediction from some options' log-probabilities; no choice if any is NaN."""
    if any(map(math.isnan, logprobs)):  # of an adapter whose training diverged
        return Prediction(None, tuple(logprobs), math.nan)
    best, *others = sorted(logprobs, reverse=True)
    margin = best - others[0] if others else math.inf
    return Prediction(logprobs.index(best), tuple(logprobs), margin)


def _logprobs(path: ForwardPath, options: OptionTokens, rows: Sequence[Row]) -> Tensor:
    """Log-probability (rows, letters) of each letter after the prefix that all answers share."""
    most = max(len(row.item.choices) for row in rows)
    columns, forwards = [], {}
    for suffix in options.suffixes[:most]:
        before = suffix[:-1]
        if before not in forwards:  # mostly (), as most tokenizers write a letter as one token
            extended = [row._replace(answer_ids=options.prefix + before) for row in rows]
            forwards[before] = path.logits(extended, len(suffix)).log_softmax(-1)
        logprobs = forwards[before]
        ids = to_device(torch.tensor(suffix), logprobs.device).expand(len(rows), -1)
        columns.append(logprobs.gather(2, ids[..., None]).sum((1, 2)))
    return torch.stack(columns, 1)
