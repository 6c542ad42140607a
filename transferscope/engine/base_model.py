"""Load a base: a vision-language model, frozen, with its processor.

Weights are read from safetensors only; code in a model's repository runs only on request. A base
can be quantized to bitsandbytes' NF4, as QLoRA stores it: the weights of the language model's
linear layers, with doubly quantized constants. Everything else (vision tower, embedding, head,
norms) keeps the base's precision, so vision features do not change.
"""

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transferscope.engine import processors
from transferscope.engine.devices import fix_matmul_order, spread_layers
from transferscope.engine.families import family_of
from transferscope.engine.glimpse.shipped import WEIGHTS
from transferscope.engine.glimpse.shipped import folder as embedded_folder
from transferscope.engine.glimpse.small_model import SmallModel, SmallProcessor
from transferscope.engine.linears import language_linears
from transferscope.engine.processors import first_line
from transferscope.engine.records import CacheLimits, Precision, Quantization
from transferscope.errors import DataError, MissingExtra, StudyError

DEFAULT_LIMITS = CacheLimits()

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""The files of a model's folder that can change its answers."""

SDPA = "scaled_dot_product_attention"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, eq=False)
class Base:
    """A vision-language model before finetuning.

    Model and processor are changed: evaluation mode, no gradients, images of `max_pixels`.
    """

    name: str
    """The model's name in a study."""
    model: Any
    processor: Any
    """With a chat template."""
    weights_hash: str
    """SHA-256 over all files that answers depend on; see `hash_folder`."""
    max_pixels: int | None = None
    """Most pixels of an image after resizing; None: the processor's limit."""
    cache_limits: CacheLimits = DEFAULT_LIMITS
    """Memory and disk for vision features."""
    thinking: bool = False
    """Whether the model may think before it answers, if its chat template has a switch."""
    plain: bool = False
    """Whether only the reference path runs it, as with layers that other paths do not know."""
    paths: dict[str, Any] = field(default_factory=dict, repr=False)
    """The forward paths in use, by family name, with the vision features that they computed."""

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()
        if self.max_pixels is not None:
            processors.limit_pixels(self.model.config, self.processor, self.max_pixels)

    @cached_property
    def complete(self) -> "Base":
        """This base with transformers' model and processor, which an embedded one has only here."""
        if not isinstance(self.model, SmallModel):
            return self
        model, _ = load_model(self.model.folder, self.dtype, [self.device])
        processor = processors.load_processor(self.model.folder)
        return replace(self, model=model, processor=processor, paths={})

    def cache_name(self, path: str) -> str:
        """A folder name for a forward path's vision features: everything that they depend on."""
        pixels = self.max_pixels or "all"
        # PIL and torchvision resize images a little differently.
        made = type(self.processor.image_processor).__name__
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.weights_hash[:20]}-{path}-{made}-{pixels}-{dtype}"

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights; of quantized ones, the type they are dequantized to."""
        return self.model.dtype

    @property
    def quantization(self) -> Quantization | None:
        """How the language model's linear layers are stored; None: in `dtype`."""
        return "nf4" if getattr(self.model, "is_loaded_in_4bit", False) else None

    @property
    def mergeable(self) -> bool:
        """Whether an adapter may be added to the weights: 16 bits or fewer would round it."""
        return self.dtype != torch.bfloat16 and self.quantization is None


def load_base(
    where: str | Path,
    *,
    name: str = "",
    precision: Precision = "float32",
    quantization: Quantization | None = None,
    gpus: int = 1,
    trust_remote_code: bool = False,
    max_pixels: int | None = None,
    cache_limits: CacheLimits = DEFAULT_LIMITS,
    thinking: bool = False,
) -> Base:
    """A base from disk or from the Hub.

    Args:
        where: the name of an embedded base, a folder, or a Hub id such as `Qwen/Qwen2.5-VL-3B`.
        name: by default the last part of `where`.
        quantization: how to store the language model's linear layers; None: in `precision`.
        gpus: number of GPUs to spread the layers over, if there are any.

    Raises:
        StudyError: there is no such base, fewer GPUs than `gpus`, or too little memory on them.
        DataError: the folder's files are damaged or not what transformers expects.
        MissingExtra: the processor or the quantization needs a library that is not installed.
    """
    fix_matmul_order()
    if quantization is not None and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra(
            "quantization needs bitsandbytes; install the extra: pip install 'transferscope[quant]'"
        )
    folder, devices = base_folder(where, trust_remote_code), [torch.device("cpu")]
    if torch.cuda.is_available():
        if gpus > torch.cuda.device_count():
            raise StudyError(f"gpus: must be at most {torch.cuda.device_count()}, got {gpus}")
        devices = [torch.device("cuda", index) for index in range(gpus)]
    dtype = getattr(torch, precision)
    small = folder.parent == WEIGHTS and not (quantization or max_pixels or len(devices) > 1)
    try:
        if small:
            model: Any = SmallModel(folder, dtype).to(devices[0])
        else:
            model, _ = load_model(folder, dtype, devices, quantization, trust_remote_code)
    except torch.OutOfMemoryError:
        raise StudyError(
            f"{folder}: the weights do not fit on the GPU; `transferscope plan` shows what would"
        ) from None
    # Once a large block was freed, glibc reuses activations' memory instead of returning it.
    bytes(31 << 20)
    if small:
        processor: Any = SmallProcessor(folder)
    else:
        processor = processors.load_processor(folder, trust_remote_code)
    switches = family_of(model.config).thinking_switches
    weights_hash = hash_folder(folder, processors.set_thinking(processor, thinking, switches))
    name = name or Path(where).name
    return Base(name, model, processor, weights_hash, max_pixels, cache_limits, thinking)


def refuse_open_block(base: Base, what: str) -> None:
    """Raise a StudyError if prompts end inside an open thinking block, where `what` holds."""
    remedy = "its chat template has no switch that closes it, such as enable_thinking"
    if base.thinking:
        remedy = "set thinking: false for this model"
    if tag := processors.open_block(processors.prompt_end(base.processor)):
        where = f"prompts end inside an open thinking block ({tag}), where {what}"
        raise StudyError(f"{base.name}: {where}; {remedy}")


def hash_folder(folder: Path, template_prefix: str = "") -> str:
    """SHA-256 over `MODEL_FILES` by name, and a text put in front of the chat template."""
    content = hashlib.sha256()
    for path in model_files(folder):
        content.update(path.name.encode())
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    content.update(template_prefix.encode())
    return content.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """A folder's `MODEL_FILES`, by name."""
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})


def base_folder(where: str | Path, trust_remote_code: bool) -> Path:
    """The local folder of a base; a model on the Hub is downloaded."""
    text, path = str(where), Path(where)
    if path.is_dir():
        if not any(path.glob("*.safetensors")):
            raise DataError(f"{path}: no *.safetensors; other weight files are never read")
        return path
    if text.startswith("glimpse"):
        return embedded_folder(text)
    if isinstance(where, Path) or not _HUB_ID.fullmatch(text):
        raise StudyError(
            f"{where}: no such folder; a base is an embedded name such as 'glimpse-m', "
            "a folder, or a Hub id such as 'Qwen/Qwen2.5-VL-3B-Instruct'"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [*MODEL_FILES, "*.py"] if trust_remote_code else [*MODEL_FILES]
    try:
        return Path(snapshot_download(text, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StudyError(
            f"{text}: no such folder, and could not be downloaded from the Hub: {first_line(error)}"
        ) from None


def load_model(
    folder: Path,
    dtype: torch.dtype,
    devices: Sequence[torch.device],
    quantization: Quantization | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, list[str]]:
    """A folder's model on some devices, "meta" for none, and names of weights that it lacks.

    Raises:
        DataError: the files are damaged, lack weights, are an adapter, or need another attention.
        torch.OutOfMemoryError: on a GPU.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    _quiet()
    # transformers would apply an adapter beside the weights, without a message.
    if (folder / "adapter_config.json").is_file():
        raise DataError(
            f"{folder}: adapter_config.json: this folder holds a LoRA adapter, not a base model; "
            "merge it into a checkpoint, or list its folder among the study's adapters"
        )
    damaged = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)
    meta = devices[0].type == "meta"
    options: dict[str, Any] = {"device_map": {"": devices[0]}} if meta else {}
    try:
        if quantization is not None:  # each weight is quantized on its device as it is read
            config = _nf4_config(folder, dtype, trust_remote_code)
            options = {"quantization_config": config, "device_map": {"": devices[0]}}
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below with a better message
            **options,
        )
    except torch.OutOfMemoryError:
        raise
    except damaged as error:
        raise DataError(f"{folder}: {_reason(error)}") from None
    model, info = loaded
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise DataError(
            f"{folder}: weight {name} must be {list(expected)} by the configuration, "
            f"got {list(found)}"
        )
    if missing := sorted(info["missing_keys"]):  # transformers would draw random ones
        raise DataError(f"{folder}: {len(missing)} weights are missing, the first {missing[0]}")
    if quantization is not None:
        keep_layout(model)
    if len(devices) > 1:
        spread_layers(model, devices)
    elif quantization is None:
        model.to(devices[0])
    return model, sorted(info["unexpected_keys"])


def _reason(error: Exception) -> str:
    """Why transformers did not load a model."""
    line = first_line(error)
    if SDPA in line:  # transformers goes on to recommend another attention
        name, _, _ = line.partition(" ")
        return f"{name} cannot use torch's {SDPA}, the only attention that a base is run with"
    return f"cannot be loaded as a vision-language model: {line}"


def _quiet() -> None:
    """Silence transformers, whose bars and warnings would break up our progress."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _nf4_config(folder: Path, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """transformers' configuration to load a folder's model in NF4, with products in `dtype`."""
    from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
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
    """Stop bitsandbytes on a CPU from repacking weights, which a later backward would misread."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False
