"""Many adapters over one base: equal to separate PEFT runs, and readable by PEFT."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_factory as factory
import pytest
import torch
from engine_factory import FAST_FAMILIES, train_fleet
from messages import raises
from PIL import Image
from torch import nn
from torch.nn import functional

from transferscope.engine import optimizer, score, train
from transferscope.engine.adapter import (
    Adapter,
    load_adapter,
    peft_config,
    save_adapter,
    scaled,
    stacked,
)
from transferscope.engine.forward_paths import chat, forward_path
from transferscope.engine.glimpse.glimpse_path import GlimpsePath
from transferscope.engine.linears import target_linears
from transferscope.engine.lora import Dropout, Stack, attached, merged
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.optimizer import lr_lambda
from transferscope.engine.records import Prediction, TrainingJob
from transferscope.engine.reply_tokens import OptionTokens, option_tokens
from transferscope.engine.score import from_logprobs, score_fleet
from transferscope.engine.train import epoch_orders
from transferscope.errors import DataError, StudyError
from transferscope.tasks import LETTERS
from transferscope.tasks.choices import combine_orders

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # PEFT's


@pytest.fixture(scope="module")
def small():
    return factory.small_base()


def job(seed: int, items, **changes) -> TrainingJob:
    return TrainingJob(f"task{seed}", seed, items, 10 + seed, 20 + seed, 30 + seed, **changes)


def random_adapter(base, seed: int, rank: int = 4, names=None) -> Adapter:
    """An adapter whose B is not zero."""
    linears = target_linears(base.model, ("q_proj", "v_proj", "down_proj"))
    draw, tensors = torch.Generator().manual_seed(seed), {}
    for name, linear in linears.items():
        rows, columns = linear.out_features, linear.in_features
        key = f"base_model.model.{name}.lora_"
        tensors[f"{key}A.weight"] = 0.1 * torch.randn(rank, columns, generator=draw)
        tensors[f"{key}B.weight"] = 0.1 * torch.randn(rows, rank, generator=draw)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0}
    config |= {"target_modules": list(linears), "task_type": None, "bias": "none"}
    return Adapter(config, tensors)


# Training.


def templated(processor, item, reply):
    """A reply's tokens and its end of turn, cut out of the chat as the processor writes it."""
    images = [Image.fromarray(image.pixels()) for image in item.images]
    question = chat(item, images)
    answered = [*question, {"role": "assistant", "content": [{"type": "text", "text": reply}]}]
    before, whole = (
        processor.apply_chat_template(one, tokenize=True, add_generation_prompt=not several)[0]
        for several, one in enumerate((question, answered))
    )
    assert list(whole[: len(before)]) == list(before)
    ids = list(whole[len(before) :])
    return ids[: ids.index(processor.tokenizer.eos_token_id) + 1]


def peft_run(base, its: TrainingJob, recipe, start: Adapter, replies: Any = None):
    """One adapter trained by PEFT, torch's AdamW and the model's own forward: weights by step.

    `replies` are the tokens of each item's, by default as the chat template writes them.
    """
    from peft import LoraConfig, get_peft_model

    names = list(target_linears(base.model, recipe.targets))
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0, target_modules=names
    )
    model = get_peft_model(
        copy.deepcopy(base.model), config, autocast_adapter_dtype=base.dtype != torch.float64
    )
    weights = {
        name.replace(".default", ""): weight
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    for name, weight in weights.items():
        weight.data.copy_(start.tensors[name])
    optimizer = torch.optim.AdamW(
        weights.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    plain = factory.reference_path(base, its.items)
    labels: Any = its.labels
    replies = replies or [
        (option_tokens(base.processor).suffixes[answer])[:1]
        if recipe.loss == "letter"
        else templated(base.processor, item, f"({LETTERS[answer]})")
        for item, answer in zip(its.items, labels, strict=True)
    ]
    batches = [
        order[place : place + recipe.batch_size]
        for order in epoch_orders(len(its.items), recipe.epochs, its.order_seed)
        for place in range(0, len(order), recipe.batch_size)
    ]
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            share = lr_lambda(recipe.schedule, recipe.warmup, step, len(batches))
            group["lr"] = recipe.learning_rate * share
        replied = [replies[index] for index in batch]
        rows = [
            row._replace(answer_ids=reply[:-1])
            for row, reply in zip(
                plain.encode([its.items[index] for index in batch]), replied, strict=True
            )
        ]
        logits = model(**plain.inputs(rows)).logits[:, -len(replied[0]) :]
        optimizer.zero_grad()
        functional.cross_entropy(logits.flatten(0, 1), torch.tensor(replied).flatten()).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), recipe.max_grad_norm)
        optimizer.step()
        yield {name: weight.detach().clone() for name, weight in weights.items()}


def recorded(monkeypatch):
    """Every step's numbers of every stack, as training makes them."""
    taken, step = [], optimizer.AdamW.step

    def stepping(self, gradients):
        step(self, gradients)
        taken.append(self._values.clone())

    monkeypatch.setattr(optimizer.AdamW, "step", stepping)
    return taken


COMPANY = MemoryPlan(3, 1, False)


def in_company(monkeypatch, room: MemoryPlan = COMPANY):
    """Train three jobs in the same forwards, however different their lengths."""
    monkeypatch.setattr(train, "memory_plan", lambda *_: room)
    monkeypatch.setattr(train, "SIMILAR", 0.0)


def flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


FAMILIES = [
    pytest.param(one, marks=[pytest.mark.slow] * (one == "qwen2_vl")) for one in FAST_FAMILIES
]
"""Those of the Hub with a fast path; Qwen2-VL takes Qwen2.5-VL's."""


@pytest.mark.parametrize(
    ("family", "loss"),
    [
        *(pytest.param(*one.values, "reply", marks=one.marks) for one in FAMILIES),
        ("qwen2_5_vl", "letter"),
        ("llava", "reply"),
    ],
)
def test_a_fleet_equals_separate_peft_runs_step_by_step(family, loss, monkeypatch):
    base = factory.family_base(family, torch.float64)
    recipe = factory.recipe(
        weight_decay=0.01,
        max_grad_norm=0.5,
        targets=("q_proj", "o_proj", "up_proj"),
        loss=loss,
    )
    jobs = [
        job(0, factory.items(6, None, seed=1, size=(56, 84))),
        job(1, factory.items(6, 1, seed=2, size=(56, 56)), answers=[1, 0, 0, 1, 1, 0]),
        job(2, factory.items(9, 2, seed=3, size=(56, 56))),
    ]
    in_company(monkeypatch)
    taken = recorded(monkeypatch)
    found = train_fleet(base, jobs, recipe)
    assert [values.shape[0] for values in taken] == [3] * 6
    starts = train_fleet(base, jobs, factory.recipe(**(vars(recipe) | {"learning_rate": 0.0})))
    # Llava counts its padding's places, and RoPE's angles are float32 in any model.
    exact = 1e-5 if family == "llava" else 1e-9
    for its, ours, start, steps in zip(jobs, found, starts, (4, 4, 6), strict=True):
        (row,) = [row for row in range(3) if torch.equal(taken[5][row], flat(ours.tensors))]
        run = list(peft_run(base, its, recipe, start))
        assert len(run) == steps
        for step, theirs in enumerate(run):
            ordered = {key: theirs[key] for key in ours.tensors}
            torch.testing.assert_close(taken[step][row], flat(ordered), atol=exact, rtol=0)
        assert (flat(ours.tensors) - flat(start.tensors)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("family", "room"),
    [
        ("qwen2_5_vl", MemoryPlan(3, 2, False)),
        ("qwen2_5_vl", MemoryPlan(2, 4, True)),
        ("qwen2_5_vl", MemoryPlan(1, 1, True)),
        ("llava", MemoryPlan(2, 4, True)),
    ],
)
def test_little_memory_changes_no_number(family, room, monkeypatch):
    base, recipe = factory.family_base(family, torch.float64), factory.recipe(epochs=1)
    jobs = [job(seed, factory.items(5, 1, seed=seed, size=(56, 56))) for seed in range(3)]
    in_company(monkeypatch)
    whole = train_fleet(base, jobs, recipe)
    in_company(monkeypatch, room)
    parted = train_fleet(base, jobs, recipe)
    assert not base.model.training
    for one, other in zip(whole, parted, strict=True):
        exact = 1e-4 if family == "llava" else 1e-9
        torch.testing.assert_close(flat(one.tensors), flat(other.tensors), atol=exact, rtol=0)


def test_activations_that_are_computed_twice_meet_the_same_dropout(monkeypatch):
    base, items = factory.family_base("qwen3_vl", torch.float64), factory.items(4, size=(56, 56))
    jobs, recipe = [job(0, items), job(1, items)], factory.recipe(epochs=1, dropout=0.3)
    in_company(monkeypatch)
    once = train_fleet(base, jobs, recipe)
    in_company(monkeypatch, MemoryPlan(3, 1, True))
    for one, other in zip(once, train_fleet(base, jobs, recipe), strict=True):
        torch.testing.assert_close(flat(one.tensors), flat(other.tensors), atol=1e-9, rtol=0)


def test_every_step_and_part_of_a_batch_has_its_own_dropout(monkeypatch):
    base, seen = factory.small_base(), []
    plain = Dropout.__call__

    def recorded(self, layer, x):
        if not layer:
            seen.append(self.now)
        return plain(self, layer, x)

    monkeypatch.setattr(Dropout, "__call__", recorded)
    train_fleet(base, [job(0, factory.items(4))], factory.recipe(dropout=0.1, batch_size=2), rows=1)
    assert seen == [(step, part) for step in range(4) for part in range(2)]


@pytest.mark.parametrize("family", ["small", "qwen3_vl", "llava"])
def test_neither_memory_nor_neighbors_nor_the_path_change_a_dropout_mask(family, monkeypatch):
    """`llava` pads on the left; `qwen3_vl` is also run by the path for any model, which does too.
    The second job's rows are longer, so that the first job's are padded beside them."""
    base = factory.small_base(torch.float64)
    if family != "small":
        base = factory.family_base(family, torch.float64)
    sizes = {"small": (112, 112)}.get(family, (56, 56))
    jobs = [job(0, factory.items(5, 1, seed=1, size=sizes)),
            job(1, factory.items(5, 3, seed=2, size=sizes))]  # fmt: skip
    recipe = factory.recipe(epochs=2, dropout=0.3)
    (alone,) = train_fleet(base, jobs[:1], recipe)
    (plain,) = train_fleet(base, jobs[:1], factory.recipe(epochs=2))
    assert (flat(alone.tensors) - flat(plain.tensors)).abs().max() > 1e-3
    found = [train_fleet(base, jobs[:1], recipe, rows=rows)[0] for rows in (3, 1)]
    for room in (MemoryPlan(3, 1, False), MemoryPlan(3, 2, False)):
        in_company(monkeypatch, room)
        found.append(train_fleet(base, jobs, recipe)[0])
    if family == "qwen3_vl":
        monkeypatch.setattr(train, "forward_path", factory.reference_path)
        found.append(train_fleet(base, jobs, recipe)[0])
    exact = 1e-4 if family == "llava" else 1e-6  # it counts its padding's places
    for other in found:
        torch.testing.assert_close(flat(other.tensors), flat(alone.tensors), atol=exact, rtol=0)


@pytest.mark.parametrize("probability", [0.05, 0.5])
def test_dropout_drops_its_share_and_no_mask_resembles_another(probability):
    """Each statistic is normal with variance 1 for independent values."""
    dropout, x = Dropout([1, 2], probability), torch.ones(2, 4 * 60, 256)
    dropout.lengths = [60] * 8
    variance = probability * (1 - probability)

    def mask(layer=0, now=(0, 0)):
        dropout.now = now
        made = dropout(layer, x)
        assert made.unique().tolist() == [0, pytest.approx(1 / (1 - probability))]
        return ((made > 0).double() - (1 - probability)) / variance**0.5

    one = mask()
    others = [mask(layer=1), mask(now=(1, 0)), mask(now=(0, 4)), one.flip(0)]
    pairs = [(one, other) for other in others]
    pairs += [(one[:, by:], one[:, :-by]) for by in (1, 60)]  # other tokens, other rows
    pairs += [(one[..., by:], one[..., :-by]) for by in (1, 128)]  # other channels
    squares = one[:, 1:, 1:] * one[:, :-1, 1:], one[:, 1:, :-1] * one[:, :-1, :-1]
    products = [one, *(a * b for a, b in [*pairs, squares])]
    assert max(abs(float(its.sum()) / its.numel() ** 0.5) for its in products) < 4.5
    for dim in (1, 2):  # no token and no channel is dropped more often than others
        sums = one.sum(dim) / one.shape[dim] ** 0.5
        assert abs(float((sums**2).mean()) - 1) < 6 * (2 / sums.numel()) ** 0.5
    dropout.now = (0, 2)  # rows that begin later in the batch are the same rows
    assert torch.equal(dropout(0, x)[:, : 2 * 60] > 0, one[:, 2 * 60 :] > 0)


def test_factors_are_trained_in_float32_whatever_the_base_is_in(monkeypatch):
    made, recipe, start = [], factory.recipe(), Stack.initialize
    monkeypatch.setattr(Stack, "initialize", lambda *its: made.append(its[0]) or start(*its))
    train_fleet(factory.small_base(torch.bfloat16), [job(0, factory.items(1))], recipe)
    (stack,) = made
    assert {its.dtype for its in (*stack.values, *stack.gradients)} == {torch.float32}
    assert stack.scaling == recipe.alpha / recipe.rank


def test_a_step_that_runs_out_of_memory_is_tried_again_in_parts(monkeypatch):
    small = factory.small_base(torch.float64)
    items, sizes, path_logits = factory.items(8), [], GlimpsePath.logits

    def logits(self, rows, num_logits_to_keep=1):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("too much")
        return path_logits(self, rows, num_logits_to_keep)

    recipe = factory.recipe(epochs=1)
    (whole,) = train_fleet(small, [job(0, items)], recipe)
    monkeypatch.setattr(GlimpsePath, "logits", logits)
    (parted,) = train_fleet(small, [job(0, items)], recipe)
    assert sizes == [4, 2, 2, 2, 2]
    torch.testing.assert_close(flat(whole.tensors), flat(parted.tensors), atol=1e-9, rtol=0)
    sizes.clear()
    (asked,) = train_fleet(small, [job(0, items)], recipe, rows=1)
    assert sizes == [1] * 8
    torch.testing.assert_close(flat(whole.tensors), flat(asked.tensors), atol=1e-9, rtol=0)


def test_folding_and_adding_give_the_same_gradients():
    base = factory.small_base(torch.float64)
    stack, path = stacked(base, [random_adapter(base, seed) for seed in (0, 1)]), None
    stack.require_gradients()
    items = factory.items(2, 2)
    path = forward_path(base, items)
    found = []
    for folded in (False, True):
        stack.gradients[0].zero_()
        with attached(base.model, stack, folded=folded):
            logits = path.logits(path.encode([*items, *items]))
        stack.backward(logits.log_softmax(-1)[:, 0, 9].sum())
        found += [logits.detach(), stack.gradients[0].clone()]
    torch.testing.assert_close(found[2:], found[:2], atol=1e-9, rtol=1e-7)
    assert found[1].abs().max() > 1e-3


def test_the_embedded_path_trains_as_peft_does():
    base = factory.small_base(torch.float64)
    recipe = factory.recipe(epochs=1)
    jobs = [job(seed, factory.items(8, None, seed=seed)) for seed in (0, 1)]
    found = train_fleet(base, jobs, recipe)
    starts = train_fleet(base, jobs, factory.recipe(epochs=1, learning_rate=0.0))
    for its, ours, start in zip(jobs, found, starts, strict=True):
        *_, theirs = peft_run(base, its, recipe, start)
        for key, tensor in ours.tensors.items():
            torch.testing.assert_close(tensor, theirs[key], atol=1e-4, rtol=1e-3)


def test_an_adapter_is_the_same_to_the_last_bit_whatever_else_is_trained(small):
    jobs = [job(seed, factory.items(6, 1 + seed % 2, seed=seed)) for seed in range(3)]
    recipe = factory.recipe(epochs=1)
    for its, ours in zip(jobs, train_fleet(small, jobs, recipe), strict=True):
        (alone,) = train_fleet(small, [its], recipe)
        assert factory.same(ours, alone)


def test_adapters_come_when_their_group_ends_and_later_groups_do_not_need_earlier_ones(
    small, monkeypatch
):
    """As after a kill: the jobs that remain are trained in the same forwards as before."""
    monkeypatch.setattr(train, "memory_plan", lambda *_: MemoryPlan(2, 1, False))
    jobs = [job(seed, factory.items(4, pictures, seed=seed)) for seed, pictures in
            enumerate((1, 3, 1, 3, 3, 1))]  # fmt: skip
    steps, taken = [], recorded(monkeypatch)
    came = train.train_fleet(
        small, jobs, factory.recipe(epochs=1), progress=lambda *n: steps.append(n)
    )
    groups = []
    for group in came:
        groups.append(group)
        assert len(steps) == len(taken) == len(groups)  # nothing of the next group is done
    assert [len(group) for group in groups] == [2, 1, 2, 1]
    assert sorted([*groups[0], *groups[1]]) == [1, 3, 4]  # the longest first
    assert [done for done, _ in steps] == [2, 3, 5, 6]
    remain = [index for index in range(6) if index not in groups[0]]
    again = train.train_fleet(small, [jobs[index] for index in remain], factory.recipe(epochs=1))
    for group, before in zip(again, groups[1:], strict=True):
        assert {remain[index] for index in group} == before.keys()
        for index, adapter in group.items():
            assert factory.same(adapter, before[remain[index]])


def test_a_snapshot_is_what_training_for_so_many_steps_gives_and_disturbs_nothing(
    small, monkeypatch
):
    """With a constant learning rate, which does not depend on the number of steps."""
    in_company(monkeypatch)
    jobs = [job(seed, factory.items(6, seed=seed)) for seed in range(2)]  # 2 steps an epoch
    recipe = factory.recipe(epochs=4, schedule="constant", warmup=0.0, dropout=0.1)
    (whole,) = train.train_fleet(small, jobs, recipe)
    (copied,) = train.train_fleet(small, jobs, recipe, snapshots={2, 5})
    for steps in (2, 5):
        shorter = factory.recipe(**(vars(recipe) | {"epochs": None, "steps": steps}))
        (ended,) = train.train_fleet(small, jobs, shorter)
        assert all(factory.same(copied[n].snapshots[steps], ended[n]) for n in range(2))
        assert copied[0].snapshots[steps].config == copied[0].config
    for index in range(2):
        assert factory.same(copied[index], whole[index])
        assert copied[index].curve == whole[index].curve
        assert not factory.same(copied[index].snapshots[5], whole[index])


def test_an_adapter_of_half_strength_adds_half_to_the_weights(small):
    items, whole = factory.items(4), random_adapter(small, 0)
    halved = {k: t / 2 if ".lora_B." in k else t for k, t in whole.tensors.items()}
    by_hand = Adapter(whole.config, halved)
    config = whole.config | {"alpha_pattern": {"q_proj": 3.0}}
    patterned = scaled(Adapter(config, whole.tensors), 2.0).config
    assert (patterned["lora_alpha"], patterned["alpha_pattern"]) == (16, {"q_proj": 6.0})
    half, expected, full = score_fleet(small, [scaled(whole, 0.5), by_hand, whole], items)
    assert half == expected
    assert half != full


def test_the_same_seeds_give_the_same_adapter_and_others_another(small):
    recipe, items = factory.recipe(epochs=2, dropout=0.2), factory.items(6)
    its = job(0, items)
    (first,) = train_fleet(small, [its], recipe)
    torch.manual_seed(99)
    (again,) = train_fleet(small, [its], recipe)
    assert factory.same(first, again)
    for part in ("init_seed", "order_seed", "dropout_seed"):
        (other,) = train_fleet(small, [its._replace(**{part: 77})], recipe)
        assert not factory.same(other, first), part


def test_steps_are_counted_through_the_epochs(small):
    its, seen = job(0, factory.items(6)), []
    (by_epochs,) = train_fleet(small, [its], factory.recipe(epochs=2))  # 4 and 2 items, twice
    (by_steps,) = train_fleet(small, [its], factory.recipe(epochs=None, steps=4))
    assert factory.same(by_steps, by_epochs)
    more = factory.recipe(epochs=None, steps=7)
    train_fleet(small, [its], more, progress=lambda *count: seen.append(count))
    assert seen == [(step, 7) for step in range(1, 8)]


def test_training_teaches_the_answers_and_leaves_the_base_alone(small):
    before = copy.deepcopy(small.model.state_dict())
    items = factory.items(8, seed=5)
    told = []
    (adapter,) = train_fleet(
        small,
        [job(0, items, answers=[0] * 8)],
        factory.recipe(epochs=8),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(step, 16) for step in range(1, 17)]
    base, tuned = score_fleet(small, [None, adapter], items)
    assert {answer.choice for answer in tuned} == {0}
    assert {answer.choice for answer in base} != {0}
    assert all(torch.equal(its, before[key]) for key, its in small.model.state_dict().items())
    assert not any(module._forward_hooks for module in small.model.modules())


@pytest.mark.parametrize(
    "changes", [{"items": []}, {"answers": [0]}, {"answers": [0, 7]}, {"answers": [0, -1]}]
)
def test_a_job_that_cannot_be_trained_is_refused(small, changes):
    its = job(0, factory.items(2))._replace(**changes)
    with raises(StudyError):
        train_fleet(small, [its], factory.recipe())


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("linear", 0, 1 / 10),
        ("linear", 9, 1.0),
        ("linear", 55, 0.5),
        ("linear", 99, 1 / 90),
        ("constant", 99, 1.0),
        ("cosine", 55, 0.5),
        ("cosine", 10, 1.0),
    ],
)
def test_the_learning_rate_rises_and_falls(schedule, step, expected):
    assert lr_lambda(schedule, 0.1, step, 100) == pytest.approx(expected)


def test_each_adapters_gradient_is_clipped_by_its_own_norm_or_not_at_all():
    given = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    for most, first in ((1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (0.0, [3.0, 4.0])):
        gradients = [given.clone()]
        optimizer.clip_gradients(gradients, most)
        expected = torch.tensor([first, [0.3, 0.4]])
        torch.testing.assert_close(gradients[0], expected, atol=0, rtol=1e-5)


def test_every_epoch_has_its_own_order_and_the_first_is_as_given():
    first, second, third = epoch_orders(20, 3, order_seed=1)
    assert first.tolist() == list(range(20))
    assert sorted(second) == sorted(third) == list(range(20))
    assert second.tolist() != third.tolist()


# Files.


def test_peft_loads_what_is_saved_with_the_same_outputs(small, tmp_path):
    from peft import PeftModel

    items = factory.items(3, 2)
    recipe = factory.recipe(epochs=3, learning_rate=0.02)
    (adapter,) = train_fleet(small, [job(0, items)], recipe)
    folder = save_adapter(adapter, tmp_path / "task0" / "0")
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    model = PeftModel.from_pretrained(copy.deepcopy(small.model), folder).eval()
    assert compare(small, adapter, model, items) > 0.01


@pytest.mark.parametrize("family", [*FAMILIES, "llava"])
def test_peft_and_the_fleet_read_each_others_adapters(family, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    base, items = factory.family_base(family), factory.items(2, size=(56, 56))
    names = list(target_linears(base.model, ("q_proj", "down_proj")))
    config = LoraConfig(r=3, lora_alpha=5, target_modules=names)
    made = get_peft_model(copy.deepcopy(base.model), config)
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    made.save_pretrained(tmp_path / "theirs" / "4")
    adapter = load_adapter(base, tmp_path / "theirs" / "4")
    assert compare(base, adapter, made.eval(), items) > 0.01
    save_adapter(adapter, tmp_path / "ours")
    back = PeftModel.from_pretrained(copy.deepcopy(base.model), tmp_path / "ours").eval()
    assert compare(base, adapter, back, items) > 0.01


def compare(base, adapter, peft_model, items) -> float:
    """How far an adapter moves the base's scores; it moves them as PEFT does."""
    plain = factory.reference_path(base, items)
    path = forward_path(base, items)
    with torch.no_grad():
        theirs = peft_model(**plain.inputs(plain.encode(items))).logits[:, -1]
        untouched = path.logits(path.encode(items))[:, -1]
        with attached(base.model, stacked(base, [adapter])):
            ours = path.logits(path.encode(items))[:, -1]
        with merged(base.model, stacked(base, [adapter]), 0):
            folded = path.logits(path.encode(items))[:, -1]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(folded, theirs, atol=1e-4, rtol=1e-4)
    return float((ours - untouched).abs().max())


def test_an_adapter_is_written_whole_or_not_at_all(small, tmp_path, monkeypatch):
    folder = save_adapter(random_adapter(small, 0), tmp_path / "a")
    content = (folder / "adapter_model.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with raises(DataError), monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        save_adapter(random_adapter(small, 1), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (folder / "adapter_model.safetensors").read_bytes() == content


def test_an_adapter_stays_where_another_cannot_take_its_place(small, tmp_path, monkeypatch):
    folder = save_adapter(random_adapter(small, 0), tmp_path / "a")
    rename = Path.rename

    def held(path, to):
        if path.name.startswith(".new-"):
            raise PermissionError(13, "Permission denied")
        return rename(path, to)

    with raises(DataError), monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", held)
        save_adapter(random_adapter(small, 1), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    found = load_adapter(small, folder).tensors
    torch.testing.assert_close(found, random_adapter(small, 0).tensors, atol=0, rtol=0)


def test_an_adapter_takes_the_place_of_another_and_leaves_nothing_beside(small, tmp_path):
    for seed in (0, 1):
        save_adapter(random_adapter(small, seed), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    found = load_adapter(small, tmp_path / "a").tensors
    torch.testing.assert_close(found, random_adapter(small, 1).tensors, atol=0, rtol=0)


def test_an_adapter_is_the_same_bytes_each_time(small, tmp_path):
    adapter = random_adapter(small, 0)
    folders = [save_adapter(adapter, tmp_path / str(n)) for n in range(20)]
    assert len({(its / "adapter_model.safetensors").read_bytes() for its in folders}) == 1


def test_an_adapter_of_another_base_is_refused(small, tmp_path):
    other = factory.family_base("qwen2_5_vl")
    folder = save_adapter(random_adapter(other, 0), tmp_path / "a")
    with raises(DataError):
        load_adapter(small, folder)


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"fan_in_fan_out": True},
        {"alora_invocation_tokens": [5, 6]},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "corda"},
        {"lora_alpha": None},
        {"lora_alpha": float("nan")},
        {"lora_alpha": 10**400},
        {"alpha_pattern": {"(q": 8}},
        {"alpha_pattern": {r"(.|\w)+X": 8}},
        {"alpha_pattern": {".*" * 30 + "X": 8}},
        {"alpha_pattern": {"(" * 5000 + ")" * 5000: 8}},
    ],
)
def test_an_adapter_that_the_fleet_cannot_run_is_refused(small, tmp_path, config):
    adapter = random_adapter(small, 0)
    adapter.config.update(config)
    with raises(DataError):
        load_adapter(small, save_adapter(adapter, tmp_path / "a"))


def test_a_damaged_adapter_is_named(small, tmp_path):
    folder = save_adapter(random_adapter(small, 0), tmp_path / "a")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with raises(DataError):
        load_adapter(small, folder)
    path.unlink()
    with raises(DataError):
        load_adapter(small, folder)
    (folder / "adapter_config.json").write_text("{")
    with raises(DataError):
        load_adapter(small, folder)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(128), None),
        (torch.zeros(1, 4, 128), None),
        (None, torch.zeros(128, 4, 1)),
        (torch.zeros(0, 128), torch.zeros(128, 0)),
        (torch.zeros(3, 128), torch.zeros(128, 5)),
        (torch.full((4, 128), torch.nan), None),
        (torch.zeros(4, 128, dtype=torch.int8), None),
    ],
)
def test_factors_that_are_none_are_refused(small, tmp_path, a, b):
    adapter = random_adapter(small, 0)
    key = next(key for key in adapter.tensors if key.endswith("q_proj.lora_A.weight"))
    for letter, tensor in (("A", a), ("B", b)):
        if tensor is not None:
            adapter.tensors[key.replace("_A.", f"_{letter}.")] = tensor
    with raises(DataError):
        load_adapter(small, save_adapter(adapter, tmp_path / "a"))


def test_numbers_of_a_type_that_torch_lacks_are_named(small, tmp_path):
    folder = save_adapter(random_adapter(small, 0), tmp_path / "a")
    header = b'{"a":{"dtype":"F4","shape":[4,8],"data_offsets":[0,16]}}'
    whole = len(header).to_bytes(8, "little") + header + bytes(16)
    (folder / "adapter_model.safetensors").write_bytes(whole)
    with raises(DataError):
        load_adapter(small, folder)


def test_names_of_older_transformers_are_understood(small, tmp_path):
    adapter = random_adapter(small, 0)
    older = {key.replace(".language_model.", "."): its for key, its in adapter.tensors.items()}
    folder = save_adapter(Adapter(adapter.config, older), tmp_path / "a")
    assert load_adapter(small, folder).tensors.keys() == adapter.tensors.keys()


def test_an_alpha_by_the_name_of_older_transformers_is_that_layers(small, tmp_path):
    """As PEFT writes it after EVA, which gives every layer a rank and an alpha of its own."""
    adapter = random_adapter(small, 0)
    name = "model.language_model.layers.1.self_attn.q_proj"
    config = adapter.config | {"alpha_pattern": {name: 3 * adapter.config["lora_alpha"]}}
    older_config = config | {
        "alpha_pattern": {name.replace(".language_model", ""): 3 * adapter.config["lora_alpha"]}
    }
    older = {key.replace(".language_model.", "."): its for key, its in adapter.tensors.items()}
    folder = save_adapter(Adapter(older_config, older), tmp_path / "a")
    (plain, todays, read) = (
        stacked(small, [one]).factors
        for one in (adapter, replace(adapter, config=config), load_adapter(small, folder))
    )
    torch.testing.assert_close(read, todays, rtol=0, atol=0)
    torch.testing.assert_close(read[name][1], 3 * plain[name][1])


@pytest.mark.parametrize("pattern", ["proj", "q_proj", "q_proj|v_proj", r"1\..*proj", "self_attn"])
def test_an_alpha_by_pattern_is_that_of_the_layers_which_peft_means(small, pattern):
    from peft.utils.other import get_pattern_key

    adapter = random_adapter(small, 0, rank=1)
    tuned = replace(
        adapter, config=adapter.config | {"lora_alpha": 1, "alpha_pattern": {pattern: 7}}
    )
    plain = replace(adapter, config=adapter.config | {"lora_alpha": 1})
    factors = stacked(small, [plain]).factors
    for name, (_, b) in stacked(small, [tuned]).factors.items():
        alpha = 7 if get_pattern_key([pattern], name) == pattern else 1
        torch.testing.assert_close(b, alpha * factors[name][1])


@pytest.mark.parametrize("start", [True, "gaussian", "mica", "orthogonal"])
def test_a_start_that_leaves_peft_the_base_is_run_by_the_fleet(start, tmp_path):
    """PEFT itself tells which: after it has read an adapter, is the base what it was?"""
    from peft import LoraConfig, get_peft_model

    base = factory.family_base("qwen2_5_vl")
    before = {name: its.clone() for name, its in base.model.state_dict().items()}
    config = LoraConfig(r=4, target_modules=["v_proj"], init_lora_weights=start)
    model = get_peft_model(factory.family_base("qwen2_5_vl").model, config)
    for name, weight in model.named_parameters():
        if "lora_" in name:  # PEFT starts one of the two at zero
            nn.init.normal_(weight)
    model.save_pretrained(tmp_path)
    after = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): its
        for name, its in model.state_dict().items()
    }
    assert all(torch.equal(its, after[name]) for name, its in before.items())
    assert not load_adapter(base, tmp_path).plain


@pytest.mark.parametrize("change", ["alpha", "lora_A", "lora_B"])
def test_an_adapter_that_changes_no_answer_is_refused(small, tmp_path, change):
    adapter = random_adapter(small, 0)
    if change == "alpha":
        adapter.config["lora_alpha"] = 0
    else:
        adapter.tensors.update({k: 0 * v for k, v in adapter.tensors.items() if change in k})
    with raises(DataError):
        load_adapter(small, save_adapter(adapter, tmp_path / "a"))


def test_our_configuration_is_what_peft_would_write(small, tmp_path):
    from peft import LoraConfig

    (adapter,) = train_fleet(small, [job(0, factory.items(2))], factory.recipe(epochs=1))
    folder = save_adapter(adapter, tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text())
    theirs: Any = LoraConfig.from_pretrained(folder)
    assert theirs.r == config["r"] == 4
    assert config["target_modules"] == (
        r"model\.language_model\.layers\..*\."
        r"(down_proj|gate_proj|k_proj|o_proj|q_proj|up_proj|v_proj)"
    )


def test_some_layers_of_a_kind_are_named_one_by_one(small):
    recipe = factory.recipe(targets=("1.self_attn.q_proj", "up_proj"), dropout=0.1)
    names = list(target_linears(small.model, recipe.targets))
    config = peft_config(small, recipe, names)
    assert config["target_modules"] == names
    assert {name for name in names if "q_proj" in name} == {
        "model.language_model.layers.1.self_attn.q_proj"
    }
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.1)


# Stacks.


def test_a_stack_is_as_wide_as_its_widest_and_rounds_nothing():
    """A layer's own rank divides alpha, whatever `r` says: PEFT's `rank_pattern`."""
    base = factory.small_base(torch.bfloat16)
    adapters = [random_adapter(base, 0, rank=2), random_adapter(base, 1, rank=3)]
    for one in adapters:
        one.config.update(r=7, lora_alpha=5)
        one.tensors.update({key: its.bfloat16() for key, its in one.tensors.items()})
    stack = stacked(base, adapters)
    assert (stack.rank, stack.dtype) == (3, torch.float32)
    for name, (a, b) in stack.factors.items():
        for index, (one, rank) in enumerate(zip(adapters, (2, 3), strict=True)):
            key = f"base_model.model.{name}.lora_"
            assert torch.equal(a[index, :rank], one.tensors[f"{key}A.weight"].float())
            expected = one.tensors[f"{key}B.weight"].double() * 5 / rank
            torch.testing.assert_close(b[index, :, :rank].double(), expected, atol=0, rtol=1e-6)
            assert not a[index, rank:].any()
            assert not b[index, :, rank:].any()


def test_stacked_adapters_of_different_ranks_do_what_each_does_alone(small):
    adapters = [random_adapter(small, 0, rank=2), random_adapter(small, 1, rank=5)]
    items = factory.items(3, 2)
    path = forward_path(small, items)
    rows = path.encode(items)
    with torch.no_grad():
        with attached(small.model, stacked(small, adapters)):
            both = path.logits([*rows, *rows])
        for index, adapter in enumerate(adapters):
            with attached(small.model, stacked(small, [adapter])):
                alone = path.logits(rows)
            torch.testing.assert_close(both[3 * index : 3 * index + 3], alone, atol=1e-5, rtol=1e-4)


def test_a_layer_may_get_its_rows_flattened():
    model = torch.nn.Sequential(torch.nn.Linear(6, 5)).double()
    stack = Stack({"0": model[0]}, 2, 3, 0.5, torch.float64)
    stack.values[0].normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (a, b), linear = stack.factors["0"], model[0]
    with attached(model, stack):
        whole, flat = model(x), model(x.flatten(0, 1))
    assert model[0] is linear
    for row, its in enumerate((0, 0, 1, 1)):
        expected = linear(x[row]) + 0.5 * x[row] @ a[its].T @ b[its].T
        torch.testing.assert_close(whole[row], expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(flat.view_as(whole), whole, atol=1e-12, rtol=0)


def test_fresh_factors_start_as_peft_does():
    linears = {"a": torch.nn.Linear(100, 8), "b": torch.nn.Linear(25, 3)}
    stack = Stack(linears, 2, 4, 2.0, torch.float32)
    stack.initialize([5, 6])
    a, b = stack.factors["a"]
    assert a.shape == (2, 4, 100)
    assert b.shape == (2, 8, 4)
    assert not b.any()
    assert 0.09 < a.abs().max() <= 0.1
    assert not torch.equal(a[0], a[1])
    assert stack.factors["b"][0].abs().max() <= 0.2


# Scoring.


def stock_logprobs(base, adapter, items):
    """Each item's options by PEFT and the model's own forward, one item at a time."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    model = copy.deepcopy(base.model)
    if adapter is not None:
        config = {key: adapter.config[key] for key in ("r", "lora_alpha", "target_modules")}
        model = get_peft_model(model, LoraConfig(**config))
        set_peft_model_state_dict(model, adapter.tensors)
        model.eval()
    tokens = [tail[0] for tail in option_tokens(base.processor).suffixes]
    plain = factory.reference_path(base, items)
    for item in items:
        with torch.no_grad():
            logits = model(**plain.inputs(plain.encode([item]))).logits[0, -1]
        yield logits.log_softmax(-1)[tokens[: len(item.choices)]]


@pytest.mark.parametrize("family", ["small", *FAMILIES, "llava"])
def test_scores_equal_the_plain_peft_forward(family):
    if family == "small":
        base, items = factory.small_base(), factory.items(5, None)
    else:
        base, items = factory.family_base(family), factory.items(5, None, size=None)
    adapters = [None, random_adapter(base, 0), random_adapter(base, 1, rank=2)]
    told = []
    answers = score_fleet(
        base, adapters, items, batch_size=2, progress=lambda *its: told.append(its)
    )
    assert told[-1] == (15, 15)
    for adapter, ours in zip(adapters, answers, strict=True):
        for answer, theirs in zip(ours, stock_logprobs(base, adapter, items), strict=True):
            torch.testing.assert_close(torch.tensor(answer.logprobs), theirs, atol=1e-4, rtol=1e-4)
            assert answer.choice == int(theirs.argmax())
            best, second = theirs.topk(2).values.tolist()
            assert answer.margin == pytest.approx(best - second, abs=2e-4)


def test_a_tasks_answers_are_the_same_whatever_else_is_asked(small):
    mine, others = factory.items(5, 2), factory.items(4, 1, seed=1, task="other")
    adapter = random_adapter(small, 0)
    (alone,) = score_fleet(small, [adapter], mine, batch_size=3)
    (among,) = score_fleet(small, [adapter], [*others, *mine], batch_size=3)
    assert among[4:] == alone


def test_stacked_scoring_equals_merged_scoring(small, monkeypatch):
    items, adapters = factory.items(5, None), [random_adapter(small, seed) for seed in range(3)]
    alone = score_fleet(small, [*adapters[:1], None, *adapters[1:]], items)

    def crews(base, adapters, tokens):
        yield score._AdapterGroup(
            [0, 2], base, lambda: attached(base.model, stacked(base, [adapters[0], adapters[2]]))
        )
        yield score._AdapterGroup(
            [1, 3], base, lambda: attached(base.model, stacked(base, [no_change, adapters[3]]))
        )

    no_change = random_adapter(small, 9)
    for tensor in no_change.tensors.values():
        tensor.zero_()
    monkeypatch.setattr(score, "_adapter_groups", crews)
    together = score_fleet(small, [*adapters[:1], None, *adapters[1:]], items, batch_size=2)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.choice == b.choice
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_letters_of_several_tokens_are_compared_by_the_sum(small, monkeypatch):
    stem, tails = (9,), ((10, 12), (10, 13), (11,))
    monkeypatch.setattr(score, "option_tokens", lambda _: OptionTokens(stem, tails))
    items = [item for item in factory.items(9, seed=4) if len(item.choices) == 3]
    (answers,) = score_fleet(small, [None], items)
    plain = factory.reference_path(small, items)

    def one(item, said, token):
        rows = [row._replace(answer_ids=said) for row in plain.encode([item])]
        return float(plain.logits(rows)[0, -1].log_softmax(-1)[token])

    assert items
    for item, answer in zip(items, answers, strict=True):
        first = one(item, (9,), 10)
        expected = [
            first + one(item, (9, 10), 12),
            first + one(item, (9, 10), 13),
            one(item, (9,), 11),
        ]
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_training_takes_letters_of_several_tokens(small, monkeypatch):
    tails = ((10, 12), (10, 13), (11,), (14,), (15,))
    monkeypatch.setattr(train, "option_tokens", lambda _: OptionTokens((9,), tails))
    monkeypatch.setattr(score, "option_tokens", lambda _: OptionTokens((9,), tails))
    items = factory.items(8, seed=5)
    its = job(0, items, answers=[1] * 8)
    (adapter,) = train_fleet(small, [its], factory.recipe(epochs=8, loss="letter"))
    before, after = score_fleet(small, [None, adapter], items)
    assert {answer.choice for answer in after} == {1}
    for a, b in zip(before, after, strict=True):
        assert b.logprobs[1] - a.logprobs[1] > 2


def test_a_tie_goes_to_the_first_and_has_no_margin():
    assert from_logprobs([-2.0, -1.0, -1.0]) == Prediction(1, (-2.0, -1.0, -1.0), 0.0)


def test_an_adapter_without_numbers_gives_no_answers(small):
    """As one is after a training that went astray: its first option is not chosen instead."""
    adapter = random_adapter(small, 0)
    for tensor in adapter.tensors.values():
        tensor.fill_(float("nan"))
    (answers,) = score_fleet(small, [adapter], factory.items(4))
    assert [its.choice for its in answers] == [None] * 4
    turned = combine_orders(answers[:2], [(0, 1), (1, 0)], by_reply=False)
    assert turned.choice is None


@pytest.mark.parametrize("count", [0, 11])
def test_an_item_without_choices_or_with_more_than_letters_is_refused(small, count):
    (item,) = factory.items(1)
    bad = type(item)(**(vars(item) | {"choices": ("a",) * count}))
    with raises(StudyError):
        score_fleet(small, [None], [bad])
