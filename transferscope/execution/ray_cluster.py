"""A Ray cluster to work on: a running one, or one started on this machine; what workers need."""

import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import ray
from ray._private import worker as ray_worker

from transferscope.engine.bases import local_weights
from transferscope.errors import StudyError
from transferscope.execution.ray_guard import start_guard
from transferscope.study import Study
from transferscope.study.cost import cores

GIB = 1 << 30
OBJECT_STORE = 1 << 30
"""Bytes of the object store of a Ray that is started here: one adapter at a time passes through."""
PROCESS = 400 << 20
"""Bytes of a worker without a base."""


class WorkerResources(NamedTuple):
    """What a worker requires of its machine."""

    gpus: float
    memory: int
    """Bytes."""

    def __str__(self) -> str:
        return f"{self.memory / GIB:.1f} GiB" + (f" and {self.gpus:g} GPU" if self.gpus else "")


@contextmanager
def connected(workers: int | None) -> Generator[bool]:
    """A Ray to work on, or a `StudyError`; yields whether it was started for this run only."""
    if ray.is_initialized():
        yield False
        return
    # Ray prints messages on lost workers to stdout, where `--json` prints, without a switch.
    ray_worker.print_to_stdstream = lambda *_, **__: None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _refuse_silence(address)
            # As `ray start --head` does by itself, use the user's token if there is one.
            from ray._private.authentication import authentication_token_setup as token

            logging.getLogger(token.__name__).setLevel(logging.ERROR)
            token.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
            ray.init(address, **quiet)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
            ray.init("local", num_cpus=max(cores(), workers or 1), **options, **quiet)
    except Exception as error:  # Ray raises any class
        ray.shutdown()
        raise StudyError(f"--executor ray: {one_line(error)}") from None
    with nullcontext() if address else start_guard():
        try:
            yield not address
        finally:
            ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Refuse an address where nothing listens, which Ray would retry for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise ConnectionError(f"RAY_ADDRESS {address}: {error}") from None


def resources_of(study: Study) -> dict[str, WorkerResources]:
    """For each model a worker's share of a GPU, if there is any, and memory for the weights."""
    found = {}
    for name, model in study.models.items():
        memory = PROCESS + (local_weights(study, name) or 0)
        found[name] = WorkerResources(model.gpus if total("GPU") else 0.0, memory)
    return found


def default_workers(resources: dict[str, WorkerResources]) -> int:
    """The number of workers for which there are GPUs; 1 if there are none."""
    each = max(one.gpus for one in resources.values())
    return max(1, int(total("GPU") / each)) if each else 1


def refuse_too_large(resources: dict[str, WorkerResources]) -> None:
    """Refuse, with a `StudyError`, a base that is too large for a cluster that cannot grow."""
    available = WorkerResources(total("GPU"), int(total("memory")))
    for model, one in resources.items():
        if one.memory > available.memory or one.gpus > available.gpus:
            raise StudyError(f"{model}: a worker needs {one}, but Ray has {available} here")


def cpus_and_threads(resources: WorkerResources, workers: int) -> tuple[int, int]:
    """CPUs that a worker reserves and threads that it uses, if `workers` share the cluster."""
    if resources.gpus:
        return 1, max(1, int(total("CPU") * resources.gpus / total("GPU")))
    # None may need more than a node has.
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["alive"]]
    cpus = max(1, int(min(total("CPU") // workers, *nodes)))
    return cpus, cpus


def total(resource: str) -> float:
    """The amount of a resource in the whole cluster."""
    return float(ray.cluster_resources().get(resource, 0))


def one_line(error: BaseException) -> str:
    """The informative line of one of Ray's long messages."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[-1 if "ray::" in lines[0] else 0]
