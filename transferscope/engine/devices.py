"""Devices: asynchronous copies, free memory, deterministic sums, layers on several GPUs.

A copy to or from a GPU blocks until the GPU has finished its queue, unless the memory is pinned and
the copy is `non_blocking`. A GPU may add up in a new order each time, above all in attention's
gradients; torch has a deterministic algorithm for everything that training and scoring use here.
"""

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from transferscope.errors import DataError

try:
    import resource
except ImportError:  # Windows
    resource = None

P = ParamSpec("P")
T = TypeVar("T")


def deterministic(work: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Run a function, whose first argument is a base, with deterministic sums on a GPU.

    If the base has an operation without a deterministic algorithm, that is logged and the work is
    done again without.
    """

    @wraps(work)
    def wrapped(base: Any, *args: P.args, **named: P.kwargs) -> T:
        if base.device.type != "cuda":
            return work(base, *args, **named)
        fix_matmul_order()
        filling: Any = torch.utils.deterministic
        filled = filling.fill_uninitialized_memory
        before = torch.are_deterministic_algorithms_enabled()
        warned = torch.is_deterministic_algorithms_warn_only_enabled()
        try:
            filling.fill_uninitialized_memory = False  # nothing here reads uninitialized memory
            # Not with `warn_only`, which would leave attention's gradients in any order.
            torch.use_deterministic_algorithms(True)
            return work(base, *args, **named)
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            _warn_once(str(error).splitlines()[0])
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            filling.fill_uninitialized_memory = filled
        return work(base, *args, **named)

    return wrapped


def fix_matmul_order() -> None:
    """Make matrix products add up in a fixed order; call before the first one of the process.

    On a GPU from run to run; on a CPU with MKL for any number of threads, so that a worker with
    fewer threads gets the same numbers. Nothing else in training and scoring depends on that
    number. Products of a matrix and a vector would, and sums over a whole large tensor, and
    gradients of weights of norms and convolutions.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@cache
def _warn_once(line: str) -> None:
    logging.getLogger(__name__).warning("numbers will differ a little from run to run: %s", line)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; a copy from the CPU to a GPU does not block."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_cpu(tensor: Tensor) -> Callable[[], Tensor]:
    """Start a copy to the CPU; calling the result waits for this copy only."""
    if tensor.device.type != "cuda":
        return lambda: tensor.cpu()
    copy = tensor.to("cpu", non_blocking=True)
    done = torch.cuda.current_stream(tensor.device).record_event()

    def arrived() -> Tensor:
        done.synchronize()
        return copy

    return arrived


def free_memory_on(device: torch.device) -> int:
    """Bytes that tensors can still take on a GPU, including memory that torch holds unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def peak_memory_from_here(model: Any) -> Callable[[], int | None]:
    """A function that returns the most bytes taken: on GPUs from now on, else by the process.

    None where the system does not know (Windows).
    """
    gpus = [device for device in layers_by_device(model) if device.type == "cuda"]
    for device in gpus:
        torch.cuda.reset_peak_memory_stats(device)

    def peak() -> int | None:
        if gpus:
            return sum(torch.cuda.max_memory_allocated(device) for device in gpus)
        if resource is None:
            return None
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most << 10

    return peak


def spread_layers(model: Any, devices: Sequence[torch.device]) -> None:
    """Put equal parts of a model's decoder layers on several devices, one part after another.

    The vision tower and the embedding are on the first device, the last norm and the head on the
    last; a head tied to the embedding is on the first. One device works at a time: this is for
    bases that do not fit on one GPU, not for speed. No device ever holds the whole model.

    Raises:
        DataError: the decoder has fewer layers than there are devices, or no `layers` and `norm`.
    """
    from accelerate.utils import send_to_device

    decoder, head = model.get_decoder(), model.get_output_embeddings()
    layers, norm = getattr(decoder, "layers", ()), getattr(decoder, "norm", None)
    if len(layers) < len(devices) or norm is None:
        raise DataError(f"{type(model).__name__}: cannot be divided among {len(devices)} devices")
    tied = head.weight is model.get_input_embeddings().weight
    parts = [devices[index * len(devices) // len(layers)] for index in range(len(layers))]
    ends = [(norm, devices[-1]), (head, devices[0] if tied else devices[-1])]
    places = {
        module: device
        for part, device in [*zip(layers, parts, strict=True), *ends]
        for module in part.modules()
    }
    for module in model.modules():
        device = places.get(module, devices[0])
        module._apply(lambda tensor, device=device: tensor.to(device), recurse=False)

    def move_inputs(module: Any, args: Any, named: Any) -> Any:
        return send_to_device((args, named), next(module.parameters()).device)

    for part in (*layers, head):
        part.register_forward_pre_hook(move_inputs, with_kwargs=True)


def layers_by_device(model: Any) -> Counter[torch.device]:
    """Number of decoder layers on each device, the first device first."""
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None) or [decoder]
    return Counter(next(layer.parameters()).device for layer in layers)
