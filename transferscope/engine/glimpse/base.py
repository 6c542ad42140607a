"""The shipped bases: where they lie, whether they are whole, and how they are written.

A base is a folder as transformers writes it (weights in float16, configuration, tokenizer,
processor). `checksums.json` beside the folders holds the SHA-256 of every file.
"""

import copy
import hashlib
import json
import shutil
import uuid
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.errors import DataError, StudyError
from transferscope.store.atomic import write_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

NAMES = ("glimpse-s", "glimpse-m", "glimpse-l")
"""The bases, smallest first."""

WEIGHTS = Path(__file__).with_name("weights")
CHECKSUMS = "checksums.json"


def folder(name: str, weights: Path = WEIGHTS) -> Path:
    """The folder of a shipped base, with every file as it was shipped.

    Raises:
        StudyError: there is no base of that name.
        DataError: a file is missing or differs.
    """
    if name not in NAMES:
        near = get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"unknown base {name!r}; {hint}known: {', '.join(NAMES)}")
    sums = _checksums(weights).get(name)
    if not sums:
        raise DataError(f"{weights / name}: not in {CHECKSUMS}; reinstall transferscope")
    for file, expected in sums.items():
        path = weights / name / file
        found = _sha256(path) if path.is_file() else "no file"
        if found != expected:
            raise DataError(
                f"{path}: expected SHA-256 {expected[:12]}…, found {found[:12]}"
                f"{'…' if len(found) > 12 else ''}; reinstall transferscope"
            )
    return weights / name


def save_base(model: "PreTrainedModel", processor: "ProcessorMixin", folder: Path) -> Path:
    """Write a base as a folder, whole or not at all, and its checksums beside it.

    Args:
        model: stays as it is; a copy is written in float16.
    """
    import torch

    half = copy.deepcopy(model).half()
    for config in (half.config, half.config.text_config, half.config.vision_config):
        config.dtype = torch.float16
        config._name_or_path = ""  # would name a folder of this machine
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    new, old = folder.with_name(f".new-{mark}"), folder.with_name(f".old-{mark}")
    try:
        half.save_pretrained(new)
        processor.save_pretrained(new)
        for path in new.iterdir():
            path.chmod(0o644)  # safetensors leaves files that only their owner may read
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    sums = _checksums(folder.parent)
    sums[folder.name] = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    text = json.dumps(dict(sorted(sums.items())), indent=1) + "\n"
    write_whole(folder.parent / CHECKSUMS, text.encode())
    return folder


def _checksums(weights: Path) -> dict[str, dict[str, str]]:
    path = weights / CHECKSUMS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
