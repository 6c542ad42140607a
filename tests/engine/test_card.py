"""What only a GPU runs, on a stand-in for one: nothing on two devices, and nobody waits for it."""

import engine_factory as factory
import pytest
import torch
from card import a_card, put_on_card
from engine_factory import FAST_FAMILIES, train_fleet
from test_fleet import random_adapter
from torch.utils._python_dispatch import TorchDispatchMode

from transferscope.engine import devices, train
from transferscope.engine import qwen_path as qwen
from transferscope.engine.base_model import Base
from transferscope.engine.devices import free_memory_on
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet

torch.set_num_threads(1)


@pytest.fixture
def two_at_once(monkeypatch):
    """Two adapters share forwards, beside the weights; nothing is compiled."""
    monkeypatch.setattr(train, "memory_plan", lambda *_: MemoryPlan(2, 1, False))
    monkeypatch.setattr(train, "folding_pays", lambda *_: False)
    monkeypatch.setattr(Base, "mergeable", False)
    monkeypatch.setattr(qwen, "compile_layers", lambda *_: None)


def jobs(count: int = 6) -> list[TrainingJob]:
    made = (factory.items(count, 1, seed=seed, size=(56, 56)) for seed in (0, 1))
    return [TrainingJob(f"task{index}", 0, items, index, 2, 3) for index, items in enumerate(made)]


def on_card(base: Base) -> Base:
    put_on_card(base.model)
    return base


@pytest.mark.parametrize(
    ("family", "dropout"),
    [
        *((family, 0.0) for family in (*FAST_FAMILIES[1:], "llava", "small")),
        (FAST_FAMILIES[0], 0.1),  # without dropout it takes the path of the next family
        pytest.param(FAST_FAMILIES[0], 0.0, marks=pytest.mark.slow),
        *(pytest.param(family, 0.1, marks=pytest.mark.slow)
          for family in (*FAST_FAMILIES[1:], "llava", "small")),
    ],
)  # fmt: skip
def test_a_gpu_trains_and_answers_as_a_cpu(family, dropout, two_at_once):
    items = factory.items(3, 2, seed=7, size=(56, 56))
    recipe = factory.recipe(epochs=1, dropout=dropout)

    def made() -> Base:
        """In float64: AdamW turns the rounding of a gradient near 0 into a whole step."""
        if family == "small":
            return factory.small_base(torch.float64)
        return factory.family_base(family, torch.float64)

    def run(base: Base):
        adapters = train_fleet(base, jobs(), recipe)
        return adapters, score_fleet(base, [None, *adapters], items, batch_size=2)

    expected, said = run(made())
    with a_card():
        found, answers = run(on_card(made()))
    for its, other in zip(found, expected, strict=True):
        for key, tensor in its.tensors.items():
            torch.testing.assert_close(tensor, other.tensors[key], atol=1e-3, rtol=1e-3)
    for own, others in zip(answers, said, strict=True):
        for its, other in zip(own, others, strict=True):
            assert its.logprobs == pytest.approx(other.logprobs, abs=2e-2)


@pytest.mark.parametrize(
    "family",
    [FAST_FAMILIES[0], *(pytest.param(one, marks=pytest.mark.slow) for one in FAST_FAMILIES[1:])],
)
def test_nobody_waits_for_a_gpu_from_step_to_step(family, two_at_once):
    """Three times the steps, and three times the batches, are waited for as often."""
    base, items = on_card(factory.family_base(family)), factory.items(12, 1, seed=7)
    with a_card() as waits:

        def counted(run, *given, **named) -> dict[str, int]:
            waits.clear()
            run(base, *given, **named)
            return +waits

        adapters = train_fleet(base, jobs(), factory.recipe(epochs=1))
        score_fleet(base, [None, *adapters], items)  # all pictures are looked at
        few, many = (
            counted(train_fleet, jobs(), factory.recipe(epochs=epochs)) for epochs in (1, 3)
        )
        assert few == many
        few, many = (
            counted(score_fleet, [None, *adapters], some, batch_size=4)
            for some in (items[:4], items)
        )
        assert few == many


@pytest.mark.parametrize(
    "family",
    [
        *(FAST_FAMILIES[-1], "small"),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (*FAST_FAMILIES[:-1], "llava")),
    ],
)
def test_a_gpu_replies_as_a_cpu(family, two_at_once):
    made = factory.small_base if family == "small" else lambda: factory.family_base(family)
    items, adapters = factory.items(3, None, seed=7), [random_adapter(made(), 0)] * 2

    def run(base: Base) -> list[list[str]]:
        answers = score_fleet(base, [None, *adapters], items, batch_size=2, scoring="generate")
        return [[answer.reply for answer in own] for own in answers]

    expected = run(made())
    assert len({reply for own in expected for reply in own}) > 2
    with a_card():
        assert run(on_card(made())) == expected


class Orders(TorchDispatchMode):
    """What torch was told about the order of sums, as each operation met it."""

    def __init__(self):
        super().__init__()
        self.met = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.met.add(order())
        return func(*args, **(kwargs or {}))


def order() -> tuple[bool, bool, bool]:
    """Whether an order must be fixed, whether one that is not only warns, and what that fills."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # pyright: ignore[reportAttributeAccessIssue]
    )


def trained_and_asked(base: Base):
    adapters = train_fleet(base, jobs(3), factory.recipe(epochs=1))
    return adapters, score_fleet(base, [None, *adapters], factory.items(3, 1))


@pytest.fixture(params=[(False, False), (True, True)])
def users_own(request):
    """What a user's process has set."""
    mode, warn_only = request.param
    torch.use_deterministic_algorithms(mode, warn_only=warn_only)
    yield (mode, warn_only, True)
    torch.use_deterministic_algorithms(False)


def test_a_gpu_adds_up_in_a_fixed_order_and_what_a_user_set_comes_back(two_at_once, users_own):
    with a_card(), Orders() as orders:
        base = on_card(factory.family_base(FAST_FAMILIES[1]))
        orders.met.clear()
        trained_and_asked(base)
    assert orders.met == {(True, False, False)}  # a warning alone leaves attention as it is
    assert order() == users_own
    with Orders() as orders:
        trained_and_asked(factory.small_base())
    assert orders.met == {users_own}


def test_an_operation_without_a_fixed_order_is_logged_and_done_in_any(
    two_at_once, monkeypatch, caplog
):
    def clip(*given, plain=train.clip_gradients):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))  # torch knows none for it
        return plain(*given)

    devices._warn_once.cache_clear()
    (expected, *_), _ = trained_and_asked(factory.family_base(FAST_FAMILIES[1]))
    found = None
    monkeypatch.setattr(train, "clip_gradients", clip)
    with a_card():
        for _ in range(2):
            (found, *_), _ = trained_and_asked(on_card(factory.family_base(FAST_FAMILIES[1])))
    for key, tensor in found.tensors.items():
        torch.testing.assert_close(tensor, expected.tensors[key], atol=1e-3, rtol=1e-3)
    (told,) = caplog.messages
    assert told.startswith("numbers will differ a little from run to run: put_ does not have")
    assert order() == (False, False, True)


def test_memory_that_torch_keeps_unused_is_free(monkeypatch):
    """Else each fleet would be smaller than the one before it."""
    known = {"mem_get_info": (10, 80), "memory_reserved": 50, "memory_allocated": 20}
    for name, value in known.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, value=value: value)
    assert free_memory_on(torch.device("cuda", 0)) == 10 + 50 - 20
