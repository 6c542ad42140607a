"""The suites, one module each, and what is known about their tasks."""

from transferscope.suite import Task
from transferscope.suites.blink import BLINK

SUITES: dict[str, tuple[Task, ...]] = {"blink": BLINK}

KNOWN_TASKS: dict[str, Task] = {task.name: task for tasks in SUITES.values() for task in tasks}
