"""What trains and scores: base models, LoRA fleets, vision features. This module needs no torch.

base_model      load a base; `processors`, `devices`, `families` help
forward_paths   items as token rows, and which path runs a base: `qwen_path`, `glimpse`,
                or `reference_path`, which runs any model
linears, lora   the adapted layers, and many adapters beside each of them
train, score    many adapters over one base
adapter         PEFT files; `checkpoint` for finetuned models in full
bases           the models of a study; `memory` and `profiling` measure
records         what execution passes in and gets back
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.engine.records import Prediction
from transferscope.errors import MissingExtra
from transferscope.study import FullRecipe

if TYPE_CHECKING:
    from transferscope.engine.adapter import Adapter
    from transferscope.engine.base_model import Base


@dataclass(frozen=True)
class Engine:
    """The functions that execution calls; `load_engine` returns those that use torch."""

    load_base: Callable[..., "Base"]
    """A base from disk or from the Hub; see `base_model.load_base`."""
    check_training: Callable[["Base", FullRecipe], str]
    """Refuse a base that a recipe cannot train; returns which layers are adapted."""
    train_fleet: Callable[..., "list[Adapter]"]
    """An adapter for each job; see `train.train_fleet`."""
    score_fleet: Callable[..., list[list[Prediction]]]
    """Each adapter's answers, None for the base itself; see `score.score_fleet`."""
    save_adapter: Callable[["Adapter", Path], Path]
    load_adapter: Callable[["Base", Path], "Adapter"]
    check_checkpoint: Callable[["Base", Path], None]
    """Refuse a finetuned model of another base, without reading weights."""
    load_checkpoint: Callable[["Base", Path], "Base"]
    """A finetuned model with the processor of its base."""


def load_engine() -> Engine:
    """The engine that trains and scores with torch.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
    """
    try:
        import torch  # noqa: F401 - before transformers, which warns if torch is missing
        from transformers.utils import logging

        from transferscope.engine.adapter import load_adapter, save_adapter
        from transferscope.engine.base_model import load_base
        from transferscope.engine.checkpoint import check_checkpoint, load_checkpoint
        from transferscope.engine.score import score_fleet
        from transferscope.engine.train import check_training, train_fleet
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("transferscope"):
            raise
        raise MissingExtra(
            f"training needs {error.name}; install the extra: pip install 'transferscope[train]'"
        ) from None
    logging.set_verbosity_error()  # transformers' bars and warnings would break up our progress
    logging.disable_progress_bar()
    return Engine(
        load_base=load_base,
        check_training=check_training,
        train_fleet=train_fleet,
        score_fleet=score_fleet,
        save_adapter=save_adapter,
        load_adapter=load_adapter,
        check_checkpoint=check_checkpoint,
        load_checkpoint=load_checkpoint,
    )
