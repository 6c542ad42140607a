"""Layers compiled one by one, for GPUs: the same sums in fewer kernels.

If a layer cannot be compiled, or has too many variants, the model runs uncompiled, and one warning
is logged.
"""

import inspect
import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn

MAX_VARIANTS = 32
"""Most compiled variants of a layer: with and without adapters and gradients, one or several rows
or adapters, fixed and symbolic sizes. Torch's limit of 8 is too low."""


def compile_errors() -> tuple[type[Exception], ...]:
    """What torch's compiler raises; importing it takes a second, which only a GPU's layers need."""
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return TorchDynamoException, FailOnRecompileLimitHit


@dataclass(eq=False)
class _Switch:
    """Whether the layers of one call of `compile_layers` run compiled."""

    on: bool = True


class _Compiled:
    def __init__(self, layer: nn.Module, switch: _Switch, backend: Any) -> None:
        self.plain, self.switch = layer.forward, switch
        # Without transformers' wrapper, which is one function for layers of all kinds: compiled
        # code is kept by function, and sizes that differ between its calls become symbols.
        own = vars(layer).get("forward")
        bare = own or MethodType(inspect.unwrap(type(layer).forward), layer)
        self._fast = torch.compile(bare, backend=backend)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not self.switch.on:
            return self.plain(*args, **options)
        try:
            return self._fast(*args, **options)
        except compile_errors() as error:
            _warn(error)
            self.switch.on = False
            return self.plain(*args, **options)


def compile_layers(layers: Iterable[nn.Module], backend: Any = "inductor") -> None:
    """Compile each layer on its first call; a second request changes nothing."""
    dynamo: Any = torch._dynamo.config  # pyright: ignore[reportPrivateUsage]
    dynamo.recompile_limit = max(MAX_VARIANTS, dynamo.recompile_limit)
    dynamo.fail_on_recompile_limit_hit = True  # else further variants run uncompiled in silence
    switch = _Switch()
    for layer in layers:
        if not isinstance(layer.forward, _Compiled):
            layer.forward = _Compiled(layer, switch, backend)


def give_up(model: nn.Module, error: Exception) -> bool:
    """Run a model's layers uncompiled from now on; returns whether any ran compiled before."""
    switches = _switched_off(model)
    if switches:
        _warn(error)
    return bool(switches)


@contextmanager
def eagerly(model: nn.Module) -> Generator[None]:
    """Within this context, a model's layers run uncompiled."""
    switches = _switched_off(model)
    try:
        yield
    finally:
        for switch in switches:
            switch.on = True


def _switched_off(model: nn.Module) -> set[_Switch]:
    """Switch off a model's compiled layers; returns the switches that were on."""
    forwards = (module.forward for module in model.modules())
    on = {one.switch for one in forwards if isinstance(one, _Compiled) and one.switch.on}
    for switch in on:
        switch.on = False
    return on


def _warn(error: BaseException) -> None:
    error = error.__cause__ or error  # the compiler's reason
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    logging.getLogger(__name__).warning("layers run uncompiled, which is slower: %s", line)
