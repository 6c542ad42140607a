"""The suites, one module each, by the names that a study file uses."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from transferscope.errors import StudyError, TransferscopeError
from transferscope.suites.blink import Blink
from transferscope.suites.dataset import DataSet
from transferscope.suites.folder import FolderSuite
from transferscope.suites.glimpse import Glimpse
from transferscope.suites.vsi import VsiBench
from transferscope.tasks import Suite, Task, option_names
from transferscope.tasks.untrusted import first_problem

SUITES: dict[str, type[Suite]] = {
    suite.name: suite for suite in (Blink, VsiBench, Glimpse, DataSet)
}
"""A new suite is its module and an entry here."""

KNOWN_TASKS: dict[str, Task] = {}
"""Tasks by name; where suites share a name, as BLINK and glimpse do, the first suite's."""
for _suite in SUITES.values():
    for _task in _suite.tasks:
        KNOWN_TASKS.setdefault(_task.name, _task)


def multiple_choice(task: str) -> str:
    """The multiple-choice task of an open form; any other task itself."""
    known = KNOWN_TASKS.get(task)
    return known.twin if known and known.twin else task


def suite_class(name: str) -> type[Suite]:
    """The class of a suite's name, or of a folder with `suite.yaml`.

    Raises:
        StudyError: there is no such suite or folder.
    """
    if name in SUITES:
        return SUITES[name]
    if Path(name).is_dir():
        return FolderSuite
    near = get_close_matches(name, SUITES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise StudyError(
        f"unknown suite {name!r}; {hint}known: {', '.join(SUITES)}, a folder with suite.yaml, or a "
        "data set as suite: {hub: OWNER/NAME}"
    )


def open_suite(name: str, **options: Any) -> Suite:
    """A suite by its name, or a user's own by its folder.

    Args:
        options: fields of the suite's class, as a study file spells them; checked here.

    Raises:
        StudyError: there is no such suite, folder or option, or a value is not allowed.
    """
    suite = suite_class(name)
    known = [] if suite is FolderSuite else option_names(suite)
    for option in options:
        if option not in known:
            owners = [other for other, made in SUITES.items() if option in option_names(made)]
            if owners:
                these = ", ".join(owners)
                raise StudyError(f"suite.{option} is an option of {these}, not of {name}")
            near = get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
            raise StudyError(f"suite: unknown key {option!r}; {hint}")
    if suite is FolderSuite:
        return FolderSuite(Path(name))
    try:
        return TypeAdapter(suite).validate_python(options)
    except ValidationError as error:
        # What the suite itself refuses is a ValueError too, which pydantic wraps.
        refusal = error.errors()[0].get("ctx", {}).get("error")
        message = f"suite.{first_problem(error)}"
        ours = isinstance(refusal, TransferscopeError)
        raise refusal if ours else StudyError(message) from None


def path_options(name: str) -> list[str]:
    """Options of a suite that are paths, which a study file may give relative to its folder."""
    if name not in SUITES:
        return []
    types = get_type_hints(SUITES[name])
    return [option for option in option_names(SUITES[name]) if types[option] == Path | None]
