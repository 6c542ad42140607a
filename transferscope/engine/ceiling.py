"""How fast a device multiplies matrices: the ceiling that measured work is held against.

Measured once for each device and type in a process, in a second at most.
"""

import time
from functools import cache

import torch

from transferscope.engine.devices import fix_matmul_order

SIZES = (256, 512, 1024, 2048, 4096, 8192)
LONG = 0.02
"""Seconds of a product that is long enough to be timed."""
BUDGET = 0.4
"""Seconds of timing."""
QUEUE = 8
"""Products that a GPU is given at once, so that it waits for nobody between them."""


@cache
def matmul_ceiling(device: str, dtype: torch.dtype) -> float:
    """FLOPs a second of a product of two square matrices, the best of several.

    The matrices grow until a product takes 20 ms or there is no larger size, so that the ceiling is
    the device's and not a launch's.
    """
    fix_matmul_order()
    size, best = SIZES[0], 0.0
    a = b = torch.empty(0)
    for size in SIZES:
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        _timed(a, b)  # the first call sets things up
        best = min(_timed(a, b) for _ in range(3))  # another process may have been in between
        if best >= LONG:
            break
    until = time.perf_counter() + BUDGET
    while time.perf_counter() < until:
        best = min(best, _timed(a, b))
    return 2 * size**3 / best


def _timed(a: torch.Tensor, b: torch.Tensor) -> float:
    """Seconds of a product."""
    gpu = a.device.type == "cuda"
    count = QUEUE if gpu else 1
    begun = time.perf_counter()
    for _ in range(count):
        torch.mm(a, b)
    if gpu:
        torch.cuda.synchronize(a.device)
    return (time.perf_counter() - begun) / count
