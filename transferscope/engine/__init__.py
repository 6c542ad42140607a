"""What trains and scores: base models, LoRA fleets, vision features.

    base_model      load a base; `processors`, `devices`, `families` help
    forward_paths   items as token rows, and which path runs a base: `qwen_path`, `glimpse`,
                    or `reference_path`, which runs any model
    linears, lora   the adapted layers, and many adapters beside each of them
    train, score    many adapters over one base; `generation` writes their replies, `reply_tokens`
                    has the tokens that they are trained on
    adapter         PEFT files; `checkpoint` for finetuned models in full
    peft_layers, peft_training
                    PEFT's own layers and whole models, one at a time, for what a fleet cannot run
    bases           the models of a study; `memory` and `profiling` measure
    records         what execution passes in and gets back

`Engine` is the seam between this package and `execution`. This module needs no torch.
"""

from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast

from transferscope.engine.records import (
    CacheLimits,
    Precision,
    Prediction,
    Progress,
    Quantization,
    Scoring,
    TrainingJob,
)
from transferscope.errors import MissingExtra
from transferscope.study import FullRecipe
from transferscope.tasks import Item

if TYPE_CHECKING:
    from transferscope.engine.adapter import Adapter
    from transferscope.engine.base_model import Base


class Engine(Protocol):
    """What execution needs from what trains and scores; `load_engine` returns the real one."""

    def load_base(
        self,
        where: str | Path,
        *,
        name: str = "",
        precision: Precision = "float32",
        quantization: Quantization | None = None,
        gpus: int = 1,
        trust_remote_code: bool = False,
        max_pixels: int | None = None,
        cache_limits: CacheLimits = ...,
        thinking: bool = False,
    ) -> "Base":
        """A base from disk or from the Hub; see `base_model.load_base`."""
        ...

    def check_training(self, base: "Base", recipe: FullRecipe) -> str:
        """Refuse a base that a recipe cannot train; returns which layers are adapted."""
        ...

    def train_fleet(
        self,
        base: "Base",
        jobs: Sequence[TrainingJob],
        recipe: FullRecipe,
        *,
        rows: int | None = None,
        progress: Progress | None = None,
        snapshots: Collection[int] = (),
    ) -> "Iterator[dict[int, Adapter]]":
        """An adapter for each job, as soon as it is trained; see `train.train_fleet`."""
        ...

    def score_fleet(
        self,
        base: "Base",
        adapters: "Sequence[Adapter | None]",
        items: Sequence[Item],
        *,
        scoring: Scoring = "letters",
        reply_tokens: int | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> list[list[Prediction]]:
        """Each adapter's answers, None for the base itself; see `score.score_fleet`."""
        ...

    def scaled(self, adapter: "Adapter", strength: float) -> "Adapter":
        """An adapter with another strength; see `adapter.scaled`."""
        ...

    def save_adapter(self, adapter: "Adapter", folder: Path) -> Path:
        """Write an adapter in PEFT's format."""
        ...

    def load_adapter(self, base: "Base", folder: Path) -> "Adapter":
        """Read an adapter in PEFT's format."""
        ...

    def check_checkpoint(self, base: "Base", folder: Path) -> None:
        """Refuse a finetuned model of another base, without reading weights."""
        ...

    def load_checkpoint(self, base: "Base", folder: Path) -> "Base":
        """A finetuned model with the processor of its base."""
        ...


def check_installed() -> None:
    """Raise a MissingExtra unless torch, transformers and peft are installed; imports none."""
    for name in ("torch", "transformers", "peft"):
        if find_spec(name) is None:
            raise MissingExtra(
                f"training needs {name}; install the extra: pip install 'transferscope[train]'"
            )


def load_engine() -> Engine:
    """The engine that trains and scores with torch.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
    """
    check_installed()
    from transferscope.engine import adapter, base_model, checkpoint, peft_training, score

    found = SimpleNamespace(
        load_base=base_model.load_base,
        check_training=peft_training.check_recipe,
        train_fleet=peft_training.train_adapters,
        score_fleet=score.score_fleet,
        scaled=adapter.scaled,
        save_adapter=adapter.save_adapter,
        load_adapter=adapter.load_adapter,
        check_checkpoint=checkpoint.check_checkpoint,
        load_checkpoint=checkpoint.load_checkpoint,
    )
    return cast(Engine, found)
