"""Carries a study out: `runner` starts it, `run_state` keeps records, an executor does the work.

An executor receives a `RunState` and returns when nothing remains to be done. It decides where a
shard is worked on; `RunState` decides what is missing, what is kept and what failed. To add one,
write a module with a `carry_out` like that of `ray`, and list it in `EXECUTORS`.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from transferscope.errors import MissingExtra

if TYPE_CHECKING:
    from transferscope.execution.run_state import RunState

Executor = Callable[["RunState"], None]
EXECUTORS = {"local": "transferscope.execution.local", "ray": "transferscope.execution.ray"}
"""The module of each executor."""


def open_executor(name: str, workers: int | None = None) -> Executor | None:
    """An executor by name, for `run_study`; None for `local` without a number of workers.

    Raises:
        MissingExtra: the executor's library is not installed.
    """
    if name == "local" and workers is None:
        return None
    try:
        return partial(import_module(EXECUTORS[name]).carry_out, workers=workers)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtra(
            f"--executor {name} needs {name}; "
            f"install the extra: pip install 'transferscope[{name}]'"
        ) from None
