"""Train many adapters over one frozen base.

In:   a job for each adapter: its items, its seeds.
Out:  the adapters, as separate PEFT runs would have trained them.

Jobs of similar length share forwards; each has its own items, order, loss, clipping, optimiser
state and schedule. The loss is the cross-entropy of the answer's first tokens, and scores are
computed there alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.errors import StudyError
from transferscope.fleet.adapter import Adapter, adapter_of, peft_config
from transferscope.fleet.layer import Drop, Stack, attached
from transferscope.fleet.memory import tokens_at_once
from transferscope.fleet.optimiser import AdamW, clip
from transferscope.models.paths import forward_path, target_linears
from transferscope.models.rows import ForwardPath, Letters, Row, letters
from transferscope.models.vlm import Base
from transferscope.suite import Item

Progress = Callable[[int, int], None]

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
    epochs: int
    batch_size: int
    weight_decay: float
    clip: float


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

    jobs: list[int]
    rows: list[list[Row]]
    steps: list[int]


def train_fleet(
    base: Base, jobs: Sequence[Job], recipe: Any, *, progress: Progress | None = None
) -> list[Adapter]:
    """Train an adapter for each job.

    Args:
        recipe: see `Recipe`.
        progress: called with the steps done and the steps of all adapters.

    Raises:
        StudyError: a job has no items or an answer beyond its choices, or the recipe names a layer
            that the base lacks.
    """
    for job in jobs:
        _check(job)
    names = list(target_linears(base.model, recipe.targets))
    config = peft_config(base, recipe, names)
    path = forward_path(base, [item for job in jobs for item in job.items])
    its_letters = letters(base.processor)
    rows = _encoded(path, jobs)
    steps = [recipe.epochs * -(-len(its) // recipe.batch_size) for its in rows]
    done, trained = 0, {}
    for squad in _squads(rows, steps, tokens_at_once(base, training=True), recipe.batch_size):
        stack = _start(base, [jobs[index] for index in squad.jobs], recipe, names)
        its = [jobs[index] for index in squad.jobs]
        for active in _train(base, path, stack, squad, its, its_letters, recipe):
            done += active
            if progress is not None:
                progress(done, sum(steps))
        for place, index in enumerate(squad.jobs):
            job = jobs[index]
            trained[index] = adapter_of(stack, place, job.source, job.seed, config)
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
    rows: list[list[Row]], steps: list[int], tokens: int, batch: int
) -> Iterator[_Squad]:
    """Jobs of similar length together, as many as `tokens` allow, at least one."""
    longest = [max(row.length for row in its) for its in rows]
    squad: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: (longest[index], steps[index])):
        width = max((longest[index], 1))
        far = squad and longest[squad[0]] < 0.9 * width
        if squad and (far or (len(squad) + 1) * batch * width > tokens):
            yield _Squad(squad, [rows[i] for i in squad], [steps[i] for i in squad])
            squad = []
        squad.append(index)
    if squad:
        yield _Squad(squad, [rows[i] for i in squad], [steps[i] for i in squad])


def _start(base: Base, jobs: Sequence[Job], recipe: Any, names: Sequence[str]) -> Stack:
    linears = {name: base.model.get_submodule(name) for name in names}
    stack = Stack(
        {name: tuple(module.weight.shape) for name, module in linears.items()},
        len(jobs),
        recipe.rank,
        recipe.alpha / recipe.rank,
        dtype=torch.promote_types(base.dtype, torch.float32),
        device=base.device,
    )
    stack.initialise([job.init_seed for job in jobs])
    stack.train()
    return stack


def _train(
    base: Base,
    path: ForwardPath,
    stack: Stack,
    squad: _Squad,
    jobs: Sequence[Job],
    its_letters: Letters,
    recipe: Any,
) -> Iterator[int]:
    """Train a squad; yields after each step how many adapters took it."""
    optimiser = AdamW(stack.values, recipe, squad.steps)
    targets = [_targets(job, its_letters) for job in jobs]
    orders = [
        epoch_orders(len(job.items), recipe.epochs, job.order_seed) for job in jobs
    ]
    per_epoch = [-(-len(job.items) // recipe.batch_size) for job in jobs]
    drop = _dropout(jobs, recipe.dropout, base.device)
    with attached(base.model, stack, drop):
        for step in range(max(squad.steps)):
            batches = []
            for index, count in enumerate(per_epoch):
                epoch, place = divmod(step, count)
                order = orders[index][epoch] if step < squad.steps[index] else np.arange(0)
                batches.append(order[place * recipe.batch_size : (place + 1) * recipe.batch_size])
            stack.gradients.zero_()
            stack.backward(_loss(path, squad.rows, targets, batches))
            clip(stack.gradients, recipe.clip)
            with torch.no_grad():
                optimiser.step(stack.gradients)
            yield sum(step < its for its in squad.steps)


def _targets(job: Job, its_letters: Letters) -> list[tuple[int, ...]]:
    """The answer's first tokens for each item."""
    answers = [item.answer for item in job.items] if job.answers is None else job.answers
    return [its_letters.stem + its_letters.tails[answer] for answer in answers]


def _loss(
    path: ForwardPath,
    rows: list[list[Row]],
    targets: list[list[tuple[int, ...]]],
    batches: list[np.ndarray],
) -> Tensor:
    """The sum over adapters of the mean loss of their answers' tokens.

    A batch smaller than the others is filled up with rows that count nothing.
    """
    size = max(len(batch) for batch in batches)
    asked: list[Row] = []
    wanted: list[tuple[int, ...]] = []
    for index, batch in enumerate(batches):
        for place in range(size):
            item = int(batch[place]) if place < len(batch) else 0
            target = targets[index][item]
            asked.append(rows[index][item]._replace(said=target[:-1]))
            wanted.append(target if place < len(batch) else ())
    read = max(map(len, wanted))
    table = torch.tensor([(_NO_TOKEN,) * (read - len(target)) + target for target in wanted])
    logits = path.logits(asked, read)
    table = table.to(logits.device)
    losses = functional.cross_entropy(
        logits.flatten(0, 1), table.flatten(), reduction="none", ignore_index=_NO_TOKEN
    ).view(len(batches), -1)
    counts = (table != _NO_TOKEN).view(len(batches), -1).sum(1).clamp(min=1)
    return (losses.sum(1) / counts).sum()


def _dropout(jobs: Sequence[Job], share: float, device: torch.device) -> Drop | None:
    """Dropout in which each adapter draws from its own generator."""
    if not share:
        return None
    generators = [torch.Generator(device).manual_seed(job.dropout_seed) for job in jobs]

    def drop(x: Tensor) -> Tensor:
        masks = [
            torch.rand(one.shape, generator=generator, device=x.device) >= share
            for one, generator in zip(x, generators, strict=True)
        ]
        return x * torch.stack(masks).to(x.dtype) / (1 - share)

    return drop
