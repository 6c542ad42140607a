"""The command that takes an adapter, or a model trained in full, out of a study."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from transferscope.cli.app import app
from transferscope.cli.options import check_folder
from transferscope.cli.places import Place, read_from
from transferscope.errors import DataError, StudyError


@app.command(
    epilog="Example: `transferscope export-adapter out/ glimpse-m Jigsaw 0 --strength 0.5 --out a/`"
)
def export_adapter(
    place: Place,
    model: Annotated[str, typer.Argument(help="The model's name in the study.")],
    source: Annotated[str, typer.Argument(help="A source, mixture or placebo, or `Jigsaw @ 40`.")],
    seed: Annotated[int, typer.Argument(help="The seed.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    strength: Annotated[
        float, typer.Option(min=0.01, max=100, help="Multiply LoRA's alpha by this.")
    ] = 1.0,
) -> None:
    """Write an adapter that a study trained in PEFT's format, if wished at another strength, or a
    model that it trained in full."""
    from transferscope import store as results
    from transferscope.store import atomic
    from transferscope.store.cells import adapter_folder
    from transferscope.store.remote import is_result
    from transferscope.study.plan import Run
    from transferscope.study.strengths import scaled_config
    from transferscope.tasks.checkpoints import checkpoint

    check_folder(out)
    if out.exists():
        raise StudyError(f"--out {out}: exists already; give a new name")
    kind = "source" if checkpoint(source).step is None else "snapshot"
    part = adapter_folder(Run(model, kind, source, seed))
    with read_from(place, lambda one: is_result(one) or part.as_posix() in one) as folder:
        here = folder / part
        made_by = results.read_json(here / results.RUN)
        if (recipe := made_by.get("recipe")) is None:
            raise DataError(f"{place}: no adapter of {model}, {source}, seed {seed}")
        own = {"model": model, "source": source, "seed": seed}.items()
        for one in results.run_records(folder):
            if own <= one["run"].items() and one["training"] != made_by.get("key"):
                raise DataError(
                    f"{place}: the adapter of {model}, {source}, seed {seed} is of another "
                    "version of the study than its results; run the study with another --out"
                )
        with atomic.whole_folder(out) as new:
            if recipe.get("method") == "full":
                if strength != 1:
                    raise StudyError(f"--strength scales LoRA's alpha; {source} is a whole model")
                _export_model(folder, model, here, new, recipe["precision"])
                made = "a whole model for `from_pretrained`"
            else:
                config = results.read_json(here / "adapter_config.json")
                if strength != 1:
                    config = scaled_config(config, strength)
                shutil.copytree(here, new, ignore=shutil.ignore_patterns(results.RUN))
                (new / "adapter_config.json").write_bytes(results.as_json(config))
                alpha = f"lora_alpha {config['lora_alpha']:g}"
                made = f"an adapter for `PeftModel.from_pretrained`, {alpha}"
    print(f"{out}: {made}")


def _export_model(
    folder: Path, model: str, changed: Path, out: Path, precision: Literal["float32", "bfloat16"]
) -> None:
    from transferscope import store as results
    from transferscope.engine import load_engine
    from transferscope.study import Study
    from transferscope.tasks.untrusted import load_yaml

    text = (folder / results.STUDY).read_text(encoding="utf-8")
    study = Study.model_validate(load_yaml(text))
    load_engine()
    from transferscope.engine.checkpoint import export_checkpoint

    base = study.models[model]
    trusted = base.trust_remote_code
    export_checkpoint(base.where, changed, out, precision=precision, trust_remote_code=trusted)
