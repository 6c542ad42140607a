"""Attention of a vision tower without a loop over windows.

Qwen's towers attend within windows and pictures; transformers' sdpa walks over these one by one.
Here all are one call where the device has attention of varying lengths, else one call for each
length that occurs, without padding. The language model's attention stays as it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

VARLEN, GROUPED = "varlen_flash_windows", "grouped_flash_windows"
"""As transformers knows the two; to names with `flash` in them it hands all windows at once."""


def see_in_windows(model: Any) -> bool:
    """Give a model's vision tower this attention, through transformers' interface for it.

    Returns:
        Whether all windows are one call.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(VARLEN, varlen_attention)
    AttentionInterface.register(GROUPED, grouped_attention)
    whole = _has_varlen(model.device, model.dtype)
    model.set_attn_implementation({"vision_config": VARLEN if whole else GROUPED})
    return whole


def varlen_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Attention within windows in one call, as transformers calls it.

    Args:
        query: as `key` and `value` (1, heads, patches, width).
        given: `cu_seq_lens_q`, where windows begin and the last one ends (windows + 1), and
            `max_length_q`, patches of the longest window.

    Returns:
        (1, patches, heads, width), and no weights.
    """
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (its[0].transpose(0, 1) for its in (query, key, value))
    starts, most = given["cu_seq_lens_q"].to(torch.int32), int(given["max_length_q"])
    said: Any = varlen_attn(q, k, v, starts, starts, most, most)
    return said[None], None


def grouped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """The same with one call for each length."""
    lengths = given["cu_seq_lens_q"].diff().tolist()
    return _grouped(query[0], key[0], value[0], lengths)[None], None


def _has_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch has attention of varying lengths here."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    try:
        from torch.nn.attention import varlen
    except ImportError:  # torch before 2.10
        return False
    return hasattr(varlen, "varlen_attn") and torch.cuda.get_device_capability(device) >= (8, 0)


def _grouped(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    """Of (heads, patches, width): all windows of one length together; (patches, heads, width)."""
    heads, patches, width = q.shape
    kinds = sorted(set(lengths) - {0})
    if len(kinds) == 1:
        q, k, v = (its.view(heads, -1, kinds[0], width).transpose(0, 1) for its in (q, k, v))
        said = functional.scaled_dot_product_attention(q, k, v)
        return said.transpose(1, 2).reshape(patches, heads, width)
    out = q.new_empty(patches, heads, width)
    sizes = torch.tensor(lengths, device=q.device)
    starts = sizes.cumsum(0) - sizes
    for length in kinds:
        index = starts[sizes == length, None] + torch.arange(length, device=q.device)
        some = [its[:, index].transpose(0, 1) for its in (q, k, v)]
        said = functional.scaled_dot_product_attention(some[0], some[1], some[2])
        out[index] = said.transpose(1, 2)
    return out
