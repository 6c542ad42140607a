"""The linear layers that adapters change: those of the language model's decoder layers.

    all              every one of them: attention, other token mixers, MLPs, shared experts
    attention, mlp, shared_experts
                     one group of them
    q_proj, ...      those whose names end so

Never adapted: the head, embeddings, routers, vision and audio towers, and projectors. Experts
cannot be adapted, because the rows of one adapter do not stay together in them. `all` therefore
refuses a model with experts.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from torch import nn

from transferscope.engine.families import LinearNames, family_of
from transferscope.errors import StudyError

GROUPS = ("all", "attention", "mlp", "shared_experts")

_REASONS = {
    "experts": "experts cannot be adapted",
    "router": "routers stay frozen",
    "tower": "vision tower and projector stay frozen",
    "outside": "outside the decoder layers",
}


class ModelPart(NamedTuple):
    """A linear layer or a set of experts, and its group."""

    name: str
    group: str
    """`attention`, `mlp` or `shared_experts`; else `experts`, `router`, `tower` or `outside`."""
    module: Any


def model_parts(model: nn.Module) -> Iterator[ModelPart]:
    """The model's linear layers and its experts, without the head."""
    names = family_of(getattr(model, "config", None)).linears
    decoder: Any = model.get_decoder()  # pyright: ignore[reportCallIssue]
    start = next((name for name, module in model.named_modules() if module is decoder), "")
    head = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    mixtures = {
        name.rpartition(".")[0] for name, _ in model.named_modules() if _is_experts(_last(name))
    }
    for name, module in model.named_modules():
        inside = not start or name.startswith(start + ".")
        path = name.removeprefix(start).strip(".").split(".")
        layer = next((place for place, part in enumerate(path) if part.isdigit()), None)
        in_experts = any(map(_is_experts, path[:-1]))
        linear = isinstance(module, nn.Linear) and module is not head
        if not linear and not (_is_experts(path[-1]) and not in_experts):
            continue
        if layer is None:
            yield ModelPart(name, "outside" if inside else "tower", module)
        elif not inside or any(map(names.tower.search, path[:layer])):
            yield ModelPart(name, "tower", module)
        elif not linear:
            yield ModelPart(name, "experts", module)
        elif not in_experts:
            in_mixture = name.rpartition(".")[0] in mixtures
            yield ModelPart(name, _group(path[layer + 1 :], in_mixture, names), module)


def language_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """All linear layers of the decoder layers that can be adapted, by full name."""
    return {part.name: part.module for part in model_parts(model) if part.group in GROUPS}


def target_linears(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers that `targets` name: groups, or ends of layer names.

    Raises:
        StudyError: a target names no layer, or a model's experts.
    """
    parts = list(model_parts(model))
    linears = {part.name: part for part in parts if part.group in GROUPS}
    experts = {part.name: part.module for part in parts if part.group == "experts"}
    in_experts = {"all", "experts"} if experts else set()
    for module in experts.values():
        in_experts |= {piece for name, _ in module.named_parameters() for piece in name.split(".")}
    chosen: set[str] = set()
    for target in targets:
        if target in in_experts:
            groups = [name for name in GROUPS[1:] if name in {p.group for p in linears.values()}]
            first, *others = experts
            more = f" and {len(others)} more" if others else ""
            raise StudyError(
                f"recipe.targets: {target}: this model has experts, which cannot be adapted: "
                f"{first}{more}; set recipe.targets: [{', '.join(groups)}]"
            )
        if target in GROUPS:
            names = {name for name, part in linears.items() if target in ("all", part.group)}
        else:
            names = {name for name in linears if f".{name}".endswith("." + target)}
        if not names:
            known = sorted({*GROUPS, *map(_last, linears)})
            near = get_close_matches(target, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise StudyError(
                f"recipe.targets: no layer {target!r}; {hint}known: {', '.join(known)}"
            )
        chosen |= names
    return {name: part.module for name, part in linears.items() if name in chosen}


def not_adapted(model: Any, targets: Sequence[str]) -> str:
    """As one line, which layers are adapted, which not, and why; refuses as `target_linears`."""
    chosen, tower = target_linears(model, targets), family_of(model.config).linears.tower
    frozen: dict[str, set[str]] = {}
    for part in model_parts(model):
        if part.name in chosen:
            continue
        shown = part.name if part.group == "outside" else _last(part.name)
        if part.group == "tower":  # the path up to the first part that names a tower
            path = part.name.split(".")
            end = next((place for place, piece in enumerate(path) if tower.search(piece)), 0)
            shown = ".".join(path[: end + 1])
        why = _REASONS.get(part.group, "not among recipe.targets")
        frozen.setdefault(why, set()).add(shown)
    frozen.setdefault("head and embedding stay frozen", set())
    kinds = ", ".join(sorted({_last(name) for name in chosen}))
    parts = [
        f"{why} ({', '.join(sorted(names))})" if names else why for why, names in frozen.items()
    ]
    return f"adapted: {len(chosen)} linear layers ({kinds}); not adapted: {'; '.join(parts)}"


def _group(path: Sequence[str], in_mixture: bool, names: LinearNames) -> str:
    if in_mixture and names.router.fullmatch(path[-1]):
        return "router"
    if any("shared_expert" in part for part in path):
        return "shared_experts"
    if any(map(names.attention.search, path)):
        return "attention"
    mixes = any(map(names.mixer.search, path)) and not names.mlp.fullmatch(path[-1])
    return "attention" if mixes else "mlp"


def _is_experts(part: str) -> bool:
    return bool(re.fullmatch(r"(\w+_)?experts", part)) and "shared" not in part


def _last(name: str) -> str:
    return name.rpartition(".")[2]
