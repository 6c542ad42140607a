"""Load a base: a vision-language model, frozen, with its processor.

In:   the name of an embedded base, a local folder, or a hub id.
Out:  a `Base`, which everything else in the lab takes.

Weights are read from safetensors alone; code that comes with a model runs only where asked for.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.models.eyes import Budget
from transferscope.models.glimpse.base import folder as embedded_folder

Precision = Literal["float32", "bfloat16"]

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
    paths: dict[str, Any] = field(default_factory=dict, repr=False)
    """The forward paths in use, with the vision features that they have computed."""

    def cache_name(self, path: str) -> str:
        """A folder's name for the vision features of a forward path: all that they depend on."""
        pixels = self.max_pixels or "all"
        return f"{self.weights_hash[:20]}-{path}-{pixels}-{str(self.dtype).removeprefix('torch.')}"

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type."""
        return self.model.dtype


def load_base(
    where: str | Path,
    *,
    name: str = "",
    precision: Precision = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
    max_pixels: int | None = None,
    budget: Budget = BUDGET,
) -> Base:
    """A base from disk or from the hub.

    Args:
        where: the name of an embedded base, a folder, or a hub id such as `Qwen/Qwen2.5-VL-3B`.
        name: what to call it; else the last part of `where`.
        device: where to put it; else the GPU if there is one.
        max_pixels: most pixels of a picture after resizing; else as the processor says.
        budget: room for vision features.

    Raises:
        StudyError: there is no such base, folder or hub id.
        DataError: the folder's files are damaged or not what transformers wants.
        MissingExtra: the processor needs a library that is not installed.
    """
    folder = _folder(where, trust_remote_code)
    model = _model(folder, precision, trust_remote_code)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # Once a large block was freed, glibc keeps activations' memory instead of asking for it again.
    bytes(31 << 20)
    return make_base(
        model.to(place),
        _processor(folder, trust_remote_code),
        name=name or Path(where).name,
        weights_hash=weights_hash(folder),
        max_pixels=max_pixels,
        budget=budget,
    )


def make_base(
    model: Any,
    processor: Any,
    *,
    name: str,
    weights_hash: str = "",
    max_pixels: int | None = None,
    budget: Budget = BUDGET,
) -> Base:
    """A base from a model and a processor in memory; both are changed to fit.

    Args:
        weights_hash: else SHA-256 over the weights in memory.
    """
    model.requires_grad_(False).eval()
    if max_pixels is not None:
        _limit_pixels(processor, max_pixels)
    if not weights_hash:
        content = hashlib.sha256()
        for key, tensor in sorted(model.state_dict().items()):
            content.update(key.encode())
            content.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        weights_hash = content.hexdigest()
    return Base(name, model, processor, weights_hash, max_pixels, budget)


def weights_hash(folder: Path) -> str:
    """SHA-256 over a folder's weights, and over what else decides how they answer: its
    configuration, tokenizer, processor and chat template, file by file in the order of their names.
    """
    content = hashlib.sha256()
    for path in sorted({path for pattern in KEPT for path in folder.glob(pattern)}):
        content.update(path.name.encode())
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
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
            f"{hub_id}: neither a folder here nor on the hub: {_line(error)}"
        ) from None


def _model(folder: Path, precision: Precision, trust_remote_code: bool) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=getattr(torch, precision),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: not a vision-language model: {_line(error)}") from None
    model, found = loaded
    if found["missing_keys"]:  # transformers would fill them with random numbers
        missing = sorted(found["missing_keys"])
        raise DataError(f"{folder}: {len(missing)} weights are missing, the first {missing[0]}")
    return model


def _processor(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except ImportError as error:
        raise MissingExtra(f"{folder}: its processor needs a library: {_line(error)}") from None
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: no processor: {_line(error)}") from None
    if not getattr(processor, "chat_template", None):
        raise DataError(f"{folder}: its processor has no chat template")
    return processor


def _limit_pixels(processor: Any, most: int) -> None:
    size = dict(getattr(processor.image_processor, "size", None) or {})
    if "longest_edge" not in size or "shortest_edge" not in size:
        raise StudyError(
            f"max_pixels: {type(processor.image_processor).__name__} has no limit of pixels"
        )
    smallest = min(size["shortest_edge"], most)
    processor.image_processor.size = {"shortest_edge": smallest, "longest_edge": most}


def _line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
