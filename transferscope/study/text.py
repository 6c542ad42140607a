"""YAML text as plain values: no tags that make objects, no key twice.

In:   text.
Out:  what it holds, or in one line what is wrong with it.
"""

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML without tags that make objects, and without two values under one key."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int):
            problem = "a key must be a name or a whole number"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        if key in found:
            problem = f"key {key!r} is given twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        found[key] = loader.construct_object(value, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_yaml(text: str) -> Any:
    """What YAML text holds: plain values, no tags that make objects, no key twice.

    Raises:
        yaml.YAMLError: it is no such text.
    """
    return yaml.load(text, _Loader)  # a SafeLoader


def problem_of(error: yaml.YAMLError) -> str:
    """Where text is no such YAML, and why, in one line."""
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    return line + " ".join(str(getattr(error, "problem", None) or error).split())
