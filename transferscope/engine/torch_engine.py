"""The `Engine` of this package: a module whose functions implement the protocol."""

from transferscope.engine.adapter import load_adapter, save_adapter, scaled
from transferscope.engine.base_model import load_base
from transferscope.engine.checkpoint import check_checkpoint, load_checkpoint
from transferscope.engine.peft_training import check_recipe as check_training
from transferscope.engine.peft_training import train_adapters as train_fleet
from transferscope.engine.score import score_fleet

__all__ = [
    "check_checkpoint",
    "check_training",
    "load_adapter",
    "load_base",
    "load_checkpoint",
    "save_adapter",
    "scaled",
    "score_fleet",
    "train_fleet",
]
