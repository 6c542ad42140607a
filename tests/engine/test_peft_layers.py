"""Adapters that are more than two factors per layer: the numbers are PEFT's own."""

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import engine_factory as factory
import pytest
import torch
from messages import raises
from PIL import Image
from torch.nn import functional

from transferscope.engine.adapter import load_adapter, save_adapter, scaled
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.optimizer import lr_lambda
from transferscope.engine.peft_training import train_adapters
from transferscope.engine.records import TrainingJob
from transferscope.engine.reference_path import ReferencePath
from transferscope.engine.reply_tokens import extent, option_tokens, reply_text, reply_tokens
from transferscope.engine.score import score_fleet
from transferscope.engine.train import epoch_orders
from transferscope.errors import DataError, StudyError
from transferscope.tasks import LETTERS
from transferscope.tasks.open_answers import Extent, PointAnswer

torch.set_num_threads(1)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # PEFT's
    pytest.mark.filterwarnings("ignore:.*base_model_name_or_path:UserWarning"),
]

KINDS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True, "target_modules": ["q_proj", "up_proj"]},
    "rslora of everything": {"use_rslora": True, "target_modules": "all-linear"},
    "vision tower and merger": {"target_modules": r".*visual.*\.(qkv|proj)|.*merger\.mlp\.[02]"},
    "modules to save": {"target_modules": ["v_proj"], "modules_to_save": ["merger"]},
    "bias": {"target_modules": ["q_proj", "v_proj"], "bias": "lora_only"},
    "pissa": {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"]},
    "embedding alone": {"target_modules": ["embed_tokens"]},
    "olora": {"target_modules": ["q_proj"], "init_lora_weights": "olora"},
}

TRAINED = ("dora", "rslora of everything", "modules to save", "pissa", "embedding alone")
"""Everything is the vision tower and the merger too."""


@pytest.fixture
def base():
    return factory.family_base("qwen2_5_vl")


def theirs(base, options: dict[str, Any], folder) -> Any:
    """An adapter of PEFT's, with random weights in all that is trained, saved to a folder."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, **options)
    model = get_peft_model(copy.deepcopy(base.model), config)
    for name, weight in model.named_parameters():
        if weight.requires_grad and "magnitude" not in name:
            weight.data += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder, save_embedding_layers=False)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_any_kind_scores_as_peft_does(kind, base, tmp_path):
    from peft import PeftModel

    theirs(base, KINDS[kind], tmp_path)
    model = PeftModel.from_pretrained(copy.deepcopy(base.model), tmp_path)
    items = factory.items(4, None, size=(56, 84))
    plain = factory.reference_path(base, items)
    options = option_tokens(base.processor)
    ids = [suffix[0] for suffix in options.suffixes]
    rows = [row._replace(answer_ids=options.prefix) for row in plain.encode(items)]
    with torch.no_grad():
        expected = model(**plain.inputs(rows)).logits[:, -1].log_softmax(-1)[:, ids]
    adapter = load_adapter(base, tmp_path)
    assert adapter.plain
    before, after = score_fleet(base, [None, adapter], items)
    for item, line, one, none in zip(items, expected.tolist(), after, before, strict=True):
        assert one.logprobs == pytest.approx(line[: len(item.choices)], abs=1e-5)
        assert one.logprobs != pytest.approx(none.logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", TRAINED)
def test_an_adapter_of_any_kind_is_trained_as_pefts_own_loop_trains_it(kind, base, tmp_path):
    """Whole replies, AdamW, schedule and clipping, written out; the folder is one of PEFT's."""
    from peft import LoraConfig, PeftModel, get_peft_model

    options = KINDS[kind]
    recipe = factory.recipe(peft=options, weight_decay=0.01, max_grad_norm=0.5)
    items = factory.items(6, 1, size=(56, 56))
    job = TrainingJob("made", 0, items, 10, 20, 30)
    torch.manual_seed(job.init_seed)
    model = get_peft_model(copy.deepcopy(base.model), LoraConfig(r=4, lora_alpha=8, **options))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.01)
    plain = factory.reference_path(base, items)
    replies = reply_tokens(base.processor, [f"({LETTERS[i.answer]})" for i in items], end=True)
    batches = [
        order[start:end]
        for order in epoch_orders(6, recipe.epochs or 0, job.order_seed)
        for start, end in pairwise((0, 4, 6))
    ]
    losses = []
    for step, batch in enumerate(batches):
        share = lr_lambda(recipe.schedule, recipe.warmup, step, len(batches))
        optimizer.param_groups[0]["lr"] = (recipe.learning_rate or 0) * share
        rows = plain.encode([items[index] for index in batch])
        replied = [replies[index] for index in batch]
        given = [row._replace(answer_ids=its[:-1]) for row, its in zip(rows, replied, strict=True)]
        logits = model(**plain.inputs(given)).logits[:, -len(replied[0]) :]
        loss = functional.cross_entropy(logits.flatten(0, 1), torch.tensor(replied).flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.step()
        losses.append(loss.item())
    before = {name: its.clone() for name, its in base.model.state_dict().items()}
    ((_, adapter),) = next(train_adapters(base, [job], recipe)).items()
    assert adapter.curve.losses == pytest.approx(losses, abs=1e-5)
    assert not adapter.curve.failed
    assert all(torch.equal(its, before[name]) for name, its in base.model.state_dict().items())
    folder = save_adapter(adapter, tmp_path / "a")
    again = PeftModel.from_pretrained(copy.deepcopy(base.model), folder)
    rows = plain.inputs(plain.encode(items[:2]))
    with torch.no_grad():
        torch.testing.assert_close(again(**rows).logits, model(**rows).logits, atol=1e-4, rtol=0)
    (mine,) = score_fleet(base, [load_adapter(base, folder)], items)
    (same,) = score_fleet(base, [adapter], items)
    assert [one.logprobs for one in mine] == [one.logprobs for one in same]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_has_strengths_if_it_fades_with_alpha(kind, base, tmp_path):
    """PEFT itself tells which: with an alpha of almost zero, are the scores the base's?"""
    theirs(base, KINDS[kind], tmp_path)
    read, items = load_adapter(base, tmp_path), factory.items(2, None, size=(56, 56))
    trained = {k: 1.1 * one if "magnitude" in k else one for k, one in read.tensors.items()}
    adapter = replace(read, tensors=trained)
    faint = replace(adapter, config=adapter.config | {"lora_alpha": 8e-6})
    plain, left = (
        [value for one in scores for value in one.logprobs]
        for scores in score_fleet(base, [None, faint], items)
    )
    fades = left == pytest.approx(plain, abs=1e-4)
    # OLoRA's fades only because PEFT splits the base anew with each alpha, so it has none either.
    assert fades == (kind not in ("dora", "modules to save", "bias", "pissa"))
    if fades and kind != "olora":
        assert scaled(adapter, 1e-6).config == faint.config | {"alpha_pattern": {}}
    else:
        with raises(DataError):
            scaled(adapter, 0.5)


def test_a_tower_adapter_that_changes_nothing_is_refused(base, tmp_path):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, **KINDS["vision tower and merger"])
    get_peft_model(copy.deepcopy(base.model), config).save_pretrained(tmp_path)
    with raises(DataError):
        load_adapter(base, tmp_path)


def test_places_are_those_of_the_resized_image_on_the_reference_path_too(base):
    """An adapter that replies the same places is worth the same with PEFT's own layers."""
    (item,) = factory.items(1, 1, size=(90, 130))
    processor = base.processor.image_processor
    made = processor(images=[Image.fromarray(item.images[0].pixels())], return_tensors="pt")
    _, height, width = made["image_grid_thw"][0].tolist()
    expected = Extent(width * processor.patch_size, height * processor.patch_size)
    assert expected[:2] != (130, 90)
    assert extent(base, item.images[0]) == expected
    plain = replace(base, plain=True, paths={})
    assert isinstance(forward_path(plain, [item]), ReferencePath)
    assert extent(plain, item.images[0]) == expected
    point = PointAnswer(0.5, 0.25)
    assert reply_text(plain, item, point) == f"{round(expected[0] / 2)}, {round(expected[1] / 4)}"


def test_an_option_that_peft_lacks_is_named(base):
    jobs = [TrainingJob("made", 0, factory.items(2), 1, 2, 3)]
    for options in ({"use_dorra": True}, {"r": 8}, {"target_modules": ["no_such_layer"]}):
        with raises(StudyError):
            list(train_adapters(base, jobs, factory.recipe(peft=options)))


def test_an_adapter_of_another_base_is_refused(base, tmp_path):
    theirs(factory.family_base("llava"), {"target_modules": ["q_proj"], "use_dora": True}, tmp_path)
    with raises(DataError):
        load_adapter(base, tmp_path)
