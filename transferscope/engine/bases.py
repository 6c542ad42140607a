"""The base models of a study, its external adapters and finetuned models. Needs no torch."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope import store as results
from transferscope.engine import Engine
from transferscope.engine.glimpse.shipped import folder as embedded_folder
from transferscope.engine.records import CacheLimits
from transferscope.errors import DataError, StudyError
from transferscope.study import Study
from transferscope.study.cost import weights_bytes
from transferscope.study.file import EXTERNAL_FILES
from transferscope.study.plan import Run
from transferscope.study.shapes import read_shapes

if TYPE_CHECKING:
    from transferscope.engine.base_model import Base

GIB = 1 << 30


def load_study_base(study: Study, engine: Engine, name: str, out: Path | None = None) -> "Base":
    """A base of a study by name; vision features may be kept on disk if it has a folder `out`."""
    model, recipe, budget = study.models[name], study.recipe_of(name), study.budget
    cache = out and Path(budget.cache or out / results.FEATURES)
    return engine.load_base(
        model.where,
        name=name,
        precision=recipe.precision,
        quantization=model.quantization,
        gpus=max(1, int(model.gpus)),
        trust_remote_code=model.trust_remote_code,
        max_pixels=recipe.max_pixels,
        cache_limits=CacheLimits(int(budget.memory * GIB), cache, int(budget.disk * GIB)),
        thinking=model.thinking,
    )


def local_weights(study: Study, name: str) -> int | None:
    """Bytes of a base's weights in memory; None if it is on the Hub or of no known shapes."""
    model = study.models[name]
    where = Path(model.where)
    try:
        shapes = read_shapes(where if where.is_dir() else embedded_folder(model.where))
    except (DataError, StudyError):
        return None
    return weights_bytes(shapes, study.recipe_of(name).precision, model.quantization)


def check_models(study: Study) -> None:
    """Raise a StudyError for a model that does not exist, before the first one is loaded."""
    for name, model in study.models.items():
        if Path(model.where).is_dir():
            continue
        if model.where.startswith("glimpse"):
            embedded_folder(model.where)
        elif model.where.count("/") != 1 or model.where.startswith((".", "/", "~")):
            raise StudyError(
                f"models: {name}: {model.where}: must be a folder, an embedded base or a Hub id"
            )


def check_external(study: Study, engine: Engine, out: Path) -> None:
    """Refuse damaged or foreign adapters and finetuned models before any work.

    Adapters are loaded once. Finetuned models may be large, so their weights are not read.

    Raises:
        DataError: an adapter or model is damaged, or of another base.
    """
    for name, model in study.models.items():
        if model.adapters:
            base = load_study_base(study, engine, name, out)
            for by_seed in model.adapters.values():
                for folder in map(Path, by_seed.values()):
                    whole = _is_whole_model(folder)
                    (engine.check_checkpoint if whole else engine.load_adapter)(base, folder)


def external_folder(study: Study, run: Run) -> Path:
    """The folder of the adapter or finetuned model that a run brings from elsewhere."""
    return Path(study.models[run.model].adapters[run.source or ""][run.seed or 0])


def is_checkpoint(study: Study, run: Run) -> bool:
    """Whether a run brings a whole finetuned model rather than an adapter."""
    return run.kind == "external" and _is_whole_model(external_folder(study, run))


def external_hash(study: Study, run: Run) -> str:
    """Checksums of the files that a run brings from elsewhere; empty for other runs."""
    if run.kind != "external":
        return ""
    sums = results.checksums(external_folder(study, run))
    pattern = "*.safetensors" if is_checkpoint(study, run) else "adapter_*"
    return str({name: sums[name] for name in sorted(sums) if fnmatchcase(name, pattern)})


def _is_whole_model(folder: Path) -> bool:
    adapter, model = EXTERNAL_FILES
    return not (folder / adapter).is_file() and (folder / model).is_file()
