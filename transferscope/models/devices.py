"""What a GPU asks of those who use it: not to be waited for, and not to be taken for full.

A copy to or from a GPU waits until all that the GPU was told before is done, unless it is from or
to memory that cannot be swapped out, and said not to wait.
"""

from collections.abc import Callable

import torch
from torch import Tensor


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
