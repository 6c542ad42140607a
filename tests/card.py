"""A GPU for tests: tensors that say they lie on `cuda:0` and hold their values on the CPU.

What a GPU refuses is refused (an operation on tensors of both devices), and each place where the
CPU would wait for the GPU is counted: values that are brought over, sizes that depend on values,
copies from memory that was not pinned.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

CARD, CPU = torch.device("cuda", 0), torch.device("cpu")

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2")
"""Operations that answer with a value, or with as much as values say."""

INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")


class OnCard(Tensor):
    """A tensor on the card."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnCard":
        its = Tensor._make_wrapper_subclass(  # a CPU build has nothing for `cuda`, but for `meta`
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype,
            device="meta",
        )  # fmt: skip
        its.inner = inner
        return its

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return CARD

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.tensor(data, dtype=self.dtype, device=CARD)

    def __repr__(self, **_: Any) -> str:
        return f"OnCard{tuple(self.shape)}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, Counter())


class _Card(TorchDispatchMode):
    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, self.waits)


@contextmanager
def a_card() -> Generator[Counter[str]]:
    """While this is open, torch knows a GPU; answers with how often it was waited for, by cause."""
    waits, plain = Counter(), torch.tensor

    def tensor(data: Any, *, device: Any = None, **how: Any) -> Tensor:
        if not _there(device):
            return plain(data, **how, **({} if device is None else {"device": device}))
        waits["to the card"] += 1
        return OnCard(plain(tree_map_only(OnCard, lambda its: its.inner, data), **how))

    known = {"mem_get_info": (60 << 30, 80 << 30), "memory_reserved": 0, "memory_allocated": 0}
    with ExitStack() as stack:
        for name, value in known.items():
            stack.enter_context(mock.patch(f"torch.cuda.{name}", lambda *_, value=value: value))
        stack.enter_context(mock.patch("torch.cuda._lazy_init"))
        stack.enter_context(mock.patch("torch.cuda.current_stream"))
        stack.enter_context(mock.patch("torch.tensor", tensor))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", lambda its: its))
        stack.enter_context(_Card(waits))
        yield waits


def put_on_card(model: torch.nn.Module) -> None:
    """Put a model's weights onto the card, those that are shared once."""
    moved: dict[Any, Any] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight not in moved:
                moved[weight] = torch.nn.Parameter(OnCard(weight.data), requires_grad=False)
            module._parameters[name] = moved.get(weight)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else OnCard(buffer)


def _run(func: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str]) -> Any:
    name = func.overloadpacket.__name__
    tensors = [its for its in tree_flatten((args, kwargs))[0] if isinstance(its, Tensor)]
    on_card = any(isinstance(its, OnCard) for its in tensors)
    if not on_card and not _there(kwargs.get("device")):
        return func(*args, **kwargs)
    if name == "_to_copy":
        return _copied(func, args[0], kwargs, waits)
    if name == "copy_":
        return _copied_into(*args, waits=waits, **kwargs)
    if name == "_fused_sdp_choice":
        return 0  # by products and softmax
    if on_card:
        _check(func, name, args, tensors, waits)
    flat, spec = tree_flatten((args, {its: kwargs[its] for its in kwargs if its != "pin_memory"}))
    flat = [CPU if isinstance(its, torch.device) else _inner(its) for its in flat]
    changed = {id(_inner(its)): its for its in tensors}
    plain_args, plain_kwargs = tree_unflatten(flat, spec)
    made = func(*plain_args, **plain_kwargs)
    return tree_map_only(
        Tensor, lambda its: changed[id(its)] if id(its) in changed else OnCard(its), made
    )


def _check(func: Any, name: str, args: Any, tensors: list[Tensor], waits: Counter[str]) -> None:
    """Refuse tensors of two devices, and count what is waited for."""
    strangers = [its for its in tensors if not isinstance(its, OnCard) and its.dim()]
    if name == "index" and isinstance(args[0], OnCard):
        waits["to the card"] += len(strangers)  # torch brings an index over
    elif strangers:
        raise RuntimeError(f"{func}: on the card and on the CPU, of {strangers[0].shape}")
    by_mask = name in INDEXING and any(
        its is not None and its.dtype in (torch.bool, torch.uint8) for its in args[1]
    )
    waits[name] += name in WAITS or by_mask


def _copied(func: Any, what: Tensor, kwargs: dict[str, Any], waits: Counter[str]) -> Tensor:
    here, there = isinstance(what, OnCard), _there(kwargs.get("device") or what.device)
    if here != there and not kwargs.get("non_blocking"):
        waits["to the card" if there else "to the CPU"] += 1
    made = func(_inner(what), **{**kwargs, "device": CPU})
    return OnCard(made) if there else made


def _copied_into(
    into: Tensor, what: Tensor, non_blocking: bool = False, *, waits: Counter[str]
) -> Tensor:
    here, there = isinstance(what, OnCard), isinstance(into, OnCard)
    if here != there and not non_blocking:
        waits["to the card" if there else "to the CPU"] += 1
    _inner(into).copy_(_inner(what))
    return into


def _there(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _inner(its: Any) -> Any:
    return its.inner if isinstance(its, OnCard) else its
