"""A base whose layers lie on several devices: the numbers of one that lies on a single device."""

from itertools import pairwise
from types import SimpleNamespace

import engine_factory as factory
import pytest
import torch
from engine_factory import FAST_FAMILIES, train_fleet
from messages import raises
from test_fleet import FAMILIES, job, random_adapter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transferscope.engine import train
from transferscope.engine.devices import layers_by_device, spread_layers
from transferscope.engine.lora import Stack
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.optimizer import clip_gradients
from transferscope.engine.score import score_fleet
from transferscope.errors import DataError, StudyError
from transferscope.study.file import parse_study

torch.set_num_threads(1)

CPU, OTHER, META = torch.device("cpu"), torch.device("cpu", 0), torch.device("meta")


def halves(family: str, other: torch.device):
    base = factory.family_base(family, torch.float64)
    spread_layers(base.model, [CPU, other])
    return base


def on_devices(linears, devices):
    """Stand-ins for linear layers whose weights are on other devices."""
    return {
        name: SimpleNamespace(
            in_features=linear.in_features,
            out_features=linear.out_features,
            weight=SimpleNamespace(device=devices[name]),
        )
        for name, linear in linears.items()
    }


@pytest.mark.parametrize("family", [*FAMILIES, "llava"])
def test_a_base_on_two_devices_trains_and_answers_as_on_one(family, monkeypatch):
    """Its factors and their moments are kept in two parts: `cpu` and `cpu:0` differ by name."""
    monkeypatch.setattr(train, "memory_plan", lambda *_: MemoryPlan(2, 1, False))

    def parted(linears, *given):
        parts.append({name: (CPU, OTHER)[index % 2] for index, name in enumerate(linears)})
        return Stack(on_devices(linears, parts[-1]), *given)

    parts = []
    jobs = [job(seed, factory.items(4, 1, seed=seed, size=(56, 56))) for seed in (0, 1)]
    items, recipe = factory.items(5, 1, seed=7, size=(56, 56)), factory.recipe(max_grad_norm=0.1)
    found = []
    for base in (factory.family_base(family, torch.float64), halves(family, CPU)):
        adapters = train_fleet(base, jobs, recipe)
        scored = score_fleet(base, [None, *adapters], items, scoring="generate")
        found.append((adapters, scored))
        monkeypatch.setattr(train, "Stack", parted)
    assert set(parts[0].values()) == {CPU, OTHER}
    (one, said), (two, again) = found
    for its, other in zip(one, two, strict=True):
        for key, tensor in its.tensors.items():
            assert torch.allclose(tensor, other.tensors[key], rtol=0, atol=1e-10), key
    for own, others in zip(said, again, strict=True):
        for its, other in zip(own, others, strict=True):
            assert its.logprobs == pytest.approx(other.logprobs, abs=1e-9)
            assert its.reply == other.reply


class Apart(TorchDispatchMode):
    """Refuses a product of tensors on different devices, as GPUs do; copies alone may cross.

    What lies on `meta` has no values: brought back from there, it is zeros.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [its for its in tree_leaves((args, kwargs)) if isinstance(its, torch.Tensor)]
        copies = func.overloadpacket.__name__ in ("_to_copy", "copy_")
        if copies and any(its.is_meta for its in tensors):
            place = tensors[0].device if len(tensors) > 1 else kwargs.get("device")
            if place is not None and torch.device(place).type == "cpu":
                made = torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
                return tensors[0].zero_() if len(tensors) > 1 else made
        if not copies:
            places = {its.device for its in tensors if its.dim()}
            assert len(places) < 2, f"{func}: {places}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("family", "checkpointing"),
    [*((family, False) for family in FAST_FAMILIES), ("qwen3_vl", True)],
)
def test_no_sum_is_over_two_devices(family, checkpointing, monkeypatch):
    monkeypatch.setattr(train, "memory_plan", lambda *_: MemoryPlan(2, 1, checkpointing))
    base, items = halves(family, META), factory.items(4, 1, size=(56, 56))
    adapter = random_adapter(base, 1)
    jobs = [job(seed, items) for seed in (0, 1)]
    with Apart():
        train_fleet(base, jobs, factory.recipe())
        monkeypatch.setattr("transferscope.engine.base_model.Base.mergeable", False)
        score_fleet(base, [None, adapter], items)
    assert layers_by_device(base.model) == {CPU: 2, META: 1}


def test_factors_lie_beside_their_layers_and_norms_are_over_all_of_them():
    linears = {"a": torch.nn.Linear(10, 8), "b": torch.nn.Linear(5, 3), "c": torch.nn.Linear(6, 4)}
    devices = {"a": CPU, "b": META, "c": CPU}
    stack = Stack(on_devices(linears, devices), 2, 4, 2.0, torch.float64)
    assert [its.shape for its in stack.values] == [(2, 4 * (18 + 10)), (2, 4 * 8)]
    for name, (a, b) in stack.factors.items():
        assert a.device == b.device == devices[name]
    gradients = [torch.full((1, 9), 2.0), torch.full((1, 16), 2.0)]  # a norm of 10
    clip_gradients(gradients, 1.0)
    assert torch.cat(gradients, 1).norm() == pytest.approx(1.0, abs=1e-5)
    assert all(one == two for one, two in pairwise(torch.cat(gradients, 1)[0].tolist()))


def test_an_embedded_base_on_two_devices_takes_the_path_that_knows_them():
    base, items = factory.small_base(), factory.items(2, 1)
    spread_layers(base.model, [CPU, META])
    with Apart():
        score_fleet(base, [None], items)
    assert list(base.paths) == ["qwen2_5_vl"]


def test_a_decoder_with_fewer_layers_than_devices_is_refused():
    with raises(DataError):
        spread_layers(factory.family_base("qwen2_5_vl").model, [CPU] * 4)


def test_gpus_are_a_share_of_one_or_a_whole_number():
    text = "name: x\nmodels: {s: {where: glimpse-s, gpus: GPUS}}\nsuite: glimpse\n"
    assert parse_study(text.replace("GPUS", "2"), "x").models["s"].gpus == 2
    with raises(StudyError):
        parse_study(text.replace("GPUS", "1.5"), "x")
