"""A worker of a cluster: a bench in a process of its own, somewhere.

In:   what runs lack, by value, and the files of adapters that are trained already.
Out:  files of adapters, tables of answers, and on the way what is being done.

Knows no results folder but for vision features, and only where it sees it.
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from transferscope import store as results
from transferscope.engine import Lab
from transferscope.engine.bases import check_brought
from transferscope.execution.run_state import Todo
from transferscope.execution.shard import Bench, Scored
from transferscope.store.cells import versions
from transferscope.study.plan import Plan, Run

Files = dict[str, bytes]
"""An adapter's files by name."""


class Place(NamedTuple):
    """Where a worker is."""

    node: str
    versions: dict[str, str]


class Trained(NamedTuple):
    """A fleet after training; `bench.Trained` with the adapters left where they are."""

    records: list[dict[str, Any]]
    took: dict[str, Any]
    curves: list[Any]


class Worker:
    """A bench that keeps its base, and the adapters of the shard at hand.

    Args:
        load: the lab, which is imported here.
        folder: the results folder.
        threads: of the CPU, for torch.
    """

    def __init__(self, plan: Plan, load: Callable[[], Lab], folder: Path, threads: int) -> None:
        self._study, self._plan, self._load, self._threads = plan.study, plan, load, threads
        self._features = folder if folder.is_dir() else results.cache_folder()
        self._bench: Bench | None = None
        self._fresh: dict[Run, Any] = {}
        self._doing = ("", 0.0)

    def hello(self) -> Place:
        """Where this is; a first sign of life."""
        return Place(socket.gethostname(), versions())

    def look(self) -> tuple[str, float]:
        """What is being done, and how much of it is done; asked while something else goes on."""
        return self._doing

    def check(self) -> None:
        """Refuse what is wrong among that which the study brings from elsewhere."""
        check_brought(self._study, self._at_work().lab, self._features)

    def open(self, model: str) -> str:
        """Have a base at hand; answers with the hash of its weights."""
        self._say(f"{model}: loading")
        return self._at_work().open(model)

    def train(self, todo: Sequence[Todo], rows: int | None) -> Trained:
        """Train adapters and keep them; `files` hands them over, `score` uses them."""
        self._fresh = {}
        trained = self._at_work().train(todo, self._say, rows)
        self._fresh = dict(zip([one.run for one in todo], trained.adapters, strict=True))
        self._say("")
        return Trained(trained.records, trained.took, trained.curves)

    def files(self, run: Run) -> Files:
        """The files of an adapter that was just trained."""
        with TemporaryDirectory() as place:
            folder = Path(place, "adapter")
            self._at_work().lab.save_adapter(self._fresh[run], folder)
            return {path.name: path.read_bytes() for path in folder.iterdir()}

    def score(self, todo: Sequence[Todo], handed: Mapping[Run, Files], rows: int | None) -> Scored:
        """The answers that runs lack.

        Args:
            handed: the adapters that were not trained here.
        """
        bench, fresh = self._at_work(), self._fresh
        self._fresh = {}
        with TemporaryDirectory() as place:
            adapters = []
            for number, one in enumerate(todo):
                folder = Path(place, str(number))
                folder.mkdir()
                for name, data in handed.get(one.run, {}).items():
                    (folder / name).write_bytes(data)
                adapters.append(fresh[one.run] if one.run in fresh else bench.read(one.run, folder))
        return bench.score(todo, adapters, self._say, rows)

    def _at_work(self) -> Bench:
        """The bench, in the thread that works now, which has its own number of threads."""
        os.environ["OMP_NUM_THREADS"] = str(self._threads)  # before torch is imported
        if "OMP_WAIT_POLICY" not in os.environ:  # as in `cli.main`
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        if self._bench is None:
            self._bench = Bench(self._plan, self._load(), self._features)
        return self._bench

    def _say(self, doing: str, part: float = 0.0) -> None:
        self._doing = (doing, part)
