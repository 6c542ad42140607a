"""Load a base: a vision-language model, frozen, with its processor.

In:   the name of an embedded base, a local folder, or a hub id.
Out:  a `Base`, which everything else in the lab takes.

Weights are read from safetensors alone; code that comes with a model runs only where asked for.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from transferscope.engine.devices import fix_products
from transferscope.engine.glimpse.shipped import folder as embedded_folder
from transferscope.engine.processors import first_line, limit_pixels, load_processor
from transferscope.engine.quantized import check_installed, keep_layout, nf4
from transferscope.engine.split import spread
from transferscope.engine.thinking import set_thinking
from transferscope.engine.vision import Budget
from transferscope.errors import DataError, StudyError

Precision = Literal["float32", "bfloat16"]
Quantization = Literal["nf4"]

BUDGET = Budget()

KEPT = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""The files of a model's folder that a base is made of."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, eq=False)
class Base:
    """A vision-language model before finetuning; nothing in it ever requires gradients."""

    name: str
    """What a study calls it."""
    model: Any
    """The transformers model, in evaluation mode."""
    processor: Any
    """Its processor, with a chat template."""
    weights_hash: str
    """SHA-256 over all that its answers come from; see `weights_hash`."""
    max_pixels: int | None = None
    """Most pixels of a picture after resizing; None: as the processor comes."""
    budget: Budget = BUDGET
    """Room for vision features."""
    thinking: bool = False
    """Whether the model may think before it answers, where its chat template has a switch."""
    paths: dict[str, Any] = field(default_factory=dict, repr=False)
    """The forward paths in use, with the vision features that they have computed."""

    def cache_name(self, path: str) -> str:
        """A folder's name for the vision features of a forward path: all that they depend on."""
        pixels = self.max_pixels or "all"
        made = type(self.processor.image_processor).__name__  # PIL and torchvision differ a little
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.weights_hash[:20]}-{path}-{made}-{pixels}-{dtype}"

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type; of those that are quantised, what they are brought back to."""
        return self.model.dtype

    @property
    def quantization(self) -> Quantization | None:
        """How the language model's linear layers are stored; None: as `dtype` says."""
        return "nf4" if getattr(self.model, "is_loaded_in_4bit", False) else None

    @property
    def mergeable(self) -> bool:
        """Whether an adapter may be added to the weights: in fewer bits it would be rounded."""
        return self.dtype != torch.bfloat16 and self.quantization is None


def load_base(
    where: str | Path,
    *,
    name: str = "",
    precision: Precision = "float32",
    quantization: Quantization | None = None,
    device: str | None = None,
    gpus: int = 1,
    trust_remote_code: bool = False,
    max_pixels: int | None = None,
    budget: Budget = BUDGET,
    thinking: bool = False,
) -> Base:
    """A base from disk or from the hub.

    Args:
        where: the name of an embedded base, a folder, or a hub id such as `Qwen/Qwen2.5-VL-3B`.
        name: what to call it; else the last part of `where`.
        quantization: how to store the language model's linear layers; None: as `precision` says.
        device: where to put it; else the GPU if there is one.
        gpus: over how many to spread its layers, where there are any.
        max_pixels: most pixels of a picture after resizing; else as the processor says.
        budget: room for vision features.
        thinking: whether it may think before it answers, where its chat template has a switch.

    Raises:
        StudyError: there is no such base, folder or hub id, fewer GPUs than `gpus`, or too little
            memory on them.
        DataError: the folder's files are damaged or not what transformers wants.
        MissingExtra: the processor or the quantization needs a library that is not installed.
    """
    fix_products()
    if quantization is not None:
        check_installed()
    folder = _folder(where, trust_remote_code)
    try:
        model, _ = load_model(
            folder,
            getattr(torch, precision),
            _devices(device, gpus),
            quantization=quantization,
            trust_remote_code=trust_remote_code,
        )
    except torch.OutOfMemoryError:
        raise StudyError(
            f"{folder}: the weights do not fit into the GPU's memory; `transferscope plan` says "
            "what would"
        ) from None
    # Once a large block was freed, glibc keeps activations' memory instead of asking for it again.
    bytes(31 << 20)
    processor = load_processor(folder, trust_remote_code)
    return make_base(
        model,
        processor,
        name=name or Path(where).name,
        weights_hash=weights_hash(folder, set_thinking(processor, thinking)),
        max_pixels=max_pixels,
        budget=budget,
        thinking=thinking,
    )


def _devices(device: str | None, gpus: int) -> list[torch.device]:
    """Where a base is to lie."""
    if device is not None or not torch.cuda.is_available():
        return [torch.device(device or "cpu")]
    if gpus > torch.cuda.device_count():
        raise StudyError(f"gpus: {gpus}: this process sees {torch.cuda.device_count()}")
    return [torch.device("cuda", index) for index in range(gpus)]


def make_base(
    model: Any,
    processor: Any,
    *,
    name: str,
    weights_hash: str = "",
    max_pixels: int | None = None,
    budget: Budget = BUDGET,
    thinking: bool = False,
) -> Base:
    """A base from a model and a processor in memory; both are changed to fit.

    Args:
        weights_hash: else SHA-256 over the weights in memory.
    """
    model.requires_grad_(False).eval()
    if max_pixels is not None:
        limit_pixels(model.config, processor, max_pixels)
    if not weights_hash:
        content = hashlib.sha256()
        for key, tensor in sorted(model.state_dict().items()):
            content.update(key.encode())
            content.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        weights_hash = content.hexdigest()
    return Base(name, model, processor, weights_hash, max_pixels, budget, thinking)


def weights_hash(folder: Path, switched: str = "") -> str:
    """SHA-256 over a folder's weights, and over what else decides how they answer: its
    configuration, tokenizer, processor and chat template, file by file in the order of their names.

    Args:
        switched: what is put in front of the chat template.
    """
    content = hashlib.sha256()
    for path in sorted({path for pattern in KEPT for path in folder.glob(pattern)}):
        content.update(path.name.encode())
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    content.update(switched.encode())
    return content.hexdigest()


def _folder(where: str | Path, trust_remote_code: bool) -> Path:
    """The local folder of a base; what lies on the hub is brought here."""
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
            "a folder, or a hub id such as 'Qwen/Qwen2.5-VL-3B-Instruct'"
        )
    return _fetched(text, trust_remote_code)


def _fetched(hub_id: str, trust_remote_code: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    kept = [*KEPT, "*.py"] if trust_remote_code else [*KEPT]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=kept))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StudyError(
            f"{hub_id}: neither a folder here nor on the hub: {first_line(error)}"
        ) from None


def load_model(
    folder: Path,
    dtype: torch.dtype,
    devices: Sequence[torch.device],
    *,
    quantization: Quantization | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, list[str]]:
    """A folder's model on some devices, and the weights in the folder that it has no use for.

    Args:
        devices: where it is to lie; on "meta", no weight is read.

    Raises:
        DataError: the files are damaged, lack weights, or hold an adapter.
        torch.OutOfMemoryError: of a GPU.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    _refuse_adapter(folder)
    meta = devices[0].type == "meta"
    how: dict[str, Any] = {"device_map": {"": devices[0]}} if meta else {}
    try:
        if quantization is not None:  # quantised where it will lie, weight by weight
            how = {"quantization_config": nf4(folder, dtype, trust_remote_code=trust_remote_code)}
            how["device_map"] = {"": devices[0]}
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **how,
        )
    except torch.OutOfMemoryError:
        raise
    except (
        *(OSError, ValueError, KeyError, RuntimeError),
        *(SafetensorError, StrictDataclassError),
    ) as error:
        raise DataError(f"{folder}: not a vision-language model: {first_line(error)}") from None
    model, found = loaded
    for name, theirs, its in sorted(found["mismatched_keys"]):
        raise DataError(
            f"{folder}: weight {name} is {list(theirs)}, its configuration wants {list(its)}"
        )
    if found["missing_keys"]:  # transformers would fill them with random numbers
        missing = sorted(found["missing_keys"])
        raise DataError(f"{folder}: {len(missing)} weights are missing, the first {missing[0]}")
    if quantization is not None:
        keep_layout(model)
    if len(devices) > 1:
        spread(model, devices)
    elif quantization is None:
        model.to(devices[0])
    return model, sorted(found["unexpected_keys"])


def _refuse_adapter(folder: Path) -> None:
    """Refuse an adapter, alone or beside weights, which transformers would put it onto.

    Raises:
        DataError: there is one.
    """
    if (folder / "adapter_config.json").is_file():
        raise DataError(
            f"{folder}: adapter_config.json: an adapter is no base, and none lies beside one; "
            "merge it into a checkpoint, or name its folder among the study's adapters"
        )
