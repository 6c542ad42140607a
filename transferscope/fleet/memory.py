"""How much of a fleet fits at once."""

from transferscope.models.vlm import Base

CPU_TOKENS = 4096
"""Tokens of a forward on a CPU: more only leaves its caches."""


def tokens_at_once(base: Base, *, training: bool) -> int:
    """Tokens that one forward may hold, from the model's shapes and the device's free memory."""
    import torch

    if base.device.type == "cpu":
        return CPU_TOKENS
    text = base.model.config.get_text_config()
    size = base.dtype.itemsize
    wide = text.hidden_size * 14 + text.intermediate_size * 5
    layers = text.num_hidden_layers if training else 2
    free, _ = torch.cuda.mem_get_info(base.device)
    return int(0.7 * free / (wide * layers * size))
