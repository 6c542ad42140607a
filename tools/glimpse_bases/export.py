"""Write a base as the folder that is shipped, with the checksums of all files."""

import copy
import json
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.engine.glimpse.shipped import CHECKSUMS, read_checksums
from transferscope.store import checksum
from transferscope.store.atomic import write_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


def save_base(model: "PreTrainedModel", processor: "ProcessorMixin", folder: Path) -> Path:
    """Write a base as a folder, whole or not at all, and the checksums beside it.

    Args:
        model: is not changed; a copy is written in float16.
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
            path.chmod(0o644)  # safetensors writes files that only the user may read
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    sums = read_checksums(folder.parent)
    sums[folder.name] = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    text = json.dumps(dict(sorted(sums.items())), indent=1) + "\n"
    write_whole(folder.parent / CHECKSUMS, text.encode())
    return folder
