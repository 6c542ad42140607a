"""A model's shapes from its `config.json` alone: how many layers, how wide, how many parameters.

Read for Qwen2-VL, Qwen2.5-VL and Qwen3-VL exactly; for any other model whose configuration has a
`text_config` and a `vision_config` as a Llama-like language model behind a CLIP-like tower, which
counts its linear layers and leaves out what is particular to it.

In:   a configuration as JSON, from a folder or the hub.
Out:  a `Shapes`.

Loads no weights and knows no torch.
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
"""No count in a configuration is larger."""
LAYERS = 10_000
"""Nor any number of layers."""

_GLIMPSE_ROPE = (200.0, [2, 4, 10])
"""By which the embedded bases, and what was trained from them, are known."""


@dataclass(frozen=True)
class Vision:
    """The vision tower."""

    layers: int
    width: int
    units: int
    """Of a feed-forward block."""
    gated: bool
    """Whether a feed-forward block has three matrices rather than two."""
    patch: int
    """Pixels along an edge."""
    frames: int
    """Pictures that a patch spans in time; a still picture is repeated."""
    channels: int
    merge: int
    """Patches along the edge of a token."""
    out: int
    """Width of a token, as the language model takes it."""
    deep: int = 0
    """Layers whose features are handed on besides the last's."""
    window: int = 0
    """Patches along the edge of an attention window; 0: attention over the whole picture."""
    whole: int = 0
    """Layers without windows, where there are windows."""
    side: int = 0
    """Pixels along the edge of every picture; 0: a picture keeps its own size."""
    places: int = 0
    """Learned positions."""
    norm: int = 1
    """Numbers of a normalisation for each number normalised: 1, or 2 with a bias."""
    patch_bias: bool = False


@dataclass(frozen=True)
class Shapes:
    """A vision-language model."""

    family: str
    """`model_type`."""
    width: int
    layers: int
    units: int
    """Of a feed-forward block."""
    heads: int
    key_heads: int
    head: int
    """Width of an attention head."""
    vocabulary: int
    tied: bool
    """Whether the head's weights are the embedding's."""
    vision: Vision
    bias: bool = False
    """Whether queries, keys and values have biases."""
    head_norm: bool = False
    """Whether queries and keys are normalised."""
    small: bool = False
    """Whether it is built as the embedded bases are, whose forward path does less."""
    smallest: int = 56 * 56
    """Pixels that the processor gives a picture at least."""
    largest: int = 16384 * 28 * 28
    """And at most."""

    def linears(self) -> dict[str, tuple[int, int]]:
        """A layer's linear layers in the order in which they run: name to (out, in)."""
        queries, keys = self.heads * self.head, self.key_heads * self.head
        return {
            "self_attn.q_proj": (queries, self.width),
            "self_attn.k_proj": (keys, self.width),
            "self_attn.v_proj": (keys, self.width),
            "self_attn.o_proj": (self.width, queries),
            "mlp.gate_proj": (self.units, self.width),
            "mlp.up_proj": (self.units, self.width),
            "mlp.down_proj": (self.width, self.units),
        }

    def adapted(self, targets: tuple[str, ...]) -> set[str]:
        """Those of `linears` that a recipe's targets name."""
        groups = {"all": ".", "attention": ".self_attn.", "mlp": ".mlp."}
        return {
            name
            for name in self.linears()
            for target in targets
            if f".{name}".startswith(groups.get(target, "?")) or f".{name}".endswith("." + target)
        }

    def adapter_numbers(self, targets: tuple[str, ...], rank: int) -> int:
        """Trained numbers of one LoRA adapter: rank x (in + out) for each layer it changes."""
        chosen, linears = self.adapted(targets), self.linears()
        return self.layers * rank * sum(sum(linears[name]) for name in chosen)

    @property
    def parameters(self) -> int:
        """All weights, tied ones once."""
        return self.language_parameters + self.vision_parameters

    @property
    def language_parameters(self) -> int:
        """Weights of the language model, embedding and head included."""
        each = sum(rows * columns for rows, columns in self.linears().values()) + 2 * self.width
        each += (self.heads + 2 * self.key_heads) * self.head if self.bias else 0
        each += 2 * self.head if self.head_norm else 0
        tables = self.vocabulary * self.width * (1 if self.tied else 2)
        return tables + self.layers * each + self.width

    @property
    def vision_parameters(self) -> int:
        """Weights of the vision tower and of what joins it to the language model."""
        its = self.vision
        width, norm = its.width, its.norm * its.width
        mlp = 3 if its.gated else 2
        each = 4 * width * width + 4 * width + 2 * norm  # attention with its biases
        each += mlp * width * its.units + (mlp - 1) * its.units + width
        first = its.channels * its.frames * its.patch**2 * width + width * its.patch_bias
        joined = width * its.merge**2
        merger = joined**2 + joined + joined * its.out + its.out
        deep = its.deep * (merger + 2 * joined)
        if its.side:  # a projector of two layers in the merger's place
            merger = width * its.out + its.out**2 + 2 * its.out
        return first + its.places * width + its.layers * each + norm + merger + deep


def read_shapes(folder: Path) -> Shapes:
    """The shapes of the model in a folder.

    Raises:
        DataError: there is no configuration, or it is not a vision-language model's.
    """
    shapes = parse_shapes(_read(folder / CONFIG), str(folder / CONFIG))
    return _with_bounds(shapes, folder)


def hub_shapes(hub_id: str) -> Shapes:
    """The shapes of a model on the hub, of which nothing but its configuration is brought here.

    Raises:
        DataError: the hub cannot be reached or does not have it, or it is no vision-language model.
    """
    try:
        import huggingface_hub as hub
    except ModuleNotFoundError:
        raise DataError(
            f"{hub_id}: its {CONFIG} is on the hub; pip install 'transferscope[train]'"
        ) from None
    path = hub.try_to_load_from_cache(hub_id, CONFIG)
    if not isinstance(path, str):
        try:
            # Asked once before: the download itself tries again for half a minute.
            hub.get_hf_file_metadata(hub.hf_hub_url(hub_id, CONFIG), timeout=5)
            path = hub.hf_hub_download(hub_id, CONFIG)
        except Exception as error:  # of whichever library the hub's client speaks HTTP with
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"{hub_id}: its {CONFIG} cannot be had from the hub: {line}") from None
    return parse_shapes(_read(Path(path)), f"{hub_id}: {CONFIG}")


def parse_shapes(config: Mapping[str, Any], where: str) -> Shapes:
    """The shapes that a configuration describes; Qwen's older ones have no `text_config`.

    Raises:
        DataError: it is no vision-language model's, or a number in it cannot be.
    """
    vision = config.get("vision_config")
    text = config.get("text_config", config)
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        raise DataError(f"{where}: no vision_config; expected a vision-language model's")
    family = str(config.get("model_type", "unknown"))
    if any("experts" in key and value for key, value in text.items()):
        raise DataError(f"{where}: a mixture of experts, whose work is not known from its shapes")
    asked = _Fields(text, f"{where}: {'text_config: ' if 'text_config' in config else ''}")
    width, heads = asked.count("hidden_size"), asked.count("num_attention_heads")
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    theta = rope.get("rope_theta", text.get("rope_theta"))
    return Shapes(
        family,
        width=width,
        layers=asked.count("num_hidden_layers", most=LAYERS),
        units=asked.count("intermediate_size"),
        heads=heads,
        key_heads=asked.count("num_key_value_heads", heads),
        head=asked.count("head_dim", max(1, width // heads)),
        vocabulary=asked.count("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision=_vision(_Fields(vision, f"{where}: vision_config: "), family, width),
        bias=family in ("qwen2_vl", "qwen2_5_vl") or bool(text.get("attention_bias")),
        head_norm=family == "qwen3_vl",
        small=(theta, rope.get("mrope_section")) == _GLIMPSE_ROPE,
        **({"smallest": 1 << 16, "largest": 1 << 24} if family == "qwen3_vl" else {}),
    )


def _with_bounds(shapes: Shapes, folder: Path) -> Shapes:
    """The shapes with the pixel bounds of the processor beside them, where it gives any."""
    for name in PROCESSORS:
        if not (folder / name).is_file():
            continue
        its = _read(folder / name)
        its = its.get("image_processor", its)
        size = its.get("size", {}) if isinstance(its, Mapping) else {}
        if isinstance(size, Mapping) and {"shortest_edge", "longest_edge"} <= set(size):
            asked = _Fields(size, f"{folder / name}: size: ")
            bounds = {
                "smallest": asked.count("shortest_edge"),
                "largest": asked.count("longest_edge"),
            }
            return replace(shapes, **bounds)
    return shapes


def _vision(asked: "_Fields", family: str, width: int) -> Vision:
    """The vision tower; defaults are transformers' own for the family."""
    if family == "qwen2_vl":
        own = asked.count("embed_dim", 1280)
        shared = _shared(asked, out=asked.count("hidden_size", width), norm=2)
        units = round(own * asked.number("mlp_ratio", 4))
        return Vision(asked.count("depth", 32, LAYERS), own, units, False, **shared)
    if family == "qwen2_5_vl":
        shared = _shared(asked, out=asked.count("out_hidden_size", width), norm=1)
        layers, patch = asked.count("depth", 32, LAYERS), shared["patch"]
        window = asked.count("window_size", 112) // patch // shared["merge"] * shared["merge"]
        whole = asked.listed("fullatt_block_indexes", (7, 15, 23, 31))
        shared |= {"window": window, "whole": min(whole, layers)} if whole < layers else {}
        return Vision(
            layers,
            asked.count("hidden_size", 1280),
            asked.count("intermediate_size", 3420),
            True,
            **shared,
        )
    if family == "qwen3_vl":
        shared = _shared(asked, out=asked.count("out_hidden_size", width), norm=2, patch=16)
        shared |= {"deep": asked.listed("deepstack_visual_indexes", (8, 16, 24))}
        shared |= {"places": asked.count("num_position_embeddings", 2304), "patch_bias": True}
        return Vision(
            asked.count("depth", 27, LAYERS),
            asked.count("hidden_size", 1152),
            asked.count("intermediate_size", 4304),
            False,
            **shared,
        )
    patch, side = asked.count("patch_size"), asked.count("image_size")
    return Vision(
        asked.count("num_hidden_layers", most=LAYERS),
        asked.count("hidden_size"),
        asked.count("intermediate_size"),
        gated=False,
        patch=patch,
        frames=1,
        channels=asked.count("num_channels", 3),
        merge=1,
        out=width,
        side=max(side, patch),
        places=(side // patch) ** 2 + 1,
        norm=2,
    )


def _shared(asked: "_Fields", *, out: int, norm: int, patch: int = 14) -> dict[str, Any]:
    """What Qwen's families have in common."""
    return {
        "patch": asked.count("patch_size", patch),
        "frames": asked.count("temporal_patch_size", 2),
        "channels": asked.count("in_channels", asked.count("in_chans", 3)),
        "merge": asked.count("spatial_merge_size", 2),
        "out": out,
        "norm": norm,
    }


class _Fields:
    """A section of a configuration, whose numbers are checked as they are read."""

    def __init__(self, section: Mapping[str, Any], where: str) -> None:
        self._section, self._where = section, where

    def count(self, key: str, default: int | None = None, most: int = MOST) -> int:
        value = self._section.get(key)
        value = default if value is None else value
        if value is None:
            raise DataError(f"{self._where}{key} is missing")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            raise DataError(
                f"{self._where}{key}: expected a whole number from 1 to {most:,}, "
                f"found {str(value)[:40]!r}"
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self._section.get(key, default)
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        if not fine or not (math.isfinite(value) and 0 < value <= MOST):
            raise DataError(
                f"{self._where}{key}: expected a positive number, found {str(value)[:40]!r}"
            )
        return value

    def listed(self, key: str, default: tuple[int, ...]) -> int:
        """How many numbers a list has."""
        value = self._section.get(key, default)
        if not isinstance(value, list | tuple):
            raise DataError(f"{self._where}{key}: expected a list, found {str(value)[:40]!r}")
        return len(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: no JSON: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: expected an object, found {type(config).__name__}")
    return config
