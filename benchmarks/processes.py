"""A study in one process with a thread per core, and in a process of one thread per core.

    python benchmarks/processes.py                  # with nothing else running: a minute a round
    python benchmarks/processes.py --base glimpse-s --rounds 1

Both in turn, from a cold start; seconds begin when a base is loaded, for a study of hours loads it
once. Prints medians, their ratio, and whether adapters and tables are the same to the byte.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from transferscope.execution import local
from transferscope.execution.runner import run_study
from transferscope.study.file import parse_study

STUDY = """\
name: processes
models: {base: BASE}
suite: glimpse
sources: [Counting, Jigsaw, Relative_Reflectance, Visual_Similarity]
seeds: 1
recipe: {items: 96, epochs: 1}
evaluation: {items: 50}
"""


def seconds(base: str, workers: int, folder: Path) -> float:
    """Seconds from the first loaded base to the last table."""
    begun: list[float] = []

    def on_event(event: object) -> None:
        if "preparing" in str(event) and not begun:
            begun.append(time.perf_counter())

    study = parse_study(STUDY.replace("BASE", base), "study.yaml")
    run_study(study, folder, on_event=on_event, executor=partial(local.carry_out, workers=workers))
    return time.perf_counter() - begun[0]


def files(folder: Path) -> dict[str, bytes]:
    """Adapters and tables by name."""
    found = [*folder.rglob("*.safetensors"), *folder.rglob("*.parquet")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="glimpse-m")
    parser.add_argument("--rounds", type=int, default=3)
    given, cores = parser.parse_args(), len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    spent: dict[int, list[float]] = {1: [], cores: []}
    with TemporaryDirectory() as place:
        for turn in range(given.rounds):
            for workers, own in spent.items():
                own.append(seconds(given.base, workers, Path(place, f"{turn}-{workers}")))
        same = files(Path(place, "0-1")) == files(Path(place, f"0-{cores}"))
    print(f"load average {os.getloadavg()[0]:.1f}; the same bytes: {same}")
    for workers, own in spent.items():
        name = f"{workers} processes of a thread" if workers > 1 else f"1 process, {cores} threads"
        print(f"{name:<30}{median(own):>8.1f} s ({min(own):.1f} to {max(own):.1f})")
    print(f"{'ratio':<30}{median(spent[1]) / median(spent[cores]):>8.2f}")


if __name__ == "__main__":
    main()
