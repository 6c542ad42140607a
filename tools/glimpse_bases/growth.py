"""A larger base from a smaller one, answering exactly as it did: a start for training the larger.

The small model's weights are put where they do the same among more dimensions, heads, units and
layers; everything new reads with random weights and writes with zero weights, so it adds nothing
at first, but receives different gradients and learns different things. RMSNorm divides by the
root of a mean over the width, in which zeros now count: its weights shrink by the root of the
ratio of the widths. The epsilon of the language model's norm follows (`Size.epsilon`); that of
the vision tower is fixed in transformers, and with 1e-6 does not matter.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor

from tools.glimpse_bases.architecture import SIZES, Size, build, size
from tools.glimpse_bases.weights import EMBEDDING, TIED
from transferscope.engine.glimpse.prompt_layout import HEAD
from transferscope.errors import DataError

_MERGED = 4
"""Patches merged into a token."""


class _Space(NamedTuple):
    """How the small model's coordinates lie among the large one's."""

    old: Tensor
    """Place of each old coordinate among the new ones."""
    residual: bool
    """Whether layers add to it: what is new in it stays zero until something is learned."""


def grow(small: Mapping[str, Tensor], to: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a larger size that give the same answers as a smaller one's.

    From m to l the same within float32's rounding; from s within a hundredth of a logit, as the
    epsilon of m's norm is not that of a grown s.

    Args:
        small: the smaller base's weights, without the dense head.
        to: the larger size.
        seed: of the random weights with which new parts read.

    Raises:
        DataError: the weights are of none of the sizes, or of one not smaller than `to`.
    """
    large = size(to)
    before = _size_of(small)
    shrinks = [
        its.name
        for its in fields(Size)
        if its.name != "epsilon" and getattr(before, its.name) > getattr(large, its.name)
    ]
    if shrinks:
        raise DataError(f"cannot grow weights of width {before.hidden} into size {to!r}")
    fresh = {n: w.detach().clone() for n, w in build(to, seed).state_dict().items() if n != TIED}
    spaces = _spaces(before, large)
    return {name: _grown(name, weight, small, spaces) for name, weight in fresh.items()}


def _grown(
    name: str, fresh: Tensor, small: Mapping[str, Tensor], spaces: Mapping[str, _Space]
) -> Tensor:
    """One weight of the large model."""
    old = small.get(name)
    writes, reads = (spaces.get(space or "") for space in _spaces_of(name))
    if name == EMBEDDING:  # rows are words, and columns are what is written
        assert old is not None
        assert reads is not None
        return torch.zeros_like(fresh).index_copy(1, reads.old, old.to(fresh.dtype))
    if fresh.ndim == 1 and ("norm" in name or "ln_q" in name):
        assert writes is not None
        if old is None:
            return fresh
        shrunk = math.sqrt(len(old) / len(fresh))
        return torch.full_like(fresh, shrunk).index_copy(0, writes.old, old * shrunk)
    if writes is not None and writes.residual:
        new_rows = torch.ones(len(fresh), dtype=torch.bool)
        new_rows[writes.old] = False
        fresh[new_rows] = 0
        if old is None:  # a new layer
            fresh.zero_()
    if old is None:
        return fresh
    if fresh.ndim == 1:
        grown = torch.zeros_like(fresh)
        grown[slice(None) if writes is None else writes.old] = old
        return grown
    if reads is not None and not reads.residual:
        new_columns = torch.ones(fresh.shape[1], dtype=torch.bool)
        new_columns[reads.old] = False
        fresh[:, new_columns] = 0
    rows = torch.arange(len(fresh)) if writes is None else writes.old
    columns = torch.arange(fresh.shape[1]) if reads is None else reads.old
    fresh[rows[:, None], columns] = old.to(fresh.dtype)
    return fresh


_ROLES = (
    (r"embed_tokens", "words", "hidden"),
    (r"language_model.*norm", "hidden", None),
    (r"self_attn\.q_proj", "queries", "hidden"),
    (r"self_attn\.[kv]_proj", "keys", "hidden"),
    (r"self_attn\.o_proj", "hidden", "queries"),
    (r"language_model.*(gate|up)_proj", "units", "hidden"),
    (r"language_model.*down_proj", "hidden", "units"),
    (r"patch_embed", "vision", None),
    (r"visual.*(norm\d|ln_q)", "vision", None),
    (r"attn\.qkv", "vision_qkv", "vision"),
    (r"attn\.proj", "vision", "vision_heads"),
    (r"visual.*(gate|up)_proj", "vision_units", "vision"),
    (r"visual.*down_proj", "vision", "vision_units"),
    (r"merger\.mlp\.0", "merger", "merged"),
    (r"merger\.mlp\.2", "hidden", "merger"),
)
"""Which space a weight writes to and which it reads; None: the same in all sizes."""


def _spaces_of(name: str) -> tuple[str | None, str | None]:
    for pattern, writes, reads in _ROLES:
        if re.search(pattern, name):
            return writes, reads
    raise AssertionError(f"no role for {name}")


def _spaces(small: Size, large: Size) -> dict[str, _Space]:
    """Every space in which the two differ."""
    wide, vision = torch.arange(small.hidden), torch.arange(small.vision_hidden)
    vision_heads = small.vision_hidden // HEAD
    query_heads = _query_heads(small, large)
    merged = torch.cat([vision + part * large.vision_hidden for part in range(_MERGED)])
    return {
        "hidden": _Space(wide, True),
        "queries": _Space(_places(query_heads), False),
        "keys": _Space(_places(range(small.key_heads)), False),
        "units": _Space(torch.arange(small.units), False),
        "vision": _Space(vision, True),
        "vision_heads": _Space(_places(range(vision_heads)), False),
        "vision_qkv": _Space(
            torch.cat([vision + part * large.vision_hidden for part in range(3)]), False
        ),
        "vision_units": _Space(torch.arange(small.vision_units), False),
        "merged": _Space(merged, True),
        "merger": _Space(torch.arange(_MERGED * small.vision_hidden), False),
    }


def _query_heads(small: Size, large: Size) -> list[int]:
    """Where each old query head goes, so that it stays with its head of keys and values."""
    group = small.hidden // HEAD // small.key_heads
    wider = large.hidden // HEAD // large.key_heads
    return [key * wider + member for key in range(small.key_heads) for member in range(group)]


def _places(heads: "list[int] | range") -> Tensor:
    return torch.cat([torch.arange(HEAD) + head * HEAD for head in heads])


def _size_of(weights: Mapping[str, Tensor]) -> Size:
    """The size that weights are of.

    Raises:
        DataError: none.
    """
    width = weights[EMBEDDING].shape[1] if EMBEDDING in weights else 0
    for its in SIZES.values():
        if its.hidden == width:
            return its
    raise DataError(f"weights of width {width}, which is no size of ours")
