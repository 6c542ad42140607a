"""The package's own files as text, and its pages' templates.

Untrusted text is escaped by the template.

In:   a file's name.
Out:  its text, or a `jinja2` template.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from transferscope.plots.labels import clean, listed


@cache
def asset(name: str) -> str:
    """The text of a file of this package."""
    return files("transferscope.report").joinpath(name).read_text("utf-8")


@cache
def template(name: str) -> Any:
    """A template of this package; control characters in what it is given are escaped."""
    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters["listed"] = listed
    return environment.get_template(name)
