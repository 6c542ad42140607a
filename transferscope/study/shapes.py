"""A model's shapes from `config.json` alone: sizes of its layers, without loading weights.

Any model with a `vision_config` counts as a Llama-like language model behind a tower of transformer
layers. Norms, biases and position embeddings are left out: less than 0.5 % of a model's weights.
Families whose layers differ (`exact` is False) are estimates: Qwen3.5 has 9 % more weights, LFM2-VL
26 % fewer, and those that cut an image into tiles have more image tokens.

In:   a configuration as JSON, from a folder or the Hub.
Out:  a `Shapes`.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from transferscope.errors import DataError
from transferscope.tasks.untrusted import load_json, read_text

CONFIG = "config.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json")

_MERGES = ("spatial_merge_size", "scale_factor", "downsample_factor")
"""Where families say how many patches along an edge become one token."""

Count = Annotated[int, Field(gt=0, le=1 << 30)]
Layers = Annotated[int, Field(gt=0, le=10_000)]
Side = Annotated[Count, BeforeValidator(lambda side: side[0] if isinstance(side, list) else side)]
"""An edge in pixels; InternVL gives two equal ones."""


class MissingSize(DataError):
    """A configuration that leaves a size to its family's default."""


class VisionShapes(BaseModel, strict=True, frozen=True):
    """The vision tower and the merger or projector after it."""

    num_layers: Layers = Field(validation_alias=AliasChoices("depth", "num_hidden_layers"))
    # Qwen2-VL's `hidden_size` is the width behind the merger.
    hidden_size: Count = Field(validation_alias=AliasChoices("embed_dim", "hidden_size"))
    intermediate_size: Count | None = None
    mlp_ratio: Annotated[float, Field(gt=0, le=100)] = 4.0
    patch_size: Side
    """Pixels along an edge."""
    spatial_merge_size: Count = 1
    """Patches along the edge of an image token."""
    temporal_patch_size: Count = 1
    """Images per patch; a still image is repeated."""
    window_size: Count | None = None
    """Pixels along the edge of an attention window."""
    fullatt_block_indexes: list[int] | None = None
    """Layers without windows, in Qwen2.5-VL."""
    deepstack_visual_indexes: list[int] = []
    """Layers whose features are used in addition to the last layer's."""
    image_size: Side | None = None
    """Pixels along the edge of every image; None: an image keeps its size."""

    @property
    def layer_params(self) -> int:
        """Weights of all layers; Qwen2.5-VL's feed-forward block has three matrices, not two."""
        inner = self.intermediate_size or round(self.hidden_size * self.mlp_ratio)
        matrices = 2 if self.fullatt_block_indexes is None else 3
        return self.num_layers * self.hidden_size * (4 * self.hidden_size + matrices * inner)

    def attention_pairs(self, patches: int) -> int:
        """Pairs of patches that attend to each other, in all layers."""
        if self.fullatt_block_indexes is None or self.window_size is None:
            return self.num_layers * patches**2
        full, window = len(self.fullatt_block_indexes), (self.window_size // self.patch_size) ** 2
        return patches * (full * patches + (self.num_layers - full) * min(window, patches))


class Shapes(BaseModel, strict=True, frozen=True):
    """A vision-language model."""

    family: str
    """`model_type`."""
    hidden_size: Count
    num_layers: Layers = Field(validation_alias="num_hidden_layers")
    intermediate_size: Count
    num_heads: Count = Field(validation_alias="num_attention_heads")
    num_key_value_heads: Count | None = None
    size_of_head: Count | None = Field(None, validation_alias="head_dim")
    vocab_size: Count
    tied: bool
    """Whether the head shares the embedding's weights."""
    vision: VisionShapes = Field(validation_alias="vision_config")
    tokens_per_image: Count | None = None
    """None: one for each merged group of patches."""
    min_pixels: Count = 56 * 56
    """Smallest image after the processor; `max_pixels` the largest."""
    max_pixels: Count = 16384 * 28 * 28

    @property
    def exact(self) -> bool:
        """Whether the family is built as counted, and runs on a path of its own."""
        return self.family in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

    def image_tokens(self, rows: int, columns: int) -> int:
        """Tokens of an image with this many patches."""
        return self.tokens_per_image or rows * columns // self.vision.spatial_merge_size**2

    @property
    def head_dim(self) -> int:
        """Size of an attention head."""
        return self.size_of_head or max(1, self.hidden_size // self.num_heads)

    def linears(self) -> dict[str, tuple[int, int]]:
        """{name: (out, in)} of a layer's linear layers, in the order of the forward."""
        queries = self.num_heads * self.head_dim
        keys = (self.num_key_value_heads or self.num_heads) * self.head_dim
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

    @property
    def linear_params(self) -> int:
        """Weights in the linear layers of the language model, without the head."""
        return self.num_layers * sum(map(prod, self.linears().values()))

    def adapter_params(self, targets: tuple[str, ...], rank: int) -> int:
        """Parameters of one LoRA adapter: rank x (in + out) per adapted layer."""
        groups = {"all": ".", "attention": ".self_attn.", "mlp": ".mlp."}
        widths = [
            sum(shape)
            for name, shape in self.linears().items()
            if any(
                f".{name}".startswith(groups.get(target, "?")) or f".{name}".endswith(f".{target}")
                for target in targets
            )
        ]
        return self.num_layers * rank * sum(widths)

    @property
    def merger_params(self) -> int:
        """Weights between the tower and the language model."""
        joined = self.vision.hidden_size * self.vision.spatial_merge_size**2
        inner = self.hidden_size if self.vision.image_size else joined
        return (1 + len(self.vision.deepstack_visual_indexes)) * (
            joined * inner + inner * self.hidden_size
        )

    @property
    def num_params(self) -> int:
        """All weights, tied ones once."""
        tables = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        patch = 3 * self.vision.temporal_patch_size * self.vision.patch_size**2
        patch *= self.vision.hidden_size
        return tables + self.linear_params + patch + self.vision.layer_params + self.merger_params


def read_shapes(folder: Path) -> Shapes:
    """The shapes of the model in a folder, with the pixel limits of its processor.

    Raises:
        DataError: the folder has no configuration, or not a vision-language model's.
    """
    config = _read(folder / CONFIG)
    for path in (folder / name for name in PROCESSORS if (folder / name).is_file()):
        processor = _read(path)
        size = processor.get("image_processor", processor).get("size")
        if isinstance(size, dict) and {"shortest_edge", "longest_edge"} <= set(size):
            config |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
            break
    return parse_shapes(config, str(folder / CONFIG))


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
        MissingSize: a number is missing.
        DataError: it is no vision-language model's, or a number in it is invalid.
    """
    text = config.get("text_config", config)
    if not isinstance(config.get("vision_config"), dict) or not isinstance(text, dict):
        raise DataError(f"{where}: must be a vision-language model's, but has no vision_config")
    if any("experts" in key and value for key, value in text.items()):
        raise DataError(f"{where}: a mixture of experts, whose FLOPs do not follow from its shapes")
    family = str(config.get("model_type", "unknown"))
    known = {"min_pixels": 1 << 16, "max_pixels": 1 << 24} if family == "qwen3_vl" else {}
    known |= {key: config[key] for key in ("min_pixels", "max_pixels") if key in config}
    merge = next((config[name] for name in _MERGES if config.get(name)), 1)
    vision = {"spatial_merge_size": merge, **config["vision_config"]}
    if "depth" in vision:  # as in Qwen's towers, an image keeps its size
        vision.pop("image_size", None)
    if family != "qwen2_5_vl":  # converted Qwen3-VL checkpoints keep the key, which means nothing
        vision.pop("fullatt_block_indexes", None)
    tokens = config.get("image_seq_length") or config.get("mm_tokens_per_image")
    known |= {"family": family, "vision_config": vision, "tokens_per_image": tokens}
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    try:
        return Shapes.model_validate({**text, **known, "tied": tied})
    except ValidationError as error:
        first = error.errors()[0]
        place, value = ".".join(map(str, first["loc"])), str(first["input"])[:40]
        if first["type"] == "missing":
            raise MissingSize(f"{where}: {place} is missing") from None
        raise DataError(f"{where}: {place}: {first['msg']}, got {value!r}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        config = load_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: must be a JSON object, got {type(config).__name__}")
    return config
