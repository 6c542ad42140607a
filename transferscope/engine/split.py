"""A base whose decoder layers lie on several devices, equal parts one after another.

The vision tower and the embedding are on the first device, the last norm and the head on the last;
a head that is tied to the embedding is where that is. Each layer brings what it is given to where
it lies, so that nobody else need know. One device works while the others wait: this is for bases
that one does not hold, not for speed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transferscope.errors import DataError


def spread(model: Any, devices: Sequence[torch.device]) -> None:
    """Put a model's parts where they are to lie, without ever holding all of it on one device.

    Raises:
        DataError: its decoder has fewer layers than there are devices, or is built otherwise.
    """
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    layers, norm = getattr(decoder, "layers", ()), getattr(decoder, "norm", None)
    if len(layers) < len(devices) or norm is None:
        raise DataError(f"{type(model).__name__}: cannot be divided among {len(devices)} devices")
    tied = head.weight is model.get_input_embeddings().weight
    parts = [devices[index * len(devices) // len(layers)] for index in range(len(layers))]
    ends = [(norm, devices[-1]), (head, devices[0] if tied else devices[-1])]
    places = {
        inner: device
        for part, device in [*zip(layers, parts, strict=True), *ends]
        for inner in part.modules()
    }
    for module in model.modules():
        device = places.get(module, devices[0])
        module._apply(lambda tensor, device=device: tensor.to(device), recurse=False)
    for part in (*layers, head):
        part.register_forward_pre_hook(_follow, with_kwargs=True)


def layers_by_device(model: Any) -> Counter[torch.device]:
    """How many decoder layers lie on each device, the first one first."""
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None) or [decoder]
    return Counter(next(layer.parameters()).device for layer in layers)


def _follow(module: nn.Module, given: Any, named: Any) -> tuple[Any, Any]:
    """A module's inputs, where its weights lie."""
    device = next(module.parameters()).device
    return _moved(given, device), _moved(named, device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(_moved(its, device) for its in value)
    if type(value) is dict:
        return {key: _moved(its, device) for key, its in value.items()}
    return value
