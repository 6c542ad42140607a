"""Carries a study out: `runner` starts it, `run_state` keeps records, an executor does the work.

An executor receives a `RunState` and returns when nothing remains to be done. It decides where a
shard is worked on; `RunState` decides what is missing, what is kept and what failed. To add one,
write a module with a `carry_out` like that of `ray`, and list it in `EXECUTORS`.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from transferscope.errors import MissingExtra, StudyError

if TYPE_CHECKING:
    from transferscope.execution.run_state import RunState

Executor = Callable[["RunState"], None]
EXECUTORS = {"ray": "transferscope.execution.ray"}
"""The module of each executor with several workers; `local` is this process."""


def open_executor(name: str, workers: int | None = None) -> Executor | None:
    """An executor by name, for `run_study`; None for this process.

    Raises:
        MissingExtra: the executor's library is not installed.
        StudyError: `workers` is given, but the executor is this process.
    """
    if name == "local":
        if workers is not None:
            raise StudyError("--workers is for --executor ray; this process is one worker")
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
