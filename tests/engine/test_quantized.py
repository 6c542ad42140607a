"""A base in NF4: the fleet equals PEFT over the same weights, and scores and records say so."""

import copy
import shutil
from itertools import pairwise
from pathlib import Path

import engine_factory as factory
import pytest
import torch
from engine_factory import train_fleet
from messages import raises
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_fleet import in_company, job, peft_run, random_adapter
from torch.nn import functional

from tools.glimpse_bases.export import save_base
from transferscope.engine import base_model
from transferscope.engine.adapter import WEIGHTS, load_adapter, save_adapter
from transferscope.engine.base_model import load_base
from transferscope.engine.checkpoint import load_checkpoint
from transferscope.engine.linears import language_linears
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.reply_tokens import option_tokens
from transferscope.engine.score import score_fleet
from transferscope.errors import MissingExtra

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # PEFT's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = factory.family_base("qwen2_5_vl")
    return save_base(base.model, base.processor, tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="module")
def base(folder):
    pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    return load_base(folder, quantization="nf4")


def test_without_bitsandbytes_one_line_names_the_extra(folder, monkeypatch):
    monkeypatch.setattr(base_model.importlib.util, "find_spec", lambda _: None)
    with raises(MissingExtra):
        load_base(folder, quantization="nf4")


def test_the_language_models_linear_layers_alone_lie_in_4_bits(base, folder):
    import bitsandbytes

    kind = bitsandbytes.nn.Linear4bit  # pyright: ignore[reportPrivateImportUsage]
    small = {name for name, module in base.model.named_modules() if isinstance(module, kind)}
    assert small == set(language_linears(base.model))
    whole = load_base(folder).model.state_dict()
    for name, weight in base.model.state_dict().items():
        if name in whole and name.removesuffix(".weight") not in small:
            assert torch.equal(weight, whole[name]), name


def test_a_fleet_over_nf4_equals_separate_peft_runs(base, monkeypatch):
    recipe = factory.recipe(weight_decay=0.01, max_grad_norm=0.5)
    jobs = [
        job(0, factory.items(6, None, seed=1, size=(56, 84))),
        job(1, factory.items(6, 1, seed=2, size=(56, 56))),
    ]
    # What a CPU would make of the weights in a forward without gradients is no trap.
    score_fleet(base, [None], jobs[0].items)
    in_company(monkeypatch, MemoryPlan(2, 1, False))
    found = train_fleet(base, jobs, recipe)
    starts = train_fleet(base, jobs, factory.recipe(**(vars(recipe) | {"learning_rate": 0.0})))
    for its, ours, start in zip(jobs, found, starts, strict=True):
        *_, theirs = peft_run(base, its, recipe, start)
        for key, tensor in ours.tensors.items():
            assert torch.allclose(tensor, theirs[key], rtol=0, atol=1e-4), key
        assert (
            max(float((its - start.tensors[key]).abs().max()) for key, its in theirs.items()) > 0.02
        )


def test_losses_over_nf4_are_pefts_at_every_step(base, monkeypatch):
    recipe, its = factory.recipe(), job(0, factory.items(8, 1, seed=3, size=(56, 56)))
    (start,) = train_fleet(base, [its], factory.recipe(learning_rate=0.0))
    losses, cross_entropy = [], functional.cross_entropy

    def recorded(*given, **options):
        found = cross_entropy(*given, **options)
        losses.append(float(found.detach().mean()))
        return found

    monkeypatch.setattr(functional, "cross_entropy", recorded)
    train_fleet(base, [its], recipe)
    ours = losses.copy()
    losses.clear()
    assert len(list(peft_run(base, its, recipe, start))) == len(ours) == 4
    assert ours == pytest.approx(losses, abs=1e-5)
    assert min(abs(one - two) for one, two in pairwise(ours)) > 1e-3


def test_answers_over_nf4_are_pefts(base):
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    adapter, items = random_adapter(base, 1), factory.items(5, 1, seed=4, size=(56, 56))
    ours = score_fleet(base, [None, adapter], items)
    assert ours[0] != ours[1]
    plain, its = factory.reference_path(base, items), option_tokens(base.processor)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=adapter.config["target_modules"])
    model = get_peft_model(copy.deepcopy(base.model), config)
    set_peft_model_state_dict(model, adapter.tensors)
    with torch.no_grad():
        table = model(**plain.inputs(plain.encode(items))).logits[:, -1].log_softmax(-1)
    for answer, line, item in zip(ours[1], table, items, strict=True):
        theirs = [float(line[tail[0]]) for tail in its.suffixes[: len(item.choices)]]
        assert answer.logprobs == pytest.approx(theirs, abs=1e-4)


def test_an_adapter_keeps_what_it_was_trained_on(base, tmp_path):
    (made,) = train_fleet(base, [job(0, factory.items(2, 1))], factory.recipe(epochs=1))
    path = save_adapter(made, tmp_path / "one" / "0")
    with safe_open(path / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt", "base_quantization": "nf4"}
    assert factory.same(load_adapter(base, path), made)


def test_a_whole_finetuned_model_is_stored_as_its_base(base, folder, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "tuned"))
    weights = load_file(other / "model.safetensors")
    changed = next(name for name in weights if name.endswith("norm.weight"))
    save_file(
        weights | {changed: 2 * weights[changed]}, other / "model.safetensors", {"format": "pt"}
    )
    tuned = load_checkpoint(base, other)
    assert tuned.quantization == "nf4"
    pairs = zip(base.model.parameters(), tuned.model.parameters(), strict=True)
    assert [torch.equal(own, theirs) for own, theirs in pairs].count(False) == 1
