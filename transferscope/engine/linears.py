"""The linear layers that adapters change: those of the language model's decoder layers.

    all              every one of them: attention, other token mixers, MLPs, shared experts
    attention, mlp, shared_experts
                     a part of them
    q_proj, ...      those whose names end so

In:   a model and a recipe's targets.
Out:  its linear layers by their full names; a note of what is not adapted, and why.

Never adapted: the head, embeddings, routers, vision and audio towers, and what joins those to the
language model. Experts of a mixture of experts cannot be adapted here: a fleet's rows do not stay
together in them. `all` therefore refuses a model that has some.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from torch import nn

from transferscope.errors import StudyError

GROUPS = ("all", "attention", "mlp", "shared_experts")

_TOWER = re.compile(
    r"vision|visual|image|video|audio|speech|perceiver|resampler|qformer|project(or|ion)"
    r"|connector|aligner|merger|tower|generation|action|^dit$"
)
"""Parts beside the language model, where `get_decoder` hands out the whole model."""

_ROUTER = re.compile(r"router|gate|shared_expert_gate|wg")
_MIXER = re.compile(r"attn|attention|mixer|conv|mamba|ssm|rnn|recurrent|delta", re.I)
_ATTENTION = re.compile(r"attn|attention", re.I)
_MLP = re.compile(r"(gate_up|gate|up|down)_proj|w[123]|fc[12]")


class Place(NamedTuple):
    """A part of the model and what it is."""

    name: str
    group: str
    """`attention`, `mlp` or `shared_experts`; else `experts`, `router`, `tower` or `beside`."""
    module: nn.Module


def places(model: nn.Module) -> Iterator[Place]:
    """The model's linear layers and its experts, but for the head."""
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
        expert = any(map(_is_experts, path[:-1]))
        linear = isinstance(module, nn.Linear) and module is not head
        if not linear and not (_is_experts(path[-1]) and not expert):
            continue
        if layer is None:
            yield Place(name, "beside" if inside else "tower", module)
        elif not inside or any(map(_TOWER.search, path[:layer])):
            yield Place(name, "tower", module)
        elif not linear:
            yield Place(name, "experts", module)
        elif not expert:
            group = _group(path[layer + 1 :], name.rpartition(".")[0] in mixtures)
            yield Place(name, group, module)


def language_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """All linear layers of the decoder layers that can be adapted, by their full names."""
    return {
        place.name: place.module
        for place in places(model)
        if place.group in GROUPS and isinstance(place.module, nn.Linear)
    }


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers that have a linear layer to adapt, in order."""
    names = (re.match(r"(.*?\.)?\d+(?=\.)", name) for name in language_linears(model))
    return [model.get_submodule(name) for name in dict.fromkeys(its[0] for its in names if its)]


def target_linears(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers that `targets` name: groups, or ends of names.

    Raises:
        StudyError: a target names no layer, or a model's experts.
    """
    found = list(places(model))
    linears = {place.name: place for place in found if place.group in GROUPS}
    experts = {place.name: place.module for place in found if place.group == "experts"}
    in_experts = {"all", "experts"} if experts else set()
    for module in experts.values():
        in_experts |= {part for name, _ in module.named_parameters() for part in name.split(".")}
    chosen: set[str] = set()
    for target in targets:
        names = {name for name, place in linears.items() if _names(target, place)}
        if target in in_experts:
            raise StudyError(_experts_message(target, list(experts), list(linears.values())))
        if not names:
            known = sorted({*GROUPS, *map(_last, linears)})
            near = get_close_matches(target, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise StudyError(
                f"recipe.targets: no layer {target!r}; {hint}known: {', '.join(known)}"
            )
        chosen |= names
    return {
        name: place.module
        for name, place in linears.items()
        if name in chosen and isinstance(place.module, nn.Linear)
    }


def not_adapted(model: nn.Module, targets: Sequence[str]) -> str:
    """What of a model stays as it is, and why, as one line.

    Raises:
        StudyError: as `target_linears`.
    """
    chosen = target_linears(model, targets)
    reasons = {
        "experts": "experts cannot be adapted",
        "router": "routers stay frozen",
        "tower": "vision tower and projector stay frozen",
        "beside": "outside the decoder layers",
    }
    left: dict[str, set[str]] = {}
    for place in places(model):
        if place.name not in chosen:
            why = reasons.get(place.group, "not among recipe.targets")
            name = place.name if place.group == "beside" else _last(place.name)
            left.setdefault(why, set()).add(_part(place.name) if place.group == "tower" else name)
    left.setdefault("head and embedding stay frozen", set())
    kinds = ", ".join(sorted({_last(name) for name in chosen}))
    parts = [f"{why} ({', '.join(sorted(its))})" if its else why for why, its in left.items()]
    return f"adapted: {len(chosen)} linear layers ({kinds}); not adapted: {'; '.join(parts)}"


def _names(target: str, place: Place) -> bool:
    if target in GROUPS:
        return target in ("all", place.group)
    return f".{place.name}".endswith("." + target)


def _group(path: Sequence[str], in_mixture: bool) -> str:
    """What a linear layer is, by its path in a decoder layer."""
    if in_mixture and _ROUTER.fullmatch(path[-1]):
        return "router"
    if any("shared_expert" in part for part in path):
        return "shared_experts"
    if any(map(_ATTENTION.search, path)):
        return "attention"
    return "attention" if any(map(_MIXER.search, path)) and not _MLP.fullmatch(path[-1]) else "mlp"


def _experts_message(target: str, experts: Sequence[str], linears: Sequence[Place]) -> str:
    groups = [group for group in GROUPS[1:] if group in {place.group for place in linears}]
    more = f" and {len(experts) - 1} more" if experts[1:] else ""
    return (
        f"recipe.targets: {target}: this model has experts, which cannot be adapted: {experts[0]}"
        f"{more}; set recipe.targets: [{', '.join(groups)}]"
    )


def _is_experts(part: str) -> bool:
    return bool(re.fullmatch(r"(\w+_)?experts", part)) and "shared" not in part


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _part(name: str) -> str:
    """The tower that a layer is in: its path up to the first part that names one."""
    path = name.split(".")
    place = next((k for k, part in enumerate(path) if _TOWER.search(part)), 0)
    return ".".join(path[: place + 1])
