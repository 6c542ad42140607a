"""An embedded base without transformers, whose import takes longer than all else before training.

The modules have transformers' names and order, as an adapter's first weights are drawn layer by
layer, and no forward of their own: `glimpse_path` runs them. `Base.complete` has transformers'
model and processor, for what needs more.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from jinja2 import Environment
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from transferscope.engine.glimpse import prompt_layout as layout


class SmallConfig(SimpleNamespace):
    """A configuration's settings."""

    def get(self, name: str) -> Any:
        """A setting; None if it is not there."""
        return vars(self).get(name)

    def get_text_config(self) -> "SmallConfig":
        """The settings of the language model."""
        return self.text_config


class SmallModel(nn.Module):
    """The modules of an embedded base, with its weights."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.folder = folder
        text = (folder / "config.json").read_text(encoding="utf-8")
        self.config: Any = json.loads(text, object_hook=lambda found: SmallConfig(**found))
        with torch.device("meta"):
            self.model = nn.Module()
            self.model.visual = _tower(self.config.vision_config)
            self.model.language_model = _decoder(self.config.text_config)
        weights = {}
        for name, weight in load_file(folder / "model.safetensors").items():
            start = "model." if name.startswith("visual.") else "model.language_model."
            weights[start + name.removeprefix("model.")] = weight.to(dtype)
        self.load_state_dict(weights, assign=True)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    def get_decoder(self) -> nn.Module:
        """The language model."""
        return self.model.get_submodule("language_model")

    def get_output_embeddings(self) -> None:
        """The head, which is the embedding."""


class _Norm(nn.Module):
    def __init__(self, size: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.empty(size)), epsilon


class _GatedMlp(nn.Module):
    def __init__(self, config: Any, *, bias: bool) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj, self.up_proj = (nn.Linear(hidden, inner, bias) for _ in range(2))
        self.down_proj = nn.Linear(inner, hidden, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


def _parts(**parts: nn.Module) -> nn.Module:
    whole = nn.Module()
    for name, part in parts.items():
        whole.add_module(name, part)
    return whole


def _tower(config: Any) -> nn.Module:
    size, kernel = config.hidden_size, (config.temporal_patch_size, *[config.patch_size] * 2)
    merged = size * config.spatial_merge_size**2
    first = nn.Conv3d(config.in_channels, size, kernel, kernel, bias=False)
    blocks = [
        _parts(
            norm1=_Norm(size),
            norm2=_Norm(size),
            attn=_parts(qkv=nn.Linear(size, 3 * size), proj=nn.Linear(size, size)),
            mlp=_GatedMlp(config, bias=True),
        )
        for _ in range(config.depth)
    ]
    products = [nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, config.out_hidden_size)]
    merger = _parts(ln_q=_Norm(size), mlp=nn.Sequential(*products))
    return _parts(patch_embed=_parts(proj=first), blocks=nn.ModuleList(blocks), merger=merger)


def _decoder(config: Any) -> nn.Module:
    size, keys = config.hidden_size, config.num_key_value_heads * layout.HEAD
    layers = [
        _parts(
            self_attn=_parts(
                q_proj=nn.Linear(size, size),
                k_proj=nn.Linear(size, keys),
                v_proj=nn.Linear(size, keys),
                o_proj=nn.Linear(size, size, bias=False),
            ),
            mlp=_GatedMlp(config, bias=False),
            input_layernorm=_Norm(size, config.rms_norm_eps),
            post_attention_layernorm=_Norm(size, config.rms_norm_eps),
        )
        for _ in range(config.num_hidden_layers)
    ]
    return _parts(
        # Not of random numbers, for which torch would import its compiler.
        embed_tokens=nn.Embedding.from_pretrained(torch.empty(config.vocab_size, size)),
        layers=nn.ModuleList(layers),
        norm=_Norm(size, config.rms_norm_eps),
    )


class SmallProcessor:
    """An embedded base's tokenizer and chat template; the images need no processing."""

    image_processor = None

    def __init__(self, folder: Path) -> None:
        self.tokenizer = SmallTokenizer(folder / "tokenizer.json")
        self.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")

    def apply_chat_template(
        self, chat: Any, *, add_generation_prompt: bool = False, tokenize: bool = False
    ) -> str:
        """A conversation as text."""
        assert not tokenize
        template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(self.chat_template)
        return template.render(messages=chat, add_generation_prompt=add_generation_prompt)


class SmallTokenizer:
    """Texts as tokens."""

    eos_token_id = layout.TURN_END
    all_special_ids = tuple(range(len(layout.SPECIAL)))

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        self.added_tokens_decoder = self._tokenizer.get_added_tokens_decoder()

    def __call__(
        self, texts: str | Sequence[str], add_special_tokens: bool = True
    ) -> dict[str, Any]:
        """The tokens of a text or of some, by the name that transformers gives them."""
        if isinstance(texts, str):
            return {"input_ids": self._tokenizer.encode(texts).ids}
        return {"input_ids": [one.ids for one in self._tokenizer.encode_batch([*texts])]}

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int | None]:
        """The ids of some tokens."""
        return [self._tokenizer.token_to_id(token) for token in tokens]
