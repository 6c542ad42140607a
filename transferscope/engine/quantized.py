"""A base whose language model lies in 4 bits: bitsandbytes' NF4, as QLoRA stores it.

The weights of the language model's linear layers are NF4 with doubly quantised constants, and are
brought back to the base's precision in each product. Everything else (vision tower, embedding,
head, norms) stays as it is: adapters sit on none of it, and pictures' features are those of the
base that is not quantised.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transferscope.engine.linears import language_linears
from transferscope.errors import MissingExtra


def check_installed() -> None:
    """Refuse to go on without bitsandbytes.

    Raises:
        MissingExtra: it is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra(
            "quantization needs bitsandbytes; install the extra: pip install 'transferscope[quant]'"
        )


def nf4(folder: Path, dtype: torch.dtype, *, trust_remote_code: bool = False) -> Any:
    """How transformers is to load a folder's model.

    Args:
        dtype: of the products, and of all that is not quantised.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    return nf4_of(model, dtype)


def nf4_of(model: nn.Module, dtype: torch.dtype) -> Any:
    """The same for a model of this kind, whose weights do not matter."""
    from transformers import BitsAndBytesConfig

    chosen = language_linears(model)
    others = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in chosen
    ]
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=others,
    )


def keep_layout(model: nn.Module) -> None:
    """Have a CPU leave the weights as they lie: what it makes of them in a forward without
    gradients, a later backward takes for something else, and says nothing."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False
