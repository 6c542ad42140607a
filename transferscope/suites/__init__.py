"""The suites, one module each, and what is known about their tasks."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from transferscope.errors import StudyError
from transferscope.suites import blink, vsi
from transferscope.suites.blink import Blink
from transferscope.suites.vsi import VsiBench
from transferscope.tasks import Suite, Task


def _glimpse(**options: Any) -> Suite:
    from transferscope.suites.glimpse import Glimpse

    return Glimpse(**options)


SUITES: dict[str, Callable[..., Suite]] = {
    "glimpse": _glimpse,
    "blink": Blink,
    "vsi-bench": VsiBench,
}
"""The suites whose items can be had by name."""

HUBS: dict[str, str] = {"blink": blink.HUB, "vsi-bench": vsi.HUB}
"""Where the hub has those that come from there."""

TASKS: dict[str, tuple[Task, ...]] = {"blink": Blink.tasks, "vsi-bench": VsiBench.tasks}
"""What is known about tasks, by benchmark; `glimpse` has those of BLINK."""

KNOWN_TASKS: dict[str, Task] = {task.name: task for tasks in TASKS.values() for task in tasks}


def open_suite(name: str, **options: Any) -> Suite:
    """A suite by its name, or a user's own by its folder.

    Args:
        options: what the suite's class takes; a folder takes none.

    Raises:
        StudyError: there is no such suite or folder, or the folder's `suite.yaml` is not what it
            must be.
    """
    if name in SUITES:
        return SUITES[name](**options)
    if Path(name).is_dir():
        from transferscope.suites.folder import FolderSuite

        return FolderSuite(Path(name))
    near = get_close_matches(name, SUITES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise StudyError(
        f"unknown suite {name!r}; {hint}known: {', '.join(SUITES)}, or a folder with suite.yaml"
    )
