"""PEFT's side of `fleet.py`: what a user does today, and what a careful user gets out of it."""

import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.engine import train
from transferscope.engine.adapter import Adapter
from transferscope.engine.base_model import Base
from transferscope.engine.compiled import eagerly
from transferscope.engine.linears import target_linears
from transferscope.engine.optimizer import lr_lambda
from transferscope.engine.qwen_vision import use_window_attention
from transferscope.engine.records import TrainingJob
from transferscope.engine.reference_path import ReferencePath
from transferscope.engine.reply_tokens import option_tokens, reply_tokens
from transferscope.tasks import LETTERS, Item
from transferscope.tasks.answers import read_reply

TOKENS = 4
"""Most tokens that `generate` makes: enough for `(A)`."""


class Setup(NamedTuple):
    """What is run."""

    base: Base
    recipe: Any
    jobs: list[TrainingJob]
    questions: list[Item]
    answering: int
    """Items of a scoring batch, ours and the tuned one's."""
    checkpointing: bool
    """Whether a common run is also timed with activations that are computed twice."""
    clock: Callable[[], float] = time.perf_counter


@contextmanager
def uncompiled(model: Any, *, tuned: bool) -> Generator[None]:
    """A model with nothing compiled, its vision attention as it comes or without a loop."""
    before = model.config.vision_config._attn_implementation
    try:
        with eagerly(model):
            if tuned:
                use_window_attention(model)
            else:
                model.set_attn_implementation({"vision_config": "sdpa"})
            yield
    finally:
        model.set_attn_implementation({"vision_config": before})


@contextmanager
def lora(setup: Setup, start: Adapter, *, tuned: bool, checkpointing: bool = False) -> Iterator:
    """The base as a PEFT model that begins with an adapter's weights; then as it was."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    model, recipe = setup.base.model, setup.recipe
    names = list(target_linears(model, recipe.targets))
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=names)
    with uncompiled(model, tuned=tuned), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        its: Any = get_peft_model(model, config)
        set_peft_model_state_dict(its, start.tensors)
        if checkpointing:
            its.train()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        try:
            yield its
        finally:
            if checkpointing:
                model.gradient_checkpointing_disable()
            its.unload()
            model.requires_grad_(False).eval()


def peft_run(
    setup: Setup, job: TrainingJob, start: Adapter, *, tuned: bool, checkpointing: bool = False
) -> tuple[float, list[float], dict[str, Tensor]]:
    """One adapter: seconds, the loss of each step, the weights."""
    recipe, plain = setup.recipe, ReferencePath(setup.base)
    count = len(job.items)
    orders = train.epoch_orders(count, recipe.epochs, job.order_seed)
    size = recipe.batch_size
    batches = [order[at : at + size] for order in orders for at in range(0, count, size)]

    def made(batch: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
        return inputs_of(setup, plain, [job.items[index] for index in batch], whole=not tuned)

    with lora(setup, start, tuned=tuned, checkpointing=checkpointing) as model:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(
            weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        ready, losses = [made(batch) if tuned else None for batch in batches], []
        begun = now(setup)
        for step, batch in enumerate(batches):
            share = lr_lambda(recipe.schedule, recipe.warmup, step, len(batches))
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * share
            inputs, replies = ready[step] or made(batch)
            loss = loss_of(model, inputs, replies, tuned=tuned)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm)
            optimizer.step()
            losses.append(loss.detach())
        seconds = now(setup) - begun
        numbers = {
            name.replace(".default", ""): weight.detach().cpu().clone()
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
    return seconds, torch.stack(losses).tolist(), numbers


def inputs_of(
    setup: Setup, plain: ReferencePath, items: Sequence[Item], *, whole: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """The processor's tensors, with the answer (its last token only if `whole`), and the answer."""
    texts = [f"({LETTERS[item.answer]})" for item in items]
    replies = reply_tokens(setup.base.processor, texts, end=True)
    rows = [
        row._replace(answer_ids=answer if whole else answer[:-1])
        for row, answer in zip(plain.encode(items), replies, strict=True)
    ]
    return plain.inputs(rows), torch.tensor(replies, device=setup.base.device)


def loss_of(model: Any, inputs: dict[str, Tensor], replies: Tensor, *, tuned: bool) -> Tensor:
    """The mean cross-entropy of the answers' tokens."""
    if tuned:
        logits = model(**inputs, use_cache=False, logits_to_keep=replies.shape[1]).logits.float()
        return functional.cross_entropy(logits.flatten(0, 1), replies.flatten())
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -replies.shape[1] :] = replies
    return model(**inputs, labels=labels, use_cache=False).loss


@torch.no_grad()
def peft_letters(setup: Setup, adapter: Adapter) -> tuple[float, list[int | None]]:
    """Seconds and choices of one forward that reads the letters."""
    plain, its, choices = ReferencePath(setup.base), option_tokens(setup.base.processor), []
    with lora(setup, adapter, tuned=True) as model:
        model.eval()
        batches = list(parted(setup.questions, setup.answering))
        ready = [
            plain.inputs([row._replace(answer_ids=its.prefix) for row in plain.encode(batch)])
            for batch in batches
        ]
        begun = now(setup)
        for batch, inputs in zip(batches, ready, strict=True):
            logits = model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float()
            table = logits[:, [tail[0] for tail in its.suffixes]].tolist()
            for line, item in zip(table, batch, strict=True):
                choices.append(int(np.argmax(line[: len(item.choices)])))
        return now(setup) - begun, choices


@torch.no_grad()
def peft_generate(
    setup: Setup, adapter: Adapter, size: int, items: Sequence[Item]
) -> tuple[float, list[int | None]]:
    """Seconds and choices of `generate`, some items at a time."""
    plain, decode, choices = ReferencePath(setup.base), setup.base.processor.tokenizer.decode, []
    with lora(setup, adapter, tuned=False) as model:
        model.eval()
        begun = now(setup)
        for batch in parted(items, size):
            inputs = plain.inputs(plain.encode(batch))
            made = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
            for item, ids in zip(batch, made[:, inputs["input_ids"].shape[1] :], strict=True):
                choices.append(read_reply(decode(ids, skip_special_tokens=True), item.choices))
        return now(setup) - begun, choices


def parted(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Items in batches."""
    yield from (items[at : at + size] for at in range(0, len(items), size))


@torch.no_grad()
def stock_encode(setup: Setup, items: Sequence[Item]) -> float:
    """Seconds to encode all images through the processor and the tower as it comes."""
    plain = ReferencePath(setup.base)
    with uncompiled(setup.base.model, tuned=False):
        begun = now(setup)
        for batch in parted(items, 8):
            its = plain.inputs(plain.encode(batch))
            setup.base.model.model.get_image_features(its["pixel_values"], its["image_grid_thw"])
        return now(setup) - begun


def now(setup: Setup) -> float:
    """Seconds, when the device has done what was started."""
    if setup.base.device.type == "cuda":
        torch.cuda.synchronize()
    return setup.clock()
