"""Layers compiled one by one, for GPUs: the same sums in fewer kernels.

Layers of one shape share the compiled code. If a layer cannot be compiled, the model runs
uncompiled, and one warning is logged.
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
from torch._dynamo.exc import TorchDynamoException as CompileError

__all__ = ["CompileError", "compile_layers", "eagerly", "give_up"]


MAX_VARIANTS = 32
"""Most compiled variants of a layer: with and without adapters and gradients, one or several rows
or adapters, fixed and symbolic sizes. Torch's limit of 8 is too low."""


@dataclass
class _Switch:
    """Whether the layers of one call of `compile_layers` run compiled."""

    on: bool = True


class _Compiled:
    """A layer's forward, compiled on its first call."""

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
        except CompileError as error:
            _warn(error)
            self.switch.on = False
            return self.plain(*args, **options)


def compile_layers(layers: Iterable[nn.Module], backend: Any = "inductor") -> None:
    """Compile each layer on its first call; a second request changes nothing.

    Args:
        backend: as `torch.compile` takes it.
    """
    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = max(MAX_VARIANTS, dynamo.recompile_limit)
    switch = _Switch()
    for layer in layers:
        if not isinstance(layer.forward, _Compiled):
            layer.forward = _Compiled(layer, switch, backend)


def give_up(model: nn.Module, error: CompileError) -> bool:
    """Run a model's layers uncompiled from now on; returns whether any ran compiled before."""
    switches = [switch for switch in _switches(model) if switch.on]
    for switch in switches:
        switch.on = False
    if switches:
        _warn(error)
    return bool(switches)


@contextmanager
def eagerly(model: nn.Module) -> Generator[None]:
    """Within this context, a model's layers run uncompiled."""
    switches = [switch for switch in _switches(model) if switch.on]
    try:
        for switch in switches:
            switch.on = False
        yield
    finally:
        for switch in switches:
            switch.on = True


def _switches(model: nn.Module) -> list[_Switch]:
    found = {
        id(module.forward.switch): module.forward.switch
        for module in model.modules()
        if isinstance(module.forward, _Compiled)
    }
    return list(found.values())


def _warn(error: CompileError) -> None:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    logging.getLogger(__name__).warning("layers run uncompiled, which is slower: %s", line)
