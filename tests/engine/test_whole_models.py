"""Whole models that a study trains: the numbers of transformers and AdamW, written out."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import engine_factory as factory
import families_factory as families
import pytest
import torch
from messages import raises
from safetensors.torch import load_file, save_file
from torch.nn import functional

from transferscope.engine.adapter import load_adapter, save_adapter, scaled
from transferscope.engine.base_model import load_base
from transferscope.engine.checkpoint import export_checkpoint, load_checkpoint
from transferscope.engine.optimizer import lr_lambda
from transferscope.engine.peft_training import check_recipe, train_adapters
from transferscope.engine.records import TrainingJob
from transferscope.engine.reply_tokens import reply_tokens
from transferscope.engine.score import score_fleet
from transferscope.engine.train import epoch_orders
from transferscope.errors import DataError
from transferscope.study import Recipe
from transferscope.tasks import LETTERS

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # GLM-4V's processor

ITEMS = factory.items(6, 1, size=(56, 56))
JOB = TrainingJob("made", 0, ITEMS, 10, 20, 30)


def full(**changes: Any) -> Recipe:
    given = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "weight_decay": 1.0}
    return Recipe(method="full", max_grad_norm=0.5, **(given | changes))


def trained(base, recipe, **how: Any) -> Any:
    ((_, made),) = next(train_adapters(base, [JOB], recipe, **how)).items()
    return made


QUICK = ("qwen2.5-vl", "smolvlm", "gemma4", "qwen3.5-moe")
EVERY = [
    pytest.param(family, marks=[pytest.mark.slow] * (family not in QUICK))
    for family in (*families.FAMILIES, *families.MIXTURES)
]


@pytest.fixture(autouse=True)
def number_words(monkeypatch):
    """SmolVLM2's processor needs num2words for videos only."""
    import transformers.models.smolvlm.processing_smolvlm as smolvlm

    monkeypatch.setattr(smolvlm, "num2words", str)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A family's checkpoint; each is written once."""
    place = tmp_path_factory.mktemp
    return cache(lambda family: families.checkpoint(family, place(family) / "tiny"))


@pytest.fixture(scope="module")
def folder(checkpoint):
    return checkpoint("qwen2.5-vl")


@pytest.fixture(scope="module")
def base(folder):
    return load_base(folder)


@pytest.fixture(scope="module")
def made(base):
    return trained(base, full(), snapshots={1})


@pytest.fixture
def kept(made, tmp_path):
    return save_adapter(made, tmp_path / "kept")


def by_hand(folder: Path, base: Any, recipe: Recipe) -> tuple[Any, list[list[torch.Tensor]], Any]:
    """transformers' model after every step of plain AdamW on the same batches, and the losses."""
    from transformers import AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=recipe.weight_decay)
    path = factory.reference_path(base, ITEMS)
    replies = reply_tokens(base.processor, [f"({LETTERS[i.answer]})" for i in ITEMS], end=True)
    orders = epoch_orders(6, recipe.epochs or 0, JOB.order_seed)
    batches = [part for order in orders for part in (order[:4], order[4:])]
    losses, after = [], []
    for step, batch in enumerate(batches):
        share = lr_lambda(recipe.schedule, recipe.warmup, step, len(batches))
        optimizer.param_groups[0]["lr"] = (recipe.learning_rate or 0) * share
        target = torch.tensor([replies[index] for index in batch])
        rows = [
            row._replace(answer_ids=replies[index][:-1])
            for index, row in zip(batch, path.encode([ITEMS[i] for i in batch]), strict=True)
        ]
        logits = model(**path.inputs(rows)).logits[:, -target.shape[1] :]
        loss = functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
        after.append([weight.detach().clone() for weight in model.parameters()])
    return model, after, losses


@pytest.mark.parametrize("family", EVERY)
def test_every_step_is_that_of_transformers_and_adamw(family, checkpoint):
    recipe, folder = full(), checkpoint(family)
    base = load_base(folder)
    before = {name: one.clone() for name, one in base.model.state_dict().items()}
    model, after, losses = by_hand(folder, base, recipe)
    made = trained(base, recipe, snapshots={1, 2, 3})
    assert made.curve.losses == pytest.approx(losses, abs=1e-5)
    names = [name for name, _ in base.model.named_parameters()]
    for step, weights in enumerate(after, 1):
        ours = made.snapshots[step].tensors if step < len(after) else made.tensors
        for name, theirs in zip(names, weights, strict=True):
            own = ours.get(name, before[name])
            torch.testing.assert_close(own, theirs, atol=2e-5, rtol=0)
    assert any(re.match(r"model\.vis", name) for name in made.tensors)
    assert all(torch.equal(one, before[name]) for name, one in base.model.state_dict().items())
    path = factory.reference_path(base, ITEMS)
    with torch.no_grad():
        logits = model(**path.inputs(path.encode(ITEMS))).logits[:, -1]
        ours = score_fleet(base, [made], ITEMS)[0]
    assert not torch.equal(logits, path.logits(path.encode(ITEMS))[:, -1])
    assert len(ours) == len(ITEMS)


@pytest.mark.parametrize("family", EVERY)
def test_what_is_kept_exported_and_brought_scores_as_what_was_trained(family, checkpoint, tmp_path):
    from transformers import AutoModelForImageTextToText

    folder = checkpoint(family)
    base = load_base(folder)
    made = trained(base, full())
    kept = save_adapter(made, tmp_path / "kept")
    assert [path.name for path in kept.iterdir()] == ["changed_weights.safetensors"]
    export_checkpoint(
        str(folder), kept, tmp_path / "whole", precision="float32", trust_remote_code=False
    )
    written = {path.suffix for path in (tmp_path / "whole").iterdir()}
    assert written <= {".safetensors", ".json", ".jinja"}
    bare, ours, again = score_fleet(base, [None, made, load_adapter(base, kept)], ITEMS)
    (brought,) = score_fleet(load_checkpoint(base, tmp_path / "whole"), [None], ITEMS)
    assert [one.logprobs for one in again] == [one.logprobs for one in ours]
    for one, other, before in zip(ours, brought, bare, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
        assert one.logprobs != pytest.approx(before.logprobs, abs=1e-3)
    model: Any = AutoModelForImageTextToText.from_pretrained(tmp_path / "whole")
    assert score_fleet(load_base(tmp_path / "whole"), [None], ITEMS) == [brought]
    theirs = dict(model.named_parameters())
    assert all(torch.equal(theirs[name], one) for name, one in made.tensors.items())


def test_large_models_are_kept_in_shards(base, made, monkeypatch, tmp_path):
    import huggingface_hub

    save = huggingface_hub.save_torch_state_dict
    monkeypatch.setattr(
        huggingface_hub,
        "save_torch_state_dict",
        lambda *given, **how: save(*given, **how, max_shard_size=50_000),
    )
    kept = save_adapter(made, tmp_path / "kept")
    assert len([*kept.glob("changed_weights-*-of-*.safetensors")]) > 2
    assert factory.same(load_adapter(base, kept), made)


def test_a_base_of_16_bits_learns_from_updates_that_16_bits_would_round_away(folder):
    base = load_base(folder, precision="bfloat16")
    recipe = full(learning_rate=2e-5, epochs=10, schedule="constant", warmup=0.0, weight_decay=0)
    made = trained(base, recipe)
    own = dict(base.model.named_parameters())
    assert made.curve.losses[-1] < made.curve.losses[0]
    assert {one.dtype for one in made.tensors.values()} == {torch.bfloat16}
    moved = sum((own[name] != one).sum().item() for name, one in made.tensors.items())
    # A step is 2e-5; a weight of 0.15 has neighbors at a distance of 1e-3.
    assert moved > 0.05 * sum(one.numel() for one in own.values())


def test_a_model_that_learned_nothing_fails(base):
    made = trained(base, full(learning_rate=0.0))
    assert made.curve.failed == (
        "learned nothing: all of its weights equal the base's, so it changes no answer"
    )
    assert trained(base, full(learning_rate=1e30)).curve.failed.startswith("diverged: ")


def test_a_model_has_no_strengths(made):
    with raises(DataError):
        scaled(made, 0.5)


def test_a_model_that_equals_its_base_is_refused(base, folder):
    with raises(DataError):
        load_checkpoint(base, folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: {"model.other": one["lm_head.weight"].clone()},
        lambda one: {"lm_head.weight": one["lm_head.weight"][:-1].clone()},
        lambda one: {"lm_head.weight": one["lm_head.weight"] * float("nan")},
    ],
)
def test_weights_of_another_base_are_refused_by_file_and_name(base, kept, change):
    path = kept / "changed_weights.safetensors"
    weights = load_file(path)
    save_file(weights | change(weights), path)
    with raises(DataError):
        load_adapter(base, kept)


def test_the_log_names_what_is_trained(base):
    assert check_recipe(base, full()) == "every weight"
