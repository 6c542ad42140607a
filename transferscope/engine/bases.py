"""The bases that a study names, and what it brings of them from elsewhere.

Brought are adapters (PEFT folders) and whole models (merged with an adapter, or finetuned in full).
"""

from pathlib import Path
from typing import Any

from transferscope import store as results
from transferscope.engine import Lab
from transferscope.errors import StudyError
from transferscope.study import Study
from transferscope.study.file import EXTERNAL_FILES
from transferscope.study.plan import Run

GIB = 1 << 30


def open_base(study: Study, lab: Lab, name: str, out: Path) -> Any:
    """A base of the study, by its name there.

    Args:
        out: the results folder, which vision features may be kept in.
    """
    model, recipe, budget = study.models[name], study.recipe_of(name), study.budget
    room = Path(budget.cache) if budget.cache else out / results.FEATURES
    return lab.load_base(
        model.where,
        name=name,
        precision=recipe.precision,
        quantization=model.quantization,
        gpus=max(1, int(model.gpus)),
        trust_remote_code=model.trust_remote_code,
        max_pixels=recipe.max_pixels,
        budget=lab.Budget(int(budget.memory * GIB), room, int(budget.disk * GIB)),
        thinking=model.thinking,
    )


def check_places(study: Study) -> None:
    """Refuse a model that is nowhere before the first one is loaded.

    Raises:
        StudyError: naming it.
    """
    from transferscope.engine.glimpse.base import folder as embedded

    for name, model in study.models.items():
        if Path(model.where).is_dir():
            continue
        if model.where.startswith("glimpse"):
            embedded(model.where)
        elif model.where.count("/") != 1 or model.where.startswith((".", "/", "~")):
            raise StudyError(
                f"models: {name}: {model.where}: no such folder, no embedded base and no hub id"
            )


def check_brought(study: Study, lab: Lab, out: Path) -> None:
    """Refuse what is wrong among that from elsewhere before any work.

    Adapters are loaded once; whole models, which may be large, are known by all but their weights.

    Raises:
        DataError: what is brought is damaged, or of another base.
    """
    for name, model in study.models.items():
        if model.adapters:
            base = open_base(study, lab, name, out)
            for by_seed in model.adapters.values():
                for folder in map(Path, by_seed.values()):
                    check = lab.check_tuned if _whole(folder) else lab.load_adapter
                    check(base, folder)


def brought(study: Study, run: Run) -> Path:
    """The folder that a run brings."""
    return Path(study.models[run.model].adapters[run.source or ""][run.seed or 0])


def is_whole(study: Study, run: Run) -> bool:
    """Whether a run brings a whole model rather than an adapter."""
    return run.kind == "external" and _whole(brought(study, run))


def brought_hash(study: Study, run: Run) -> str:
    """What makes that which a run brings itself; empty for other runs."""
    if run.kind != "external":
        return ""
    sums = results.checksums(brought(study, run))
    start, end = ("", ".safetensors") if is_whole(study, run) else ("adapter_", "")
    kept = {name: sums[name] for name in sorted(sums) if name.startswith(start)}
    return str({name: its for name, its in kept.items() if name.endswith(end)})


def _whole(folder: Path) -> bool:
    adapter, model = EXTERNAL_FILES
    return not (folder / adapter).is_file() and (folder / model).is_file()
