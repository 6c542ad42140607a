"""Train many adapters over one frozen base.

In:   a job for each adapter: its items, its seeds.
Out:  the adapters, as separate PEFT runs would have trained them.

Jobs of similar length share forwards; each has its own items, order, loss, clipping, optimiser
state and schedule. The loss is the cross-entropy of the answer's first tokens, and scores are
computed there alone.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.engine.adapter import Adapter, adapter_of, peft_config
from transferscope.engine.compiled import CompileError, give_up
from transferscope.engine.devices import in_order, sent
from transferscope.engine.linears import not_adapted, target_linears
from transferscope.engine.lora import Dropout, Stack, attached
from transferscope.engine.loss_curve import Log, judged
from transferscope.engine.memory import MemoryPlan, checkpointing, folding_pays, training_room
from transferscope.engine.optimizer import AdamW, clip
from transferscope.engine.paths import forward_path
from transferscope.engine.rows import ForwardPath, Letters, Row, letters
from transferscope.engine.thinking import refuse_open_block
from transferscope.engine.vlm import Base
from transferscope.errors import StudyError
from transferscope.tasks import Item

Progress = Callable[[int, int], None]

CLOSE = 0.9
"""Jobs share forwards where the shorter one's rows are at least this part of the longer one's."""

_NO_TOKEN = -100


class Recipe(Protocol):
    """How adapters are trained, as `study.Recipe` says."""

    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    learning_rate: float
    schedule: Literal["linear", "cosine", "constant"]
    warmup: float
    batch_size: int
    weight_decay: float
    max_grad_norm: float

    def steps_for(self, items: int) -> int:
        """Optimiser steps of an adapter that learns from so many items."""
        ...


class Job(NamedTuple):
    """One adapter to train."""

    source: str
    seed: int
    items: Sequence[Item]
    """In the order of the first epoch."""
    init_seed: int
    order_seed: int
    dropout_seed: int
    answers: Sequence[int] | None = None
    """Labels to train on instead of the items' own answers, for placebos."""


class _Squad(NamedTuple):
    """Jobs that are trained in the same forwards."""

    indices: list[int]
    """Their places among all jobs."""
    jobs: list[Job]
    rows: list[list[Row]]
    targets: list[list[tuple[int, ...]]]
    """Of each item the answer's first tokens."""
    steps: list[int]
    room: MemoryPlan

    def batches(self, recipe: Any) -> Iterator[list[np.ndarray]]:
        """Of each step and job the items of its batch; none where the job is over."""
        lengths = [-(-len(job.items) // recipe.batch_size) for job in self.jobs]
        orders = [
            epoch_orders(len(job.items), -(-steps // length), job.order_seed)
            for job, steps, length in zip(self.jobs, self.steps, lengths, strict=True)
        ]
        for step in range(max(self.steps)):
            batch = []
            for length, its, steps in zip(lengths, orders, self.steps, strict=True):
                epoch, place = divmod(step, length)
                order = its[epoch] if step < steps else np.arange(0)
                batch.append(order[place * recipe.batch_size : (place + 1) * recipe.batch_size])
            yield batch


def check_training(base: Base, recipe: Any) -> str:
    """Refuse a base that a recipe cannot train; answers with what of it is adapted and what not.

    Raises:
        StudyError: the recipe names a layer that the base lacks, or experts, or prompts end inside
            an open thinking block.
    """
    refuse_open_block(base, "the answer cannot be trained")
    try:
        return not_adapted(base.model, recipe.targets)
    except StudyError as error:
        raise StudyError(f"{base.name}: {error}") from None


@in_order
def train_fleet(
    base: Base,
    jobs: Sequence[Job],
    recipe: Any,
    *,
    rows: int | None = None,
    progress: Progress | None = None,
) -> list[Adapter]:
    """Train an adapter for each job.

    Args:
        recipe: see `Recipe`.
        rows: most items of an adapter in one forward, a larger batch in parts; None: what fits.
        progress: called with the steps done and the steps of all adapters.

    Returns:
        Adapters with their curves; one whose `curve.failed` is not empty must not be used.

    Raises:
        StudyError: a job has no items or an answer beyond its choices; see also `check_training`.
    """
    for job in jobs:
        _check(job)
    check_training(base, recipe)
    names = list(target_linears(base.model, recipe.targets))
    config = peft_config(base, recipe, names)
    path = forward_path(base, [item for job in jobs for item in job.items])
    squads = list(_squads(base, path, jobs, recipe, rows))
    done, total = 0, sum(sum(squad.steps) for squad in squads)
    trained: dict[int, Adapter] = {}
    for squad in squads:
        stack, log, before = _start(base, squad.jobs, recipe, names), Log(squad.steps), done
        with closing(_train(base, path, stack, squad, recipe, log)) as steps:
            for active in steps:
                done += active
                if progress is not None:
                    progress(done, total)
        done = before + sum(squad.steps)
        for place, curve in enumerate(log.curves()):
            made = adapter_of(stack, place, squad.jobs[place], config, base)
            curve = judged(curve, made.tensors, recipe.learning_rate)
            trained[squad.indices[place]] = replace(made, curve=curve)
    return [trained[index] for index in range(len(jobs))]


def epoch_orders(items: int, epochs: int, order_seed: int) -> list[np.ndarray]:
    """The order of the items in each epoch: as they come, then permuted by the seed."""
    generator = np.random.default_rng(order_seed)
    return [np.arange(items), *(generator.permutation(items) for _ in range(epochs - 1))]


def _check(job: Job) -> None:
    if not job.items:
        raise StudyError(f"source {job.source!r} seed {job.seed}: no items to train on")
    answers = [item.answer for item in job.items] if job.answers is None else job.answers
    if len(answers) != len(job.items):
        raise StudyError(f"source {job.source!r}: {len(answers)} answers, {len(job.items)} items")
    for item, answer in zip(job.items, answers, strict=True):
        if not 0 <= answer < len(item.choices):
            raise StudyError(f"item {item.id!r}: answer {answer} of {len(item.choices)} choices")


def _encoded(path: ForwardPath, jobs: Sequence[Job]) -> list[list[Row]]:
    """Every job's rows; an item that several jobs share is encoded once."""
    distinct = {id(item): item for job in jobs for item in job.items}
    made = dict(zip(distinct, path.encode(list(distinct.values())), strict=True))
    return [[made[id(item)] for item in job.items] for job in jobs]


def _squads(
    base: Base, path: ForwardPath, jobs: Sequence[Job], recipe: Any, most: int | None = None
) -> Iterator[_Squad]:
    """Jobs of similar length together, as many as memory allows."""
    rows, its_letters = _encoded(path, jobs), letters(base.processor)
    targets = [_targets(job, its_letters) for job in jobs]
    steps = [recipe.steps_for(len(job.items)) for job in jobs]
    longest = [max(row.length for row in its) for its in rows]
    changed = target_linears(base.model, recipe.targets).values()
    numbers = recipe.rank * sum(its.in_features + its.out_features for its in changed)

    def squad(indices: list[int], room: MemoryPlan) -> _Squad:
        return _Squad(
            indices,
            [jobs[index] for index in indices],
            [rows[index] for index in indices],
            [targets[index] for index in indices],
            [steps[index] for index in indices],
            room,
        )

    members: list[int] = []
    room = MemoryPlan(1, 1, False)
    for index in sorted(range(len(jobs)), key=lambda index: (-longest[index], -steps[index])):
        far = members and longest[index] < CLOSE * longest[members[0]]
        if members and (far or len(members) == room.adapters):
            yield squad(members, room)
            members = []
        if not members:
            room = training_room(base, recipe.batch_size, longest[index], numbers)
            parts = -(-recipe.batch_size // (most or recipe.batch_size))
            room = room._replace(parts=max(room.parts, parts))
        members.append(index)
    if members:
        yield squad(members, room)


def _start(base: Base, jobs: Sequence[Job], recipe: Any, names: Sequence[str]) -> Stack:
    linears = {name: base.model.get_submodule(name) for name in names}
    stack = Stack(
        {name: (its.out_features, its.in_features) for name, its in linears.items()},
        len(jobs),
        recipe.rank,
        recipe.alpha / recipe.rank,
        dtype=torch.promote_types(base.dtype, torch.float32),
        devices={name: its.weight.device for name, its in linears.items()},
    )
    stack.initialise([job.init_seed for job in jobs])
    stack.train()
    return stack


def _train(
    base: Base, path: ForwardPath, stack: Stack, squad: _Squad, recipe: Any, log: Log
) -> Generator[int]:
    """Train a squad; yields after each step how many adapters took it."""
    optimisers = [AdamW(values, recipe, squad.steps) for values in stack.values]
    room = squad.room
    drop = (
        Dropout([job.dropout_seed for job in squad.jobs], recipe.dropout)
        if recipe.dropout
        else None
    )
    folded = folding_pays(base, stack, recipe.dropout)
    with attached(base.model, stack, drop, folded=folded):
        for step, batches in enumerate(squad.batches(recipe)):

            def loss(
                part: slice, step: int = step, batches: list[np.ndarray] = batches
            ) -> tuple[Tensor, Tensor]:
                if drop is not None:
                    drop.now = (step, part.start)
                return _loss(path, squad, batches, part)

            room, losses = _gradients(base, stack, loss, max(map(len, batches)), room)
            norms = clip(stack.gradients, recipe.max_grad_norm)
            with torch.no_grad():
                for optimiser, gradients in zip(optimisers, stack.gradients, strict=True):
                    optimiser.step(gradients)
            yield sum(step < its for its in squad.steps)
            if not log.add(losses, norms):
                break


def _gradients(
    base: Base,
    stack: Stack,
    loss: Callable[[slice], tuple[Tensor, Tensor]],
    size: int,
    room: MemoryPlan,
) -> tuple[MemoryPlan, Tensor]:
    """Fill the stack's gradients for one step of `size` rows.

    Args:
        loss: of a part of the rows, as `_loss`.

    Returns:
        The room it took; each adapter's loss.
    """
    while True:
        width = -(-size // room.parts)
        try:
            for gradients in stack.gradients:
                gradients.zero_()
            with checkpointing(base.model) if room.checkpointing else nullcontext():
                each: Tensor | int = 0
                for start in range(0, size, width):
                    whole, its = loss(slice(start, start + width))
                    stack.backward(whole)
                    each = its + each
            return room, torch.as_tensor(each)
        except torch.OutOfMemoryError as error:
            smaller = room.smaller(size)
            if smaller is None:
                raise torch.OutOfMemoryError(
                    f"{base.device}: out of memory with one row at a time; lower recipe.max_pixels"
                ) from error
            room = smaller
        except CompileError as error:
            if not give_up(base.model, error):
                raise
        torch.cuda.empty_cache()


def _targets(job: Job, its_letters: Letters) -> list[tuple[int, ...]]:
    """The answer's first tokens for each item."""
    answers = [item.answer for item in job.items] if job.answers is None else job.answers
    return [its_letters.stem + its_letters.tails[answer] for answer in answers]


def _loss(
    path: ForwardPath, squad: _Squad, batches: list[np.ndarray], part: slice
) -> tuple[Tensor, Tensor]:
    """What a part of the adapters' batches adds to their mean losses: their sum, and each.

    A batch smaller than the others is filled up with rows that count nothing.
    """
    size = max(len(batch[part]) for batch in batches)
    asked: list[Row] = []
    wanted: list[tuple[int, ...]] = []
    shares: list[float] = []
    for rows, targets, batch in zip(squad.rows, squad.targets, batches, strict=True):
        tokens = max(1, sum(len(targets[item]) for item in batch))
        its = batch[part].tolist()
        for item in its + [0] * (size - len(its)):
            asked.append(rows[item]._replace(said=targets[item][:-1]))
        wanted += [targets[item] for item in its] + [()] * (size - len(its))
        shares += [1 / tokens] * len(its) + [0.0] * (size - len(its))
    read = max(map(len, wanted))
    table = torch.tensor([(_NO_TOKEN,) * (read - len(target)) + target for target in wanted])
    logits = path.logits(asked, read)
    losses = functional.cross_entropy(
        logits.flatten(0, 1),
        sent(table.flatten(), logits.device),
        reduction="none",
        ignore_index=_NO_TOKEN,
    )
    weights = sent(torch.tensor(shares, dtype=logits.dtype), logits.device)
    own = losses.view(table.shape).sum(1)
    each = torch.where(weights > 0, own.detach() * weights, 0).view(len(batches), size).sum(1)
    return own @ weights, each
