"""Which layers of a base a recipe adapts, from its configuration alone.

In:   a folder or a hub id, and a recipe's targets.
Out:  a note, and how many parameters there are. No weight is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from transferscope.engine.linears import not_adapted
from transferscope.engine.processors import first_line
from transferscope.errors import DataError


class Layers(NamedTuple):
    """A model's layers under a recipe."""

    note: str
    """What is adapted, what is not, and why."""
    parameters: int
    """Of the whole model."""


def layers_of(where: str, targets: Sequence[str], trust_remote_code: bool = False) -> Layers:
    """Which of a model's layers are adapted.

    Raises:
        DataError: its configuration cannot be had, or is of no model that transformers knows.
        StudyError: a target names no layer, or experts.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    local = not Path(where).is_dir()  # of a hub's model, what `plan` has brought already
    try:
        config = AutoConfig.from_pretrained(
            where, trust_remote_code=trust_remote_code, local_files_only=local
        )
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(
                config, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # of whichever of a family's own modules
        raise DataError(f"{where}: {first_line(error)}") from None
    return Layers(not_adapted(model, targets), model.num_parameters())
