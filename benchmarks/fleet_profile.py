"""What training and scoring an embedded base are bound by on a CPU.

    python benchmarks/fleet_profile.py

Shares of the time by class of operation, and the matrix products' operations a second of the whole
time beside those of a large product alone: one thread, in processor seconds.
"""

import time
from collections import Counter
from collections.abc import Callable

import torch
from fleet import embedded, matmul_ceiling, ours_encode, ours_score, ours_train
from torch.profiler import ProfilerActivity, profile

CLASSES = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "attention": ("_scaled_dot_product", "_softmax"),
    "norms": ("_fused_rms_norm", "rms_norm", "rsqrt", "mean", "pow"),
    "moving numbers": ("copy_", "cat", "index", "index_copy", "gather", "clone", "fill_", "zero_"),
}
"""Names of operations (or how they begin, from 5 letters on); what is in none is elementwise."""


def class_of(name: str) -> str:
    """The class of an operation, named as the profiler does."""
    short = name.removeprefix("aten::").removesuffix("_backward")
    for kind, names in CLASSES.items():
        if any(short == one or (len(one) > 4 and short.startswith(one)) for one in names):
            return kind
    return "elementwise and other" if name.startswith("aten::") else "autograd and Python"


def profiled(run: Callable[[], object]) -> tuple[Counter[str], float, float]:
    """Seconds by class, their sum, and the floating-point operations that torch counts."""
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        run()
    shares: Counter[str] = Counter()
    for event in seen.key_averages():
        shares[class_of(event.key)] += event.self_cpu_time_total / 1e6
    return shares, sum(shares.values()), sum(its.flops or 0 for its in seen.key_averages())


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    setup = embedded("glimpse-s", tiny=False)
    jobs = setup.jobs[:2]
    _, _, adapters = ours_train(setup, jobs)
    everything = [*setup.questions, *(item for job in setup.jobs for item in job.items)]
    ours_score(setup, adapters, setup.questions)
    runs = {
        "train": lambda: ours_train(setup, jobs),
        "score": lambda: ours_score(setup, adapters * 2, setup.questions),
        "encode": lambda: ours_encode(setup, everything),
    }
    most = matmul_ceiling(setup.base.device, torch.float32, 1024, time.process_time)
    print(f"a large matrix product: {most / 1e9:.0f} GFLOP/s")
    for name, run in runs.items():
        begun = time.process_time()
        run()
        spent = time.process_time() - begun
        shares, whole, flops = profiled(run)
        print(f"{name}: {spent:.2f} s, {flops / spent / 1e9:.0f} GFLOP/s in products")
        for kind, seconds in shares.most_common():
            print(f"  {kind:<24}{seconds / whole:>6.0%}")


if __name__ == "__main__":
    main()
