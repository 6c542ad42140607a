"""Merged and fully finetuned checkpoints beside their base."""

import json
import shutil
from pathlib import Path
from typing import Any

import engine_factory as factory
import families_factory as families
import pytest
import torch
from engine_factory import train_fleet
from messages import raises
from safetensors.torch import load_file, save_file

from transferscope.engine.adapter import save_adapter
from transferscope.engine.base_model import load_base
from transferscope.engine.checkpoint import check_checkpoint, load_checkpoint
from transferscope.engine.records import CacheLimits, TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.errors import DataError

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # PEFT's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return families.checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def base(folder):
    return load_base(folder)


@pytest.fixture
def other(folder, tmp_path):
    """A copy of the base's folder, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "other"))


@pytest.mark.parametrize("family", ["qwen2.5-vl", "smolvlm", "llava-onevision", "gemma3"])
def test_a_merged_checkpoint_answers_as_its_adapter_does(family, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    where = families.checkpoint(family, tmp_path / "tiny")
    room = CacheLimits(memory=1 << 20, folder=tmp_path / "features")
    base = load_base(where, max_pixels=80 * 80, cache_limits=room)
    items = factory.items(3, None, size=None)
    recipe = factory.recipe(learning_rate=0.02)
    (adapter,) = train_fleet(base, [TrainingJob("a", 0, items, 1, 2, 3)], recipe)
    folder = save_adapter(adapter, tmp_path / "a" / "0")
    model: Any = AutoModelForImageTextToText.from_pretrained(where, dtype=torch.float32)
    merged: Any = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")

    tuned = load_checkpoint(base, tmp_path / "merged")
    assert (tuned.name, tuned.dtype, tuned.processor) == (base.name, base.dtype, base.processor)
    assert (tuned.max_pixels, tuned.cache_limits) == (
        base.max_pixels,
        base.cache_limits,
    )  # as features' names
    assert tuned.weights_hash != base.weights_hash
    assert not any(weight.requires_grad for weight in tuned.model.parameters())
    bare, theirs = score_fleet(base, [None, adapter], items)
    (ours,) = score_fleet(tuned, [None], items)
    for one, other, before in zip(ours, theirs, bare, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-4)
        assert one.logprobs != pytest.approx(before.logprobs, abs=1e-2)


def test_a_checkpoint_without_a_tokenizer_has_the_bases(base, other):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json"):
        (other / name).unlink()
    set_weights(other, double)
    own, theirs = base.model.state_dict(), load_checkpoint(base, other).model.state_dict()
    differ = [name for name in own if not torch.equal(own[name], theirs[name])]
    assert differ == ["model.visual.merger.ln_q.weight"]


def test_settings_that_change_no_answer_may_differ(base, other):
    config = json.loads((other / "config.json").read_text())
    config |= {"transformers_version": "4.50.0", "use_cache": False, "torch_dtype": "bfloat16"}
    (other / "config.json").write_text(json.dumps(config))
    set_weights(other, double)
    assert load_checkpoint(base, other).dtype == torch.float32


def test_a_checkpoint_may_tie_its_head(base, other):
    set_config(other, tie_word_embeddings=True, text_config__tie_word_embeddings=True)
    set_weights(other, lambda weights: weights.pop("lm_head.weight"))
    tied = load_checkpoint(base, other).model
    assert tied.lm_head.weight is tied.get_input_embeddings().weight


def set_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        section, _, key = name.partition("__")
        config[section] = config[section] | {key: value} if key else value
    (folder / "config.json").write_text(json.dumps(config))


def set_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def shrink(weights: dict[str, torch.Tensor]) -> None:
    name = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    weights[name] = weights[name][:-1].clone()


def head(weights: dict[str, torch.Tensor]) -> None:
    weights["value_head.weight"] = torch.zeros(2, 2)


def less(weights: dict[str, torch.Tensor]) -> None:
    del weights["visual.merger.ln_q.weight"]


def double(weights: dict[str, torch.Tensor]) -> None:
    weights["visual.merger.ln_q.weight"] *= 2


def other_token(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<|vision_end|>", "<|vision_over|>"))


@pytest.mark.parametrize(
    "change",
    [
        lambda it: (it / "config.json").unlink(),
        lambda it: (it / "model.safetensors").unlink(),
        lambda it: (it / "model.safetensors").write_bytes(b"no"),
        lambda it: set_config(it, model_type="qwen2_vl"),
        lambda it: set_config(it, model_type="none"),
        lambda it: set_config(it, text_config__intermediate_size=96),
        lambda it: set_config(it, text_config__num_hidden_layers=3),
        lambda it: set_config(it, vision_config__window_size=112),
        lambda it: set_weights(it, shrink),
        lambda it: set_weights(it, head),
        lambda it: set_weights(it, less),
        other_token,
    ],
)
def test_a_checkpoint_that_is_not_the_bases_is_refused_with_the_first_difference(
    base, other, change
):
    change(other)
    for check in (check_checkpoint, load_checkpoint):
        with raises(DataError) as refused:
            check(base, other)
        assert "\n" not in str(refused.value)


def test_a_checkpoint_that_lacks_a_shard_is_refused_before_weights_are_read(base, folder, tmp_path):
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    other = tmp_path / "other"
    model.save_pretrained(other, max_shard_size="60KB")
    check_checkpoint(base, other)
    (second, *_) = other.glob("model-00002-of-*.safetensors")
    whole = second.read_bytes()
    second.write_bytes(whole[:-100])
    with raises(DataError):
        check_checkpoint(base, other)
    second.unlink()
    with raises(DataError):
        check_checkpoint(base, other)


def test_an_adapter_is_no_base_and_changes_none_that_it_lies_beside(base, other):
    (other / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    with raises(DataError):
        load_base(other)
    with raises(DataError):
        check_checkpoint(base, other)
