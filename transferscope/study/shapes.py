"""A model's shapes from `config.json` alone: layers, sizes, number of parameters.

Exact for Qwen2-VL, Qwen2.5-VL and Qwen3-VL. Any other model with a `text_config` and a
`vision_config` counts as a Llama-like language model behind a CLIP-like tower: its linear layers
are right, and what is particular to it is left out.

In:   a configuration as JSON, from a folder or the Hub.
Out:  a `Shapes`.

Loads no weights and needs no torch.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transferscope.errors import DataError

CONFIG = "config.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json")

MOST = 1 << 30
"""The largest valid number in a configuration."""
MOST_LAYERS = 10_000

_GLIMPSE_ROPE = (200.0, [2, 4, 10])
"""Identifies the embedded bases and models trained from them."""


@dataclass(frozen=True)
class VisionShapes:
    """The vision tower and the merger or projector after it."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    patch_size: int
    """Pixels along an edge."""
    out_size: int
    """Width of an image token, as the language model takes it."""
    gated: bool = False
    """Whether a feed-forward block has three matrices, not two."""
    frames: int = 1
    """Images per patch in time; a still image is repeated."""
    channels: int = 3
    merge_size: int = 1
    """Patches along the edge of an image token."""
    deepstack: int = 0
    """Layers whose features are used in addition to the last layer's."""
    window: int = 0
    """Patches along the edge of an attention window; 0: attention over the whole image."""
    full_layers: int = 0
    """Layers without windows, if there are windows."""
    image_size: int = 0
    """Pixels along the edge of every image; 0: an image keeps its size."""
    positions: int = 0
    """Learned position embeddings."""
    norm_terms: int = 1
    """Parameters per normalized number: 1, or 2 with a bias."""
    patch_bias: bool = False


@dataclass(frozen=True)
class Shapes:
    """A vision-language model."""

    family: str
    """`model_type`."""
    hidden_size: int
    num_layers: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    """Whether the head shares the embedding's weights."""
    vision: VisionShapes
    bias: bool = False
    """Whether queries, keys and values have biases."""
    head_norm: bool = False
    """Whether queries and keys are normalized."""
    small: bool = False
    """Whether it is built like the embedded bases, whose forward computes less."""
    min_pixels: int = 56 * 56
    """Smallest image after the processor; `max_pixels` the largest."""
    max_pixels: int = 16384 * 28 * 28

    def linears(self) -> dict[str, tuple[int, int]]:
        """{name: (out, in)} of a layer's linear layers, in the order of the forward."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        hidden, inner = self.hidden_size, self.intermediate_size
        return {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }

    def adapted(self, targets: tuple[str, ...]) -> set[str]:
        """The names in `linears` that a recipe's targets select."""
        groups = {"all": ".", "attention": ".self_attn.", "mlp": ".mlp."}
        return {
            name
            for name in self.linears()
            for target in targets
            if f".{name}".startswith(groups.get(target, "?")) or f".{name}".endswith("." + target)
        }

    def adapted_params(self, targets: tuple[str, ...]) -> int:
        """Base parameters in the layers that get an adapter."""
        linears = self.linears()
        return self.num_layers * sum(math.prod(linears[name]) for name in self.adapted(targets))

    def adapter_params(self, targets: tuple[str, ...], rank: int) -> int:
        """Parameters of one LoRA adapter: rank x (in + out) per adapted layer."""
        linears = self.linears()
        return self.num_layers * rank * sum(sum(linears[name]) for name in self.adapted(targets))

    @property
    def num_params(self) -> int:
        """All parameters, tied ones once."""
        each = sum(map(math.prod, self.linears().values())) + 2 * self.hidden_size
        each += (self.num_heads + 2 * self.num_kv_heads) * self.head_dim if self.bias else 0
        each += 2 * self.head_dim if self.head_norm else 0
        tables = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        language = tables + self.num_layers * each + self.hidden_size
        v = self.vision
        width, inner, norm = v.hidden_size, v.intermediate_size, v.norm_terms * v.hidden_size
        matrices = 3 if v.gated else 2
        each = 4 * width * width + 4 * width + 2 * norm  # attention with its biases
        each += matrices * width * inner + (matrices - 1) * inner + width
        patches = v.channels * v.frames * v.patch_size**2 * width + width * v.patch_bias
        joined = width * v.merge_size**2
        merger = joined**2 + joined + joined * v.out_size + v.out_size
        deep = v.deepstack * (merger + 2 * joined)
        if v.image_size:  # a projector of two layers in the merger's place
            merger = width * v.out_size + v.out_size**2 + 2 * v.out_size
        tower = patches + v.positions * width + v.num_layers * each + norm + merger + deep
        return language + tower


def read_shapes(folder: Path) -> Shapes:
    """The shapes of the model in a folder, with the pixel limits of its processor.

    Raises:
        DataError: the folder has no configuration, or not a vision-language model's.
    """
    shapes = parse_shapes(_read(folder / CONFIG), str(folder / CONFIG))
    for path in (folder / name for name in PROCESSORS if (folder / name).is_file()):
        config = _read(path)
        config = config.get("image_processor", config)
        size = config.get("size", {}) if isinstance(config, Mapping) else {}
        if isinstance(size, Mapping) and {"shortest_edge", "longest_edge"} <= set(size):
            limits = _Section(size, f"{path}: size: ")
            smallest, largest = limits.count("shortest_edge"), limits.count("longest_edge")
            return replace(shapes, min_pixels=smallest, max_pixels=largest)
    return shapes


def hub_shapes(hub_id: str) -> Shapes:
    """The shapes of a model on the Hub; only its configuration is downloaded.

    Raises:
        DataError: the Hub cannot be reached or does not have it, or it is no vision-language model.
    """
    try:
        import huggingface_hub as hub
    except ModuleNotFoundError:
        raise DataError(
            f"{hub_id}: reading {CONFIG} on the Hub needs huggingface_hub; install the extra: "
            "pip install 'transferscope[train]'"
        ) from None
    path = hub.try_to_load_from_cache(hub_id, CONFIG)
    if not isinstance(path, str):
        try:
            # The download alone would retry an unreachable Hub for half a minute.
            hub.get_hf_file_metadata(hub.hf_hub_url(hub_id, CONFIG), timeout=5)
            path = hub.hf_hub_download(hub_id, CONFIG)
        except Exception as error:  # of whichever HTTP library the Hub's client uses
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"{hub_id}: {CONFIG} could not be downloaded from the Hub: {line}"
            ) from None
    return parse_shapes(_read(Path(path)), f"{hub_id}: {CONFIG}")


def parse_shapes(config: Mapping[str, Any], where: str) -> Shapes:
    """The shapes in a configuration; older Qwen models have no `text_config`.

    Raises:
        DataError: it is no vision-language model's, or a number in it is invalid.
    """
    vision, text = config.get("vision_config"), config.get("text_config", config)
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        raise DataError(f"{where}: must be a vision-language model's, but has no vision_config")
    family = str(config.get("model_type", "unknown"))
    if any("experts" in key and value for key, value in text.items()):
        raise DataError(f"{where}: a mixture of experts, whose FLOPs do not follow from its shapes")
    section = _Section(text, f"{where}: {'text_config: ' if 'text_config' in config else ''}")
    hidden, heads = section.count("hidden_size"), section.count("num_attention_heads")
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    theta = rope.get("rope_theta", text.get("rope_theta"))
    return Shapes(
        family,
        hidden_size=hidden,
        num_layers=section.count("num_hidden_layers", most=MOST_LAYERS),
        intermediate_size=section.count("intermediate_size"),
        num_heads=heads,
        num_kv_heads=section.count("num_key_value_heads", heads),
        head_dim=section.count("head_dim", max(1, hidden // heads)),
        vocab_size=section.count("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision=_vision(_Section(vision, f"{where}: vision_config: "), family, hidden),
        bias=family in ("qwen2_vl", "qwen2_5_vl") or bool(text.get("attention_bias")),
        head_norm=family == "qwen3_vl",
        small=(theta, rope.get("mrope_section")) == _GLIMPSE_ROPE,
        **({"min_pixels": 1 << 16, "max_pixels": 1 << 24} if family == "qwen3_vl" else {}),
    )


def _vision(section: "_Section", family: str, hidden: int) -> VisionShapes:
    """The vision tower; defaults are those of transformers for the family."""
    count = section.count
    if family not in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        patch, side = count("patch_size"), count("image_size")
        return VisionShapes(
            count("num_hidden_layers", most=MOST_LAYERS),
            count("hidden_size"),
            count("intermediate_size"),
            patch,
            out_size=hidden,
            channels=count("num_channels", 3),
            image_size=max(side, patch),
            positions=(side // patch) ** 2 + 1,
            norm_terms=2,
        )
    patch = count("patch_size", 16 if family == "qwen3_vl" else 14)
    merge = count("spatial_merge_size", 2)
    layers = count("depth", 27 if family == "qwen3_vl" else 32, MOST_LAYERS)
    shared: dict[str, Any] = {
        "frames": count("temporal_patch_size", 2),
        "channels": count("in_channels", count("in_chans", 3)),
        "merge_size": merge,
        "norm_terms": 1 if family == "qwen2_5_vl" else 2,
    }
    if family == "qwen2_vl":  # where `hidden_size` is the width behind the merger
        width, out = count("embed_dim", 1280), count("hidden_size", hidden)
        inner = round(width * section.number("mlp_ratio", 4))
        return VisionShapes(layers, width, inner, patch, out, **shared)
    out = count("out_hidden_size", hidden)
    if family == "qwen3_vl":
        shared |= {"deepstack": section.length("deepstack_visual_indexes", 3)}
        shared |= {"positions": count("num_position_embeddings", 2304), "patch_bias": True}
        width, inner = count("hidden_size", 1152), count("intermediate_size", 4304)
        return VisionShapes(layers, width, inner, patch, out, **shared)
    full = section.length("fullatt_block_indexes", 4)
    if full < layers:
        window = count("window_size", 112) // patch // merge * merge
        shared |= {"window": window, "full_layers": full}
    width, inner = count("hidden_size", 1280), count("intermediate_size", 3420)
    return VisionShapes(layers, width, inner, patch, out, gated=True, **shared)


class _Section:
    """A section of a configuration, whose numbers are checked when they are read."""

    def __init__(self, section: Mapping[str, Any], where: str) -> None:
        self._section, self._where = section, where

    def number(self, key: str, default: float | None = None) -> float:
        value = self._section.get(key)
        value = default if value is None else value
        if value is None:
            raise DataError(f"{self._where}{key} is missing")
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or not 0 < value <= MOST:  # which also refuses NaN
            raise DataError(
                f"{self._where}{key}: must be a positive number, got {str(value)[:40]!r}"
            )
        return value

    def count(self, key: str, default: int | None = None, most: int = MOST) -> int:
        value = self.number(key, default)
        if not isinstance(value, int) or value > most:
            raise DataError(
                f"{self._where}{key}: must be a whole number from 1 to {most:,}, got {value!r}"
            )
        return value

    def length(self, key: str, default: int) -> int:
        """The length of a list."""
        value = self._section.get(key, [0] * default)
        if not isinstance(value, list | tuple):
            raise DataError(f"{self._where}{key}: must be a list, got {str(value)[:40]!r}")
        return len(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: must be a JSON object, got {type(config).__name__}")
    return config
