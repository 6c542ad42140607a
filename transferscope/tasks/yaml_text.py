"""YAML text as plain values: no tags that make objects, no key twice, nothing that unfolds.

In:   text.
Out:  what it holds, or in one line what is wrong with it.
"""

from typing import Any

import yaml

MOST = 1_000_000
"""Values in a text, counted again wherever an alias (`*name`) stands for them."""


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
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST:
            raise yaml.YAMLError(f"more than {MOST:,} values, each alias counted as what it names")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, OverflowError) as error:  # such as the day 2024-13-45
        raise yaml.YAMLError(f"a value that is none: {error}") from None
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to."""
    if id(node) not in known:
        known[id(node)] = 1  # until it is known: one that holds itself is refused when it is made
        below = node.value if isinstance(node, yaml.CollectionNode) else ()
        each = [one for part in below for one in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_values(one, known) for one in each)
    return known[id(node)]


def problem_of(error: yaml.YAMLError) -> str:
    """Where text is no such YAML, and why, in one line."""
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    return line + " ".join(str(getattr(error, "problem", None) or error).split())
