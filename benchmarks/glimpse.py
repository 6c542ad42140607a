"""How fast glimpse draws its items: each task in one process, and in as many as there are cores.

python benchmarks/glimpse.py
"""

import os
import time
from multiprocessing import Pool
from statistics import median

from transferscope.suites.glimpse import Glimpse
from transferscope.suites.glimpse.generators import GENERATORS

ITEMS = 200


def seconds(task: str) -> float:
    """Time of one item, drawn alone in this process."""
    items = Glimpse().items(task, "train")
    items[0]
    start = time.perf_counter()
    items[1 : ITEMS + 1]
    return (time.perf_counter() - start) / ITEMS


def main() -> None:
    """Print items a second."""
    cores = os.cpu_count() or 1
    alone = {task: seconds(task) for task in GENERATORS}
    together = {}
    with Pool(cores) as pool:
        for task in GENERATORS:
            together[task] = median(pool.map(seconds, [task] * cores, chunksize=1)) / cores
    print(f"{'task':<28}{'1 process':>12}{f'{cores} processes':>14}   items/s")
    for task in GENERATORS:
        print(f"{task:<28}{1 / alone[task]:>12.0f}{1 / together[task]:>14.0f}")
    print(
        f"{'median':<28}{1 / median(alone.values()):>12.0f}{1 / median(together.values()):>14.0f}"
    )


if __name__ == "__main__":
    main()
