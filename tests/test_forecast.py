"""The forecast: its gradients a second way, what a small step does, and how it is compared."""

import copy

import lab_factory as factory
import pytest
import torch
from torch.nn import functional

from transferscope.fleet import train
from transferscope.fleet.memory import Room
from transferscope.fleet.train import Job, start_gradients
from transferscope.forecast import predicted
from transferscope.models.linears import target_linears
from transferscope.models.paths import forward_path
from transferscope.models.rows import letters

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # PEFT's

RECIPE = factory.recipe()
TASKS = ("near", "far", "odd")


@pytest.fixture(scope="module", params=["small", "qwen3_vl"])
def base(request):
    if request.param == "small":
        return factory.small_base(torch.float64)
    return factory.family_base(request.param, torch.float64)


@pytest.fixture(scope="module")
def jobs():
    """Jobs with different numbers of items, all from the same start."""
    return [
        Job(name, 0, factory.items(5 + 2 * k, seed=k, task=name), 3, 0, 0)
        for k, name in enumerate(TASKS)
    ]


class ByPeft:
    """A LoRA of PEFT's on a copy of a base, with the fleet's start: losses by the model's own
    forward."""

    def __init__(self, base, init_seed: int) -> None:
        from peft import LoraConfig, get_peft_model

        names = list(target_linears(base.model, RECIPE.targets))
        config = LoraConfig(
            r=RECIPE.rank, lora_alpha=RECIPE.alpha, lora_dropout=0.0, target_modules=names
        )
        self.base = base
        self.model = get_peft_model(copy.deepcopy(base.model), config, autocast_adapter_dtype=False)
        its = dict(self.model.named_parameters())
        (start,) = train.train_fleet(
            base,
            [Job("x", 0, factory.items(1), init_seed, 0, 0)],
            factory.recipe(learning_rate=0.0, epochs=1),
        )
        for key, value in start.tensors.items():
            its[key.replace(".weight", ".default.weight")].data.copy_(value)
        keys = [f"base_model.model.{name}.lora_B.default.weight" for name in names]
        self.b = [its[key] for key in keys]

    def loss(self, items) -> torch.Tensor:
        plain = forward_path(self.base, items, "plain")
        logits = self.model(**plain.inputs(plain.encode(items))).logits[:, -1]
        tails = letters(self.base.processor).tails
        said = torch.tensor([tails[item.answer][0] for item in items])
        return functional.cross_entropy(logits, said)

    def gradient(self, items) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(self.loss(items), self.b)])

    def step(self, direction: torch.Tensor) -> None:
        sizes = [b.numel() for b in self.b]
        for b, part in zip(self.b, direction.split(sizes), strict=True):
            b.data += part.view_as(b)


def test_gradients_at_the_start_are_those_of_peft(base, jobs):
    its = ByPeft(base, 3)
    for job, found in zip(jobs, start_gradients(base, jobs, RECIPE), strict=True):
        expected = its.gradient(job.items)
        assert expected.abs().max() > 1e-4
        # The embedded bases' own path rounds angles to float32 where the model does not.
        assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_gradients_are_the_same_in_company_and_by_parts(base, jobs, monkeypatch):
    alone = start_gradients(base, jobs, RECIPE)
    monkeypatch.setattr(train, "training_room", lambda *_: Room(3, 2, False))
    monkeypatch.setattr(train, "CLOSE", 0.0)
    for a, b in zip(alone, start_gradients(base, jobs, RECIPE), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_small_step_changes_losses_as_the_gradients_say(base, jobs):
    source, target, _ = start_gradients(base, jobs, RECIPE)
    losses, length = [], 1e-3
    for side in (1, -1):
        its = ByPeft(base, 3)
        its.step(-side * length * source / source.norm())
        losses.append(its.loss(jobs[1].items).item())
    taken = (losses[1] - losses[0]) / 2
    assert taken == pytest.approx(length * predicted([source], [target]).item(), rel=1e-3)
