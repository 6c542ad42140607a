"""Train many adapters over one frozen base, as separate PEFT runs would.

Jobs of similar length share forwards; each has separate items, order, loss, clipping, optimizer
state and schedule. The loss is the cross-entropy of the reply's tokens, its end of turn included,
and logits are computed only there.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.engine.adapter import Adapter, peft_config, peft_tensors
from transferscope.engine.base_model import Base, refuse_open_block
from transferscope.engine.compiled import compile_errors, give_up
from transferscope.engine.devices import deterministic, to_device
from transferscope.engine.forward_paths import ForwardPath, Row, forward_path
from transferscope.engine.linears import not_adapted, target_linears
from transferscope.engine.lora import Dropout, Stack, attached
from transferscope.engine.loss_curve import LossLog, checked_curve
from transferscope.engine.memory import MemoryPlan, checkpointing, folding_pays, memory_plan
from transferscope.engine.optimizer import AdamW, clip_gradients
from transferscope.engine.records import Progress, TrainingJob
from transferscope.engine.reference_path import ReferencePath
from transferscope.engine.reply_tokens import option_tokens, reply_text, reply_tokens
from transferscope.errors import StudyError
from transferscope.study import FullRecipe, Loss
from transferscope.study.cost import OPTIMIZER_STATES
from transferscope.tasks import Item
from transferscope.tasks.open_answers import Label

SIMILAR = 0.9
"""Jobs share forwards if the shorter one's rows are at least this part of the longer one's."""

LossParts = tuple[Tensor, Tensor]
"""What some rows add to the adapters' mean losses: the sum to differentiate, and each."""

_IGNORED = -100
"""Target of positions without a loss."""


class _JobGroup(NamedTuple):
    """Jobs that are trained in the same forwards."""

    indices: list[int]
    """Their places among all jobs."""
    jobs: list[TrainingJob]
    rows: list[list[Row]]
    targets: list[list[tuple[int, ...]]]
    """For each item the tokens of the reply that it is trained on."""
    steps: list[int]
    memory: MemoryPlan

    def batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, ...]]:
        """For each step and job the item indices of its batch; empty if the job is finished."""
        by_job = []
        for job, steps in zip(self.jobs, self.steps, strict=True):
            starts = range(0, len(job.items), batch_size)
            orders = epoch_orders(len(job.items), -(-steps // len(starts)), job.order_seed)
            batches = [order[start : start + batch_size] for order in orders for start in starts]
            by_job.append(batches[:steps])
        return zip_longest(*by_job, fillvalue=np.arange(0))


def check_training(base: Base, recipe: FullRecipe) -> str:
    """Refuse a base that a recipe cannot train; returns which layers are adapted and which not.

    Raises:
        StudyError: the recipe names a layer that the base lacks, or experts, or prompts end inside
            an open thinking block.
    """
    refuse_open_block(base, "the answer cannot be trained")
    try:
        return not_adapted(base.model, recipe.targets)
    except StudyError as error:
        raise StudyError(f"{base.name}: {error}") from None


def train_fleet(
    base: Base,
    jobs: Sequence[TrainingJob],
    recipe: FullRecipe,
    *,
    rows: int | None = None,
    progress: Progress | None = None,
    snapshots: Collection[int] = (),
) -> Iterator[dict[int, Adapter]]:
    """Train an adapter for each job.

    Args:
        rows: the largest microbatch of an adapter; None: what fits in memory.
        progress: called with the steps done and the steps of all adapters.
        snapshots: steps before the last after which each adapter is copied too.

    Yields:
        Adapters that were trained together, by their places among the jobs, as soon as they are
        trained. Without these jobs, the others would be trained in the same groups. An adapter
        with a `curve.failed` must not be used.

    Raises:
        StudyError: a job has no items or an answer beyond its choices; see also `check_training`.
    """
    for job in jobs:
        _check(job)
    check_training(base, recipe)
    items = [item for job in jobs for item in job.items]
    path = deterministic(forward_path)(base, items)
    base = path.base
    groups = group_jobs(base, path, jobs, recipe, rows)
    done, total = 0, sum(sum(group.steps) for group in groups)
    for group in groups:

        def report(steps: int, before: int = done) -> None:
            if progress is not None:
                progress(before + steps, total)

        trained = _train(base, path, group, recipe, report, snapshots)
        yield dict(zip(group.indices, trained, strict=True))
        done += sum(group.steps)


def epoch_orders(items: int, epochs: int, order_seed: int) -> list[np.ndarray]:
    """The order of the items in each epoch: first as given, then permuted by the seed."""
    generator = np.random.default_rng(order_seed)
    return [np.arange(items), *(generator.permutation(items) for _ in range(epochs - 1))]


def _check(job: TrainingJob) -> None:
    if not job.items:
        raise StudyError(f"source {job.source!r} seed {job.seed}: no items to train on")
    if len(job.labels) != len(job.items):
        count = len(job.labels)
        raise StudyError(f"source {job.source!r}: {count} answers, {len(job.items)} items")
    for item, answer in zip(job.items, job.labels, strict=True):
        if isinstance(answer, int) and not 0 <= answer < len(item.choices):
            raise StudyError(f"item {item.id!r}: answer {answer} of {len(item.choices)} choices")


@deterministic
def group_jobs(
    base: Base,
    path: ForwardPath,
    jobs: Sequence[TrainingJob],
    recipe: FullRecipe,
    max_rows: int | None,
) -> list[_JobGroup]:
    """Jobs of similar length together, as many as fit in memory."""
    # An item that several jobs share is encoded once.
    distinct: dict[int, Item] = {id(item): item for job in jobs for item in job.items}
    encoded = dict(zip(distinct, path.encode(list(distinct.values())), strict=True))
    rows = [[encoded[id(item)] for item in job.items] for job in jobs]
    targets = [
        _targets(base, recipe.loss, own, job.labels) for job, own in zip(jobs, rows, strict=True)
    ]
    steps = [recipe.steps_for(len(job.items)) for job in jobs]
    longest = [
        max(row.length + len(target) for row, target in zip(*own, strict=True))
        for own in zip(rows, targets, strict=True)
    ]
    if recipe.method == "full":  # the trained copy of each weight is in memory already
        num_params = base.model.num_parameters() * (OPTIMIZER_STATES - 1) // OPTIMIZER_STATES
    else:
        adapted = target_linears(base.model, recipe.targets).values()
        num_params = recipe.rank * sum(one.in_features + one.out_features for one in adapted)
    least_parts = -(-recipe.batch_size // (max_rows or recipe.batch_size))
    groups: list[_JobGroup] = []
    for index in sorted(range(len(jobs)), key=lambda index: (-longest[index], -steps[index])):
        last = groups[-1] if groups else None
        if (
            last is None
            or longest[index] < SIMILAR * longest[last.indices[0]]
            or len(last.indices) == last.memory.adapters
        ):
            memory = memory_plan(base, recipe, longest[index], num_params)
            memory = memory._replace(parts=max(memory.parts, least_parts))
            groups.append(last := _JobGroup([], [], [], [], [], memory))
        last.indices.append(index)
        last.jobs.append(jobs[index])
        last.rows.append(rows[index])
        last.targets.append(targets[index])
        last.steps.append(steps[index])
    return groups


def _targets(
    base: Base, loss: Loss, rows: Sequence[Row], labels: Sequence[Label]
) -> list[tuple[int, ...]]:
    """The tokens of the replies that some rows are trained on."""
    texts = [reply_text(base, row.item, label) for row, label in zip(rows, labels, strict=True)]
    found = reply_tokens(base.processor, texts, end=True)
    if loss == "letter":
        options = option_tokens(base.processor)
        first = [options.prefix + suffix for suffix in options.suffixes]
        found = [
            first[label] if isinstance(label, int) else ids
            for label, ids in zip(labels, found, strict=True)
        ]
    return found


@deterministic
def _train(
    base: Base,
    path: ForwardPath,
    group: _JobGroup,
    recipe: FullRecipe,
    report: Callable[[int], None],
    snapshots: Collection[int],
) -> list[Adapter]:
    """Train a group; `report` receives the number of steps that its adapters took so far."""
    linears = target_linears(base.model, recipe.targets)
    config = peft_config(base, recipe, list(linears))
    copies, log = [dict[int, Adapter]() for _ in group.jobs], LossLog(group.steps)
    dtype = torch.promote_types(base.dtype, torch.float32)  # for a base of any type
    stack = Stack(linears, len(group.jobs), recipe.rank, recipe.alpha / recipe.rank, dtype)
    stack.initialize([job.init_seed for job in group.jobs])
    stack.require_gradients()
    optimizers = [AdamW(values, recipe, group.steps) for values in stack.values]
    memory, dropout = group.memory, None
    if recipe.dropout:
        dropout = Dropout([job.dropout_seed for job in group.jobs], recipe.dropout)
        dropout.left = isinstance(path, ReferencePath)
    folded = folding_pays(base, stack, recipe.dropout)
    with attached(base.model, stack, dropout, folded=folded):
        for step, batches in enumerate(group.batches(recipe.batch_size)):

            def loss(part: slice, step: int = step, batches: Any = batches) -> LossParts:
                if dropout is not None:
                    dropout.now = (step, part.start)
                return reply_loss(path, group, batches, part, dropout)

            memory, losses = _gradients(base, stack, loss, max(map(len, batches)), memory)
            norms = clip_gradients(stack.gradients, recipe.max_grad_norm)
            with torch.no_grad():
                for optimizer, gradients in zip(optimizers, stack.gradients, strict=True):
                    optimizer.step(gradients)
            report(sum(min(step + 1, steps) for steps in group.steps))
            if step + 1 in snapshots:
                for place, own in enumerate(copies):
                    own[step + 1] = Adapter(config, peft_tensors(stack, place), base.quantization)
            if not log.add(losses, norms):
                break
    trained = []
    for place, curve in enumerate(log.curves()):
        tensors = peft_tensors(stack, place)
        curve = checked_curve(curve, tensors, recipe.learning_rate)
        trained.append(Adapter(config, tensors, base.quantization, curve, copies[place]))
    return trained


def _gradients(
    base: Base,
    stack: Stack,
    loss: Callable[[slice], LossParts],
    size: int,
    memory: MemoryPlan,
) -> tuple[MemoryPlan, Tensor]:
    """Fill the stack's gradients for one step of `size` rows, whose parts have a `loss`.

    Returns:
        The memory plan that fitted; each adapter's loss.
    """
    while True:
        microbatch = -(-size // memory.parts)
        try:
            for gradients in stack.gradients:
                gradients.zero_()
            with checkpointing(base.model) if memory.checkpointing else nullcontext():
                losses: Tensor | int = 0
                for start in range(0, size, microbatch):
                    total, each = loss(slice(start, start + microbatch))
                    stack.backward(total)
                    losses = each + losses
            return memory, torch.as_tensor(losses)
        except torch.OutOfMemoryError as error:
            smaller = memory.smaller(size)
            if smaller is None:
                raise torch.OutOfMemoryError(
                    f"{base.device}: out of memory with one row at a time; lower recipe.max_pixels"
                ) from error
            memory = smaller
        except compile_errors() as error:
            if not give_up(base.model, error):
                raise
        torch.cuda.empty_cache()


def reply_loss(
    path: ForwardPath,
    group: _JobGroup,
    batches: Sequence[np.ndarray],
    part: slice,
    dropout: Dropout | None = None,
) -> LossParts:
    """What a part of each adapter's batch (item indices) adds to the mean loss of its tokens."""
    # A batch smaller than the others is padded with rows of weight 0.
    size = max(len(batch[part]) for batch in batches)
    rows: list[Row] = []
    targets: list[tuple[int, ...]] = []
    weights: list[float] = []
    for own_rows, own_targets, batch in zip(group.rows, group.targets, batches, strict=True):
        # The mean is over all tokens of the adapter's batch, not of this part.
        tokens = max(1, sum(len(own_targets[item]) for item in batch))
        items = batch[part].tolist()
        for item in items + [0] * (size - len(items)):
            rows.append(own_rows[item]._replace(answer_ids=own_targets[item][:-1]))
        targets += [own_targets[item] for item in items] + [()] * (size - len(items))
        weights += [1 / tokens] * len(items) + [0.0] * (size - len(items))
    kept = max(map(len, targets))
    table = torch.tensor([(_IGNORED,) * (kept - len(target)) + target for target in targets])
    if dropout is not None:
        dropout.lengths = [row.length for row in rows]
    logits = path.logits(rows, kept)
    losses = functional.cross_entropy(
        logits.flatten(0, 1),
        to_device(table.flatten(), logits.device),
        reduction="none",
        ignore_index=_IGNORED,
    )
    row_weights = to_device(torch.tensor(weights, dtype=logits.dtype), logits.device)
    row_losses = losses.view(table.shape).sum(1)
    # `where`, as 0 x NaN of a padding row would be NaN.
    each = torch.where(row_weights > 0, row_losses.detach() * row_weights, 0)
    return row_losses @ row_weights, each.view(len(batches), size).sum(1)
