"""Layers compiled one by one, for GPUs: the same sums in fewer kernels.

Layers of one shape share what is compiled. A model whose layers cannot be compiled runs as it is,
and a note in the log says so once.
"""

import inspect
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException as CompileError

__all__ = ["CompileError", "compile_layers", "eagerly", "give_up"]


FORMS = 32
"""Most forms of a layer that are compiled: with and without adapters and gradients, one row or
adapter or several, sizes as they come and as symbols. Torch's own limit of 8 is too few."""


@dataclass
class _Switch:
    """Whether the layers of one call of `compile_layers` run compiled."""

    on: bool = True


class _Compiled:
    """A layer's forward, compiled on its first call."""

    def __init__(self, layer: nn.Module, switch: _Switch, backend: Any) -> None:
        self.plain, self.switch = layer.forward, switch
        # Without transformers' wrapper, one function for layers of all kinds: what is compiled is
        # kept by function, and dimensions that differ between calls of one become symbols.
        own = vars(layer).get("forward")
        bare = own or MethodType(inspect.unwrap(type(layer).forward), layer)
        self._fast = torch.compile(bare, backend=backend)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not self.switch.on:
            return self.plain(*args, **options)
        try:
            return self._fast(*args, **options)
        except CompileError as error:
            _note(error)
            self.switch.on = False
            return self.plain(*args, **options)


def compile_layers(layers: Iterable[nn.Module], backend: Any = "inductor") -> None:
    """Have each layer compiled when it is first called; done once a layer.

    Args:
        backend: as `torch.compile` takes it.
    """
    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = max(FORMS, dynamo.recompile_limit)
    switch = _Switch()
    for layer in layers:
        if not isinstance(layer.forward, _Compiled):
            layer.forward = _Compiled(layer, switch, backend)


def give_up(model: nn.Module, error: CompileError) -> bool:
    """Run a model's layers as they are from now on; whether some were compiled until now."""
    switches = [its for its in _switches(model) if its.on]
    for switch in switches:
        switch.on = False
    if switches:
        _note(error)
    return bool(switches)


@contextmanager
def eagerly(model: nn.Module) -> Iterator[None]:
    """While this is open, a model's layers run as they are."""
    switches = [its for its in _switches(model) if its.on]
    try:
        for switch in switches:
            switch.on = False
        yield
    finally:
        for switch in switches:
            switch.on = True


def _switches(model: nn.Module) -> list[_Switch]:
    found = {
        id(its.forward.switch): its.forward.switch
        for its in model.modules()
        if isinstance(its.forward, _Compiled)
    }
    return list(found.values())


def _note(error: CompileError) -> None:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    logging.getLogger(__name__).warning("layers run uncompiled, which is slower: %s", line)
