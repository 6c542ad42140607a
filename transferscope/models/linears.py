"""The language model's linear layers, which adapters change."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from transferscope.errors import StudyError


def language_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """The language model's linear layers by their full names; no vision tower, no head."""
    decoder: Any = model.get_decoder()  # pyright: ignore[reportCallIssue]
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    return {
        f"{prefix}.{name}" if prefix else name: module
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear) and ".visual." not in f".{name}."
    }


def target_linears(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The language model's linear layers whose names end as `targets` say.

    Raises:
        StudyError: a target names no layer.
    """
    linears = language_linears(model)
    known = sorted({name.rpartition(".")[2] for name in linears})
    for target in targets:
        if not any(name == target or name.endswith("." + target) for name in linears):
            near = get_close_matches(target, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise StudyError(
                f"recipe.targets: no layer {target!r}; {hint}known: {', '.join(known)}"
            )
    ends = tuple("." + target for target in targets)
    return {name: module for name, module in linears.items() if ("." + name).endswith(ends)}
