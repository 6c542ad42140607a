"""Where a product is the same for any number of threads."""

from pathlib import Path

import torch


def by_intel() -> bool:
    """Whether products are those of Intel's library, on a processor of theirs."""
    about = Path("/proc/cpuinfo")
    return torch.backends.mkl.is_available() and about.exists() and "Intel" in about.read_text()
