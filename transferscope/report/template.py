"""The package's own files by name: as text, or as a `jinja2` template."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from transferscope.plots.labels import clean
from transferscope.selection.wording import listed


@cache
def asset(name: str) -> str:
    """The text of a file of this package."""
    return files("transferscope.report").joinpath(name).read_text("utf-8")


@cache
def template(name: str) -> Any:
    """A template of this package; a page escapes its values, without control characters."""
    is_page = ".html" in name
    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=is_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if is_page and type(value) is str else value,
    )
    environment.filters["listed"] = listed
    return environment.get_template(name)
