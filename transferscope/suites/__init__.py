"""The suites, one module each, and what is known about their tasks."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from transferscope.errors import StudyError
from transferscope.suite import Suite, Task
from transferscope.suites.blink import BLINK


def _glimpse() -> Suite:
    from transferscope.suites.glimpse import Glimpse

    return Glimpse()


SUITES: dict[str, Callable[[], Suite]] = {"glimpse": _glimpse}
"""The suites whose items can be had by name."""

TASKS: dict[str, tuple[Task, ...]] = {"blink": BLINK}
"""What is known about tasks, by benchmark; `glimpse` has those of BLINK."""

KNOWN_TASKS: dict[str, Task] = {task.name: task for tasks in TASKS.values() for task in tasks}


def open_suite(name: str) -> Suite:
    """A suite by its name, or a user's own by its folder.

    Raises:
        StudyError: there is no such suite or folder, or the folder's `suite.yaml` is not what it
            must be.
    """
    if name in SUITES:
        return SUITES[name]()
    if Path(name).is_dir():
        from transferscope.suites.folder import FolderSuite

        return FolderSuite(Path(name))
    near = get_close_matches(name, SUITES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise StudyError(
        f"unknown suite {name!r}; {hint}known: {', '.join(SUITES)}, or a folder with suite.yaml"
    )
