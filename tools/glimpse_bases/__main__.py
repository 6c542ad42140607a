"""What made the bases: `python -m tools.glimpse_bases COMMAND --help`."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferscope.engine.glimpse.shipped import WEIGHTS
from transferscope.errors import StudyError, TransferscopeError

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Mapping[str, Tensor]


Command = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: name, what it does, an example of its options."""


def arguments() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m tools.glimpse_bases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, example: str) -> argparse.ArgumentParser:
        shown = f"example: python -m tools.glimpse_bases {name} {example}"
        return commands.add_parser(name, help=text, description=text, epilog=shown)

    _weight_options(command)
    _pretrain_options(command)
    _measuring_options(command)
    return parser


def _weight_options(command: Command) -> None:
    add = command(
        "vocabulary",
        "Append the words of the suite and its stream that vocabulary.json lacks.",
        "--examples 4000",
    ).add_argument
    add("--examples", type=int, default=4000, help="examples of the stream read")
    add("--items", type=int, default=300, help="items read of each task and split")

    add = command(
        "convert",
        "Turn a prototype's weights into the start of a training.",
        "--prototype M.0.safetensors --size m --out build/start",
    ).add_argument
    add("--prototype", type=Path, required=True, help="weight file")
    add("--prototype2", type=Path, help="second weight file, to mix with the first")
    add("--mix", type=float, default=0.5, help="share of the second (default: %(default)s)")
    add("--size", required=True, help="s, m or l")
    add("--out", type=Path, required=True, help="folder for SIZE.safetensors")

    add = command(
        "grow",
        "Make a larger size that answers as a smaller one does.",
        "--small build/run/m.safetensors --size l --out build/start",
    ).add_argument
    add("--small", type=Path, required=True, help="weights of the smaller size")
    add("--size", required=True, help="m or l")
    add("--out", type=Path, required=True, help="folder for SIZE.safetensors")

    add = command(
        "mix",
        "Mix two weight files of one training, so that finetuning has something left to add.",
        "--size m --early run/m-early-50.safetensors --late run/m.safetensors --out m.safetensors",
    ).add_argument
    add("--early", type=Path, required=True)
    add("--late", type=Path, required=True)
    add("--size", required=True, help="size of both")
    add("--share", type=float, help="share of the late weights (default: found from --target)")
    add("--target", type=float, default=0.6, help="zero-shot mean wanted (default: %(default)s)")
    add("--items", type=int, default=100, help="training items of each task to find it with")
    add("--out", type=Path, required=True, help="file to write")


def _pretrain_options(command: Command) -> None:
    add = command(
        "pretrain",
        "Train a base; the same command again goes on where it stopped.",
        "--size m --steps 20000 --keep 0.25,0.5 --out build/m",
    ).add_argument
    add("--size", required=True, help="s, m or l")
    add("--out", type=Path, required=True, help="folder of the training")
    add("--steps", type=int, required=True, help="steps of the whole training, 32 scenes each")
    add("--until", type=int, help="step at which this call stops (default: the last)")
    add("--init", default="", help="file of weights to start from")
    add("--seed", type=int, default=0, help="seed of the stream")
    add("--dose", type=float, default=0.06, help="probability of the task's own question")
    add("--choices", type=float, default=0.4, help="share of other questions that have choices")
    add("--guesses", type=float, default=0.0, help="probability of one that nobody can answer")
    add("--rate", type=float, default=1.0, help="factor on the learning rate")
    add("--dense", type=float, default=0.13, help="share of dense labels alone, without --init")
    add("--still", action="store_true", help="leave the vision tower as it is")
    add("--keep", default="", help="shares of the steps after which weights are kept")
    add("--workers", type=int, default=0, help="drawing processes (default: none)")
    add("--items", type=int, default=200, help="items a task of the table at the end; 0: none")


def _measuring_options(command: Command) -> None:
    add = command(
        "export",
        "Write a training's weights as folders that transformers loads.",
        "--from build/run",
    ).add_argument
    add("--from", dest="source", type=Path, required=True, help="folder with SIZE.safetensors")
    add("--sizes", default="s,m,l", help="sizes; those without weights are left out")
    add("--out", type=Path, default=WEIGHTS, help="where (default: the package's weights)")

    add = command(
        "measure",
        "Finetune a base on every task and evaluate all tasks; again goes on.",
        "--base glimpse-m --seeds 0,1 --out build/m.jsonl",
    ).add_argument
    add("--base", required=True, help="name or folder")
    add("--out", type=Path, required=True, help="table, JSON lines")
    add("--seeds", default="0,1", help="seeds (default: %(default)s)")
    add("--sources", default="all", help="tasks to finetune on (default: all)")
    add("--train-items", type=int, default=512, help="(default: %(default)s)")
    add("--epochs", type=int, default=3, help="(default: %(default)s)")
    add("--eval-items", type=int, default=300, help="of each task (default: %(default)s)")
    add("--lr", type=float, help="learning rate (default: by size)")
    add("--threads", type=int, help="torch's threads")


def pretrain(options: argparse.Namespace) -> None:
    """Train, then show how well every task is answered."""
    from tools.glimpse_bases.pretrain import Plan, pretrain
    from tools.glimpse_bases.zero_shot import encode_suite, markdown, zero_shot
    from transferscope.suites.glimpse import Glimpse

    plan = Plan(
        size=options.size,
        steps=options.steps,
        seed=options.seed,
        init=options.init,
        rate=options.rate,
        dense=options.dense,
        dose=options.dose,
        choices=options.choices,
        guesses=options.guesses,
        still=options.still,
        keep=tuple(float(share) for share in options.keep.split(",") if share),
    )
    trainee = pretrain(plan, options.out, _say, options.until, options.workers)
    if options.items:
        scores = zero_shot(trainee.model.eval(), encode_suite(Glimpse(), options.items, "train"))
        _say(markdown([plan.size], [scores]))


def convert(options: argparse.Namespace) -> None:
    """Write DIR/SIZE.safetensors from a prototype's weights."""
    from tools.glimpse_bases.architecture import build
    from tools.glimpse_bases.weights import (
        load_weights,
        mix,
        read_weights,
        save_weights,
        weights_of,
    )

    sides = []
    for path in (options.prototype, options.prototype2):
        if path is not None:
            model = build(options.size)
            load_weights(model, read_weights(path))
            sides.append(weights_of(model))
    weights = sides[0] if len(sides) == 1 else mix(sides[0], sides[1], options.mix)
    _say(save_weights(options.out / f"{options.size}.safetensors", weights))


def vocabulary(options: argparse.Namespace) -> None:
    """Extend vocabulary.json."""
    from tools.glimpse_bases.stream import example
    from tools.glimpse_bases.tokenizer import extend
    from transferscope.suites.glimpse import Glimpse
    from transferscope.tasks import SPLITS

    suite, texts = Glimpse(), []
    for task in suite.tasks:
        for split in SPLITS:
            items = suite.items(task.name, split)
            texts += [items[index].prompt for index in range(min(options.items, len(items)))]
    for index in range(options.examples):
        for turn in example(index, 0, dose=0.5).turns:
            texts += turn
    new = extend(texts)
    _say(" ".join([f"{len(new)} new words:", *new]))


def grow(options: argparse.Namespace) -> None:
    """Write DIR/SIZE.safetensors grown from a smaller size."""
    from tools.glimpse_bases import growth
    from tools.glimpse_bases.weights import base_weights, read_weights, save_weights

    small = base_weights(read_weights(options.small))
    weights = growth.grow(small, options.size)
    _say(save_weights(options.out / f"{options.size}.safetensors", weights))


def mix(options: argparse.Namespace) -> None:
    """Write a mixture of two weight files: of a share, or as near as can be to a target."""
    from tools.glimpse_bases.weights import mix, read_weights, save_weights

    early, late = read_weights(options.early), read_weights(options.late)
    share = options.share
    if share is None:
        levels = _levels(early, late, options.size, options.items)
        share = min(levels, key=lambda tried: abs(levels[tried] - options.target))
    _say(f"share of the late weights: {share:.2f}")
    _say(save_weights(options.out, mix(early, late, share)))


def _levels(early: "Weights", late: "Weights", size: str, items: int) -> dict[float, float]:
    """Zero-shot mean of each mixture, on training items: evaluation items are for later."""
    from tools.glimpse_bases.architecture import build
    from tools.glimpse_bases.weights import load_weights, mix
    from tools.glimpse_bases.zero_shot import encode_suite, zero_shot
    from transferscope.suites.glimpse import Glimpse

    tasks, model = encode_suite(Glimpse(), items, where="train"), build(size).eval()
    levels = {}
    for share in (k / 20 for k in range(8, 21)):
        load_weights(model, mix(early, late, share))
        scores = zero_shot(model, tasks)
        levels[share] = sum(score.accuracy for score in scores) / len(scores)
        shown = " ".join(f"{score.accuracy:.2f}" for score in scores)
        _say(f"share {share:.2f}: mean {levels[share]:.3f}  ({shown})")
    return levels


def export(options: argparse.Namespace) -> None:
    """Write the folders of all sizes that have weights."""
    from tools.glimpse_bases.architecture import build
    from tools.glimpse_bases.export import save_base
    from tools.glimpse_bases.processor import processor
    from tools.glimpse_bases.weights import load_weights, read_weights

    for size in options.sizes.split(","):
        path = options.source / f"{size}.safetensors"
        if path.exists():
            model = build(size)
            load_weights(model, read_weights(path))
            _say(save_base(model, processor(), options.out / f"glimpse-{size}"))


def measure(options: argparse.Namespace) -> None:
    """Fill a table of finetunes and show it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from transformers import AutoModelForImageTextToText

    from tools.glimpse_bases.architecture import width
    from tools.glimpse_bases.measure import RATES, Recipe, Table, measure, summary
    from transferscope.engine.glimpse.shipped import folder
    from transferscope.suites.glimpse import GLIMPSE, Glimpse

    if options.threads:
        torch.set_num_threads(options.threads)
    where = Path(options.base) if Path(options.base).is_dir() else folder(options.base)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = AutoModelForImageTextToText.from_pretrained(where, dtype=torch.float32)
    model.to(device)
    chosen = options.sources.split(",")
    tasks = [task.name for task in GLIMPSE]
    sources = [
        task.name
        for task in GLIMPSE
        if chosen == ["all"] or task.name in chosen or task.abbreviation in chosen
    ]
    if not sources:
        raise StudyError(f"no source task among {options.sources!r}; known: {', '.join(tasks)}")
    recipe = Recipe(
        train_items=options.train_items,
        epochs=options.epochs,
        eval_items=options.eval_items,
        rate=options.lr or RATES[width(model)],
    )
    table = Table(options.out, where.name, recipe)
    runs = [(source, int(seed)) for seed in options.seeds.split(",") for source in sources]
    measure(model, Glimpse(), runs, recipe, table, _say)
    _say(summary(table, GLIMPSE))


COMMANDS = {
    "vocabulary": vocabulary,
    "convert": convert,
    "grow": grow,
    "pretrain": pretrain,
    "mix": mix,
    "export": export,
    "measure": measure,
}


def _say(line: object, error: bool = False) -> None:
    print(line, file=sys.stderr if error else sys.stdout, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; our own errors become one line on standard error."""
    options = arguments().parse_args(argv)
    try:
        COMMANDS[options.command](options)
    except TransferscopeError as error:
        _say(error, error=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
