"""A Ray to work on: the one there is, or one of this machine; and what its workers ask of it.

In:   a study, and how many workers are wanted.
Out:  workers that start where there is room for them.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray._private import worker as ray_worker

from transferscope.engine import Lab
from transferscope.errors import DataError, StudyError
from transferscope.execution.guard import guarded
from transferscope.execution.run_state import Ledger
from transferscope.execution.worker import Worker
from transferscope.study import Study
from transferscope.study.cost import weights_bytes
from transferscope.study.shapes import read_shapes

GIB = 1 << 30

OBJECTS = 1 << 30
"""Bytes of the object store of a Ray that is started here: one adapter at a time passes it."""

PROCESS = 400 << 20
"""Bytes of a worker without a base."""


class Ask(NamedTuple):
    """What a worker asks of the machine it is started on."""

    gpus: float
    memory: int
    """Bytes."""

    def __str__(self) -> str:
        return f"{self.memory / GIB:.1f} GiB" + (f" and {self.gpus:g} GPU" if self.gpus else "")


@contextmanager
def connected(workers: int | None) -> Iterator[bool]:
    """With a Ray to work on; whether it was started here, for this alone.

    Raises:
        StudyError: none can be reached or started.
    """
    if ray.is_initialized():
        yield False
        return
    # Ray prints its remarks on lost workers where `--json` prints, and has no switch for that.
    ray_worker.print_to_stdstream = lambda *_, **__: None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _refuse_silence(address)
            _use_token()
            ray.init(address, **quiet)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            cpus = max(_cores(), workers or 1)
            room = {"num_cpus": cpus, "object_store_memory": OBJECTS, "include_dashboard": False}
            ray.init("local", **room, **quiet)
    except Exception as error:  # Ray raises whatever it likes
        ray.shutdown()
        raise StudyError(f"--executor ray: {one_line(error)}") from None
    guard = None if address else guarded()
    try:
        yield not address
    finally:
        ray.shutdown()
        if guard and guard.stdin:
            guard.stdin.close()
            guard.wait()


def asks(study: Study) -> dict[str, Ask]:
    """What a worker asks for each model: a share of a GPU if there is any, room for the weights."""
    from transferscope.engine.glimpse.base import folder as embedded

    found = {}
    for name, model in study.models.items():
        where, weights = Path(model.where), 0
        with suppress(DataError, StudyError):  # it is on the hub, or of a family without shapes
            shapes = read_shapes(where if where.is_dir() else embedded(model.where))
            weights = weights_bytes(shapes, study.recipe_of(name).precision, model.quantization)
        found[name] = Ask(model.gpus if total("GPU") else 0.0, PROCESS + weights)
    return found


def places(asked: dict[str, Ask]) -> int:
    """Workers for which there are GPUs; 1 where there are none."""
    each = max(ask.gpus for ask in asked.values())
    return max(1, int(total("GPU") / each)) if each else 1


def refuse_what_does_not_fit(asked: dict[str, Ask]) -> None:
    """Refuse a base that is too large for a machine to which none will be added.

    Raises:
        StudyError: naming it.
    """
    room = Ask(total("GPU"), int(total("memory")))
    for model, ask in asked.items():
        if ask.memory > room.memory or ask.gpus > room.gpus:
            raise StudyError(f"{model}: a worker needs {ask}, and Ray has {room} here")


def start(ask: Ask, workers: int, ledger: Ledger, load: Callable[[], Lab]) -> Any:
    """A worker, which starts as soon as there is room for it.

    Args:
        workers: how many share the cluster's CPUs.
    """
    cpus = 1 if ask.gpus else _cpus_each(workers)
    threads = max(1, int(total("CPU") * ask.gpus / total("GPU"))) if ask.gpus else cpus
    remote: Any = ray.remote  # whose types know no concurrency groups
    asked = {"num_cpus": cpus, "num_gpus": ask.gpus, "memory": ask.memory}
    made = remote(**asked, concurrency_groups={"ear": 1})(Worker)
    folder = ledger.store.folder.resolve()
    return made.remote(ledger.plan, load, folder, threads)


def _refuse_silence(address: str) -> None:
    """Refuse an address where nobody listens, which Ray would call for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise ConnectionError(f"RAY_ADDRESS {address}: {error}") from None


def _use_token() -> None:
    """Use this user's token where there is one, as `ray start --head` does without being asked."""
    from ray._private.authentication import authentication_token_setup as setup

    logging.getLogger(setup.__name__).setLevel(logging.ERROR)
    setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def total(what: str) -> float:
    """Of a resource, in all of the cluster."""
    return float(ray.cluster_resources().get(what, 0))


def one_line(error: BaseException) -> str:
    """The line of one of Ray's long messages that says what happened."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[-1 if "ray::" in lines[0] else 0]


def _cpus_each(workers: int) -> int:
    """CPUs of each of so many workers, none of which may need more than a node has."""
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["alive"]]
    return max(1, int(min(total("CPU") // workers, *nodes)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
