"""What a device asks of those who use it: not to be waited for, not to be taken for full, and to be
told where the order of sums matters.

A copy to or from a GPU waits until all that the GPU was told before is done, unless it is from or
to memory that cannot be swapped out, and said not to wait.

A GPU may add up in any order, another one each time: attention's gradients above all. Then two runs
of one study differ. Torch knows a fixed order for all that training and scoring here consist of.
A CPU adds up in an order of its threads' number, unless told otherwise: then a worker with fewer
threads finds other numbers.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def in_order(work: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Have a GPU add up in a fixed order in some work, whose first argument is a base.

    Where a base has an operation for which torch knows no fixed order, that is logged, and the
    work is done again in any.
    """

    @wraps(work)
    def done(base: Any, *given: P.args, **named: P.kwargs) -> T:
        if base.device.type != "cuda":
            return work(base, *given, **named)
        try:
            with _fixed_order():
                return work(base, *given, **named)
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            _note(str(error).splitlines()[0])
        return work(base, *given, **named)

    return done


def fix_products() -> None:
    """Have products add up in the same order each time; before the first one of the process.

    On a GPU, each on its own; on a CPU with Intel's library, for any number of threads. Of what
    training and scoring here consist of, nothing else hangs on that number. Products of a matrix
    and a vector would, sums over the whole of a large tensor, and gradients of the weights of
    normalisations and convolutions.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@contextmanager
def _fixed_order() -> Iterator[None]:
    """While this is open, what has no fixed order raises a RuntimeError.

    A warning alone, as torch offers too, would leave attention's gradients in any order.
    """
    fix_products()
    filling: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = filling.fill_uninitialized_memory
    try:
        filling.fill_uninitialized_memory = False  # nothing here reads what it did not write
        torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        filling.fill_uninitialized_memory = filled


@cache
def _note(line: str) -> None:
    logging.getLogger(__name__).warning("numbers will differ a little from run to run: %s", line)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; from the CPU to a GPU nobody waits for it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetched(tensor: Tensor) -> Callable[[], Tensor]:
    """A tensor on its way to the CPU; who calls the answer waits for it, and for nothing later."""
    if tensor.device.type != "cuda":
        return lambda: tensor.cpu()
    here = tensor.to("cpu", non_blocking=True)
    done = torch.cuda.current_stream(tensor.device).record_event()

    def arrived() -> Tensor:
        done.synchronize()
        return here

    return arrived


def free_on(device: torch.device) -> int:
    """Bytes that tensors can still take on a GPU, those that torch keeps for them included."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
