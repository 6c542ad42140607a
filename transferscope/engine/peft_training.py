"""Train an adapter as PEFT's own layers, or a whole model, one at a time.

This takes what a fleet cannot: DoRA, PiSSA, adapted vision towers, projectors and embeddings,
`modules_to_save`; and every weight of a model. Slower, and a copy of the base stands beside it; the
numbers are PEFT's, or those of transformers and AdamW.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transferscope.engine.adapter import Adapter, peft_config
from transferscope.engine.base_model import Base, refuse_open_block
from transferscope.engine.checkpoint import changed_weights
from transferscope.engine.devices import deterministic
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.linears import target_linears
from transferscope.engine.loss_curve import LossLog, checked_curve
from transferscope.engine.memory import checkpointing
from transferscope.engine.optimizer import BETAS, EPSILON, lr_lambda
from transferscope.engine.peft_layers import RUNTIME, copied, peft_model
from transferscope.engine.records import Progress, TrainingJob
from transferscope.engine.train import check_training, group_jobs, reply_loss, train_fleet
from transferscope.errors import StudyError
from transferscope.study import FullRecipe


def train_adapters(
    base: Base,
    jobs: Sequence[TrainingJob],
    recipe: FullRecipe,
    *,
    rows: int | None = None,
    progress: Progress | None = None,
    snapshots: Collection[int] = (),
) -> Iterator[dict[int, Adapter]]:
    """Train an adapter or a model for each job, as `train.train_fleet`, which does it if it can.

    Raises:
        StudyError: PEFT does not have an option of `recipe.peft`, or refuses it for this base; see
            also `train_fleet`.
    """
    if recipe.peft is None and recipe.method == "lora":
        how: Any = {"rows": rows, "progress": progress, "snapshots": snapshots}
        yield from train_fleet(base, jobs, recipe, **how)
        return
    check_recipe(base, recipe)
    base = base.complete
    done, total = 0, sum(recipe.steps_for(len(job.items)) for job in jobs)
    for place, job in enumerate(jobs):

        def report(steps: int, before: int = done) -> None:
            if progress is not None:
                progress(before + steps, total)

        yield {place: _train(base, job, recipe, rows, report, snapshots)}
        done += recipe.steps_for(len(job.items))


class _Copy(NamedTuple):
    """A copy of the base that is trained."""

    base: Base
    weights: list[torch.nn.Parameter]
    """Those that are trained."""
    config: dict[str, Any]
    """Of the adapter; empty for a whole model."""
    tensors: Callable[[], dict[str, Tensor]]
    """What an `Adapter` has of the weights now."""


def _whole_copy(base: Base) -> _Copy:
    """A copy in float32, as 16 bits would round a small update away."""
    model = copied(base.model).float()
    tuned = replace(base, model=model, paths={}, plain=True)
    return _Copy(tuned, [*model.parameters()], {}, lambda: changed_weights(base, model))


def _layered_copy(base: Base, recipe: FullRecipe) -> _Copy:
    """A copy with PEFT's own layers."""
    config = peft_config(base, recipe, list(target_linears(base.model, recipe.targets)))
    try:
        model = peft_model(base, config | (recipe.peft or {}))
    except ValueError as error:
        raise StudyError(f"recipe.peft: {base.name}: {error}") from None
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    # A `Base` is frozen and in evaluation mode; of it, only the adapter learns.
    tuned = replace(base, model=model.get_base_model(), paths={}, plain=True)
    for name, module in model.named_modules():
        if name.endswith("lora_dropout.default"):
            module.train()
    written = _as_written(model.peft_config["default"], base.name)
    return _Copy(tuned, weights, written, lambda: _tensors(model))


@deterministic
def _train(
    base: Base,
    job: TrainingJob,
    recipe: FullRecipe,
    rows: int | None,
    report: Callable[[int], None],
    snapshots: Collection[int],
) -> Adapter:
    torch.manual_seed(job.init_seed)
    whole = recipe.method == "full"
    tuned, weights, config, tensors = _whole_copy(base) if whole else _layered_copy(base, recipe)
    for weight in weights:
        weight.requires_grad_()
    torch.manual_seed(job.dropout_seed)
    # In the base's groups, as the memory and the tokens are the same.
    path = forward_path(tuned, job.items)
    (group,) = group_jobs(base, forward_path(base, job.items), [job], recipe, rows)
    (steps,) = group.steps
    optimizer = torch.optim.AdamW(
        weights, recipe.learning_rate, BETAS, EPSILON, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_lambda(recipe.schedule, recipe.warmup, min(step, steps), steps)
    )
    log, copies = LossLog(group.steps), dict[int, Adapter]()
    mixed = torch.autocast(base.device.type, base.dtype, enabled=tuned.dtype != base.dtype)
    for step, batches in enumerate(group.batches(recipe.batch_size), 1):
        size = len(batches[0])
        microbatch = -(-size // group.memory.parts)
        losses = torch.zeros(1, device=base.device)
        with checkpointing(tuned.model) if group.memory.checkpointing else nullcontext():
            for start in range(0, size, microbatch):
                part = slice(start, start + microbatch)
                with mixed:
                    total, each = reply_loss(path, group, batches, part)
                total.backward()
                losses = losses + each
        norm = torch.nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        report(step)
        if step in snapshots:
            copies[step] = Adapter(config, tensors(), base.quantization, plain=True)
        if not log.add(losses, norm[None]):
            break
    (curve,), found = log.curves(), tensors()
    curve = checked_curve(curve, found, recipe.learning_rate, whole=whole)
    return Adapter(config, found, base.quantization, curve, copies, plain=True)


def check_recipe(base: Base, recipe: FullRecipe) -> str:
    """Refuse a base that a recipe cannot train; returns which layers are adapted and which not.

    Raises:
        StudyError: PEFT does not have an option of `recipe.peft`; see also `train.check_training`.
    """
    if recipe.method == "full":
        refuse_open_block(base, "the answer cannot be trained")
        return "every weight"
    layers = check_training(base, recipe)
    if recipe.peft is None:
        return layers
    from peft import LoraConfig

    known = {field.name for field in fields(LoraConfig)} - RUNTIME
    for name in recipe.peft:
        if name not in known:
            raise StudyError(f"recipe.peft: {name}: PEFT's LoraConfig has no such option")
        if name in ("r", "lora_alpha", "lora_dropout"):
            own = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}[name]
            raise StudyError(f"recipe.peft: {name}: set recipe.{own}")
    return f"by PEFT's own layers: {recipe.peft}"


def _tensors(model: Any) -> dict[str, Tensor]:
    """An adapter's weights by PEFT's names, copied to the CPU."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {k: one.detach().to("cpu", copy=True).contiguous() for k, one in found.items()}


def _as_written(config: Any, base: str) -> dict[str, Any]:
    """A configuration as PEFT writes it."""

    def plain(value: Any) -> Any:
        if isinstance(value, set):
            return sorted(value)
        return value.value if isinstance(value, Enum) else value

    found = {name: plain(value) for name, value in config.to_dict().items()}
    changes = {"base_model_name_or_path": base, "inference_mode": True}
    return {name: value for name, value in found.items() if name not in RUNTIME} | changes
