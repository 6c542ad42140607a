"""How fast a fleet is trained and evaluated, beside PEFT runs one after another.

    python benchmarks/fleet.py --embedded glimpse-s     # two minutes on two cores
    python benchmarks/fleet.py --shapes 7b              # random weights in real shapes, on a GPU
    python benchmarks/fleet.py --shapes 32b --gpus 2    # its layers over two GPUs
    python benchmarks/fleet.py --shapes 32b --quantization nf4    # in 4 bits on one of 80 GB
    python benchmarks/fleet.py --shapes 7b --alone      # ours alone, a third of the time
    python benchmarks/fleet.py --shapes 3b --tiny       # the same code in seconds, on anything

Two alternatives, in this process, on the same items, in turn with ours; ratios are of medians.

common   what a user does today: the model's own processor and collation, the vision tower in every
         step, labels and so all logits, gradient checkpointing (off for the embedded bases), PEFT
         and torch's AdamW, one run after another; evaluation by `model.generate`.
tuned    what a careful user gets out of PEFT: processor outputs made before the clock starts, no
         checkpointing, vision attention without a loop, logits at the answer alone; evaluation by
         one forward that reads the letters.

Ours keeps vision features, as every epoch, seed and adapter of a study finds them; encoding the
images is timed apart, and counted in what a whole study takes. The part of a GPU's matrix product
that is reached is that of the steps in between: a long run less a short one, as what an adapter
costs to be made, put onto the base and brought back is a larger part of seconds than of minutes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from peft_runs import Setup, now, peft_generate, peft_letters, peft_run, stock_encode
from torch import Tensor

from transferscope.engine import train
from transferscope.engine.adapter import Adapter
from transferscope.engine.base_model import Base, keep_layout, load_base
from transferscope.engine.devices import spread_layers
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.glimpse import prompt_layout as layout
from transferscope.engine.glimpse.shipped import folder
from transferscope.engine.linears import language_linears
from transferscope.engine.processors import load_processor
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.engine.train import train_fleet
from transferscope.study import Recipe
from transferscope.suites import open_suite
from transferscope.tasks import ArrayImage, Item, with_choices

STUDY = {"sources": 13, "seeds": 2, "items": 512, "epochs": 3, "targets": 13, "questions": 150}
"""What a study of the embedded suite trains and asks."""


LONGER = 4
"""Epochs of a long run."""

POSSIBLE = {"train, ours": 0.69, "evaluate, ours": 0.74}
"""Parts of the matrix product that a 7B can reach on one H100 with LoRA inside each product, by a
roofline of 700 TFLOP/s in products and 2.9 TB/s in all else."""


class Timed(NamedTuple):
    """One line of the table: seconds of each round, for a number of items."""

    name: str
    items: int
    seconds: list[float]

    @property
    def rate(self) -> float:
        """Items a second; NaN where it did not fit in memory."""
        return self.items / median(self.seconds)


def ours_train(
    setup: Setup, jobs: Sequence[TrainingJob]
) -> tuple[float, list[float], list[Adapter]]:
    """Seconds, the loss of each step (of all jobs), the adapters."""
    losses: list[Tensor] = []

    def recorded(*given: Any) -> tuple[Tensor, Tensor]:
        whole, each = loss(*given)
        losses.append(whole)
        return whole, each

    loss = train.reply_loss
    with mock.patch.object(train, "reply_loss", recorded):
        begun = now(setup)
        groups = list(train_fleet(setup.base, jobs, setup.recipe))
        seconds = now(setup) - begun
    adapters = {index: one for group in groups for index, one in group.items()}
    return seconds, [float(its.detach()) for its in losses], [adapters[k] for k in sorted(adapters)]


def steady(long: Timed, short: Timed) -> float:
    """Items a second of a long run without what a short one costs too."""
    return (long.items - short.items) / (median(long.seconds) - median(short.seconds))


def ours_score(
    setup: Setup, adapters: Sequence[Adapter], items: Sequence[Item]
) -> tuple[float, list[list[Any]]]:
    """Seconds, and each adapter's answers."""
    begun = now(setup)
    answers = score_fleet(setup.base, adapters, items, batch_size=setup.answering)
    return now(setup) - begun, answers


def ours_encode(setup: Setup, items: Sequence[Item]) -> float:
    """Seconds to encode all images of some items, none kept from before."""
    setup.base.paths.clear()
    path: Any = forward_path(setup.base, items)
    rows = path.encode(items)
    begun = now(setup)
    path.vision_cache.features([image for row in rows for image in row.item.images])
    return now(setup) - begun


def in_turn(
    rounds: int, warm: bool, runs: dict[str, tuple[int, Callable[[], float]]]
) -> list[Timed]:
    """Each run once a round, one after the other; a first round is not counted if `warm`."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + warm):
        for name, (_, run) in runs.items():
            spent = float("nan")
            with suppress(torch.OutOfMemoryError):
                spent = run()
            if spent != spent:  # out here, where the error holds no tensor any more
                torch.cuda.empty_cache()
            if turn >= warm:
                seconds[name].append(spent)
    return [Timed(name, items, seconds[name]) for name, (items, _) in runs.items()]


def matmul_ceiling(
    device: torch.device, dtype: torch.dtype, size: int, clock: Callable[[], float]
) -> float:
    """FLOP a second of large matrix products."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(5):
        begun = clock()
        for _ in range(8):
            c = a @ b
        float(c[0, 0])  # waits for the device
        best = max(best, 8 * 2 * size**3 / (clock() - begun))
    return best


def language_flops(setup: Setup, items: Sequence[Item], *, training: bool) -> float:
    """FLOP of the frozen language model for each item on average; adapters are not counted."""
    text = setup.base.model.config.get_text_config()
    linears = language_linears(setup.base.model).values()
    weights = sum(its.in_features * its.out_features for its in linears)
    lengths = [row.length for row in forward_path(setup.base, items).encode(items)]
    width = text.hidden_size * text.num_hidden_layers
    forward = np.mean([2 * weights * its + 2 * width * its**2 for its in lengths])
    backward = np.mean([2 * weights * its + 4 * width * its**2 for its in lengths])
    return float(forward + backward * training)


# What is run.


def embedded(name: str, tiny: bool) -> Setup:
    """A declared part of `STUDY`: 4 sources x 1 seed, 128 items, one epoch; 13 x 10 questions."""
    suite = open_suite("glimpse")
    base = load_base(name).complete  # which PEFT can wrap
    tasks = [task.name for task in suite.tasks]
    sources, count, evaluated = (tasks[:1], 8, 1) if tiny else (tasks[:12:3], 128, 10)
    jobs = [TrainingJob(its, 0, suite.items(its, "train")[:count], 1, 2, 3) for its in sources]
    questions = [
        item
        for its in tasks[: 4 if tiny else None]
        for item in suite.items(its, "eval")[:evaluated]
    ]
    recipe = recipe_of(batch_size=4 if tiny else 32, learning_rate=4e-3)
    return Setup(base, recipe, jobs, questions, 64, checkpointing=False)


def shaped(name: str, tiny: bool, quantization: str | None = None, gpus: int = 1) -> Setup:
    """Random weights of Qwen2.5-VL's shapes: two images and 64 tokens of text an item."""
    side, count, batch = (56, 8, 4) if tiny else (448, 32, 8)
    torch.manual_seed(1)  # with it a tiny model learns to reply, so that replies can be compared
    model = random_model(configuration(name, tiny), quantization, gpus)
    words = load_processor(folder("glimpse-s"))
    words.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": side * side}
    base = Base(name, model, words, "random")
    items = made_items(9 * count, side, words.tokenizer)
    jobs = [
        TrainingJob(str(index), 0, items[index * count :][:count], index, 2, 3)
        for index in range(8)
    ]
    recipe = recipe_of(batch_size=batch)
    return Setup(base, recipe, jobs, items[8 * count :], 8, checkpointing=True)


def random_model(config: Any, quantization: str | None, gpus: int) -> Any:
    """A model with random weights, made where they lie: no device ever holds all of a large one."""
    from transformers import Qwen2_5_VLForConditionalGeneration as Model

    cuda = torch.cuda.is_available()
    dtype = torch.bfloat16 if cuda else torch.float32
    devices = [torch.device("cuda", at) if cuda else torch.device("cpu") for at in range(gpus)]
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if quantization is None:
        with devices[0] if gpus == 1 else torch.device("cpu"):
            model = Model._from_config(config, **options)
    else:
        model = in_4_bits(Model, config, options, devices[0])
    if gpus > 1:
        spread_layers(model, devices)
    return model


def in_4_bits(kind: Any, config: Any, options: dict[str, Any], device: torch.device) -> Any:
    """A model whose language model's linear layers are random and in NF4, layer by layer."""
    from accelerate import init_empty_weights
    from bitsandbytes.nn import Linear4bit, Params4bit

    with init_empty_weights(include_buffers=False):
        model = kind._from_config(config, **options)
    dtype, chosen = options["dtype"], language_linears(model)
    for name, linear in chosen.items():
        sizes, bias = (linear.in_features, linear.out_features), linear.bias is not None
        made = Linear4bit(*sizes, bias, compute_dtype=dtype, quant_type="nf4", device="meta")
        drawn = 0.02 * torch.randn(*reversed(sizes), device=device).to(dtype)
        made.weight = Params4bit(drawn, requires_grad=False, quant_type="nf4").to(device)
        model.set_submodule(name, made)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.is_meta:
                flat = weight.dim() < 2 and name == "weight"  # a norm's
                drawn = torch.ones_like if flat else torch.zeros_like
                value = drawn(weight, dtype=dtype, device=device)
                if weight.dim() > 1:
                    value.normal_(std=0.02)
                setattr(module, name, torch.nn.Parameter(value, requires_grad=False))
    model.tie_weights()
    model.is_loaded_in_4bit = True
    keep_layout(model)
    return model.to(device)


def recipe_of(**changes: Any) -> Recipe:
    """The study file's own recipe with one epoch."""
    return Recipe(**({"epochs": 1, "learning_rate": 2.5e-3} | changes))


def configuration(name: str, tiny: bool) -> Any:
    """Qwen2.5-VL's configuration of a size, with the embedded tokenizer's ids."""
    from transformers import Qwen2_5_VLConfig

    large = {
        "3b": (2048, 11008, 36, 16, 2, 151936),
        "7b": (3584, 18944, 28, 28, 4, 152064),
        "32b": (5120, 27648, 64, 40, 8, 152064),
    }
    hidden, units, layers, heads, keys, words = (64, 96, 2, 2, 1, 512) if tiny else large[name]
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2}
    if not tiny:
        units_seen = 3456 if name == "32b" else 3420
        vision = {"depth": 32, "hidden_size": 1280, "num_heads": 16}
        vision["intermediate_size"] = units_seen
    rope = {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": [4, 6, 6] if tiny else [16, 24, 24],
    }
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": hidden,
            "intermediate_size": units,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": keys,
            "vocab_size": words,
            "rms_norm_eps": 1e-6,
            "rope_parameters": rope,
            "pad_token_id": layout.PAD,
            "bos_token_id": layout.TURN,
            "eos_token_id": layout.TURN_END,
        },
        vision_config=vision
        | {
            "out_hidden_size": hidden,
            "window_size": 56 if tiny else 112,
            "fullatt_block_indexes": [1] if tiny else [7, 15, 23, 31],
        },
        image_token_id=layout.IMAGE_PAD,
        video_token_id=layout.VIDEO_PAD,
        vision_start_token_id=layout.IMAGE,
        vision_end_token_id=layout.IMAGE_END,
        tie_word_embeddings=name == "3b",
    )


def made_items(count: int, side: int, tokenizer: Any) -> list[Item]:
    """Items with two images of noise, and prompts of 64 tokens."""
    rng, choices, items = np.random.default_rng(0), ("box", "point"), []
    question = "Which is closer?"
    while len(tokenizer.encode(with_choices(question, choices))) < 64:
        question = f"point {question}"
    for index in range(count):
        noise = rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
        images = tuple(map(ArrayImage, noise))
        prompt, answer = with_choices(question, choices), int(rng.integers(2))
        items.append(Item(f"made-{index}", "made", images, question, choices, answer, prompt))
    return items


# The tables.


def check(setup: Setup) -> tuple[Adapter, Adapter]:
    """Print how far ours and theirs are apart; an adapter's start, and what ours made of it."""
    (job, *_), recipe = setup.jobs, setup.recipe
    still = setup._replace(recipe=replace(recipe, learning_rate=0.0))
    _, _, (start,) = ours_train(still, [job._replace(items=job.items[:1])])
    _, losses, (adapter,) = ours_train(setup, [job])
    print(f"loss by step, ours: {', '.join(f'{its:.4f}' for its in losses)}")
    for name, tuned in (("common", False), ("tuned", True)):
        saving = setup.checkpointing  # which changes no number, and a large model needs
        _, theirs, numbers = peft_run(setup, job, start, tuned=tuned, checkpointing=saving)
        far = max(abs(a - b) for a, b in zip(losses, theirs, strict=True))
        moved = max(float((numbers[key] - its).abs().max()) for key, its in adapter.tensors.items())
        print(f"{name}: loss differs by at most {far:.1e}, trained weights by {moved:.1e}")
    answers = ours_score(setup, [adapter], setup.questions)[1][0]
    chosen = {"tuned": peft_letters(setup, adapter)[1]}
    chosen["common"] = peft_generate(setup, adapter, 8, setup.questions)[1]
    for name, choices in chosen.items():
        read = [(a, b) for a, b in zip(answers, choices, strict=True) if b is not None]
        other = [a.margin for a, b in read if a.choice != b]
        print(
            f"{name}: {len(read) - len(other)} of {len(read)} choices as ours"
            f"{f', margins of the others at most {max(other):.3f}' if other else ''}"
            f"; {len(choices) - len(read)} replies unreadable"
        )
    return start, adapter


def measure(setup: Setup, rounds: int, alone: bool) -> dict[str, Timed]:
    """Every step's times; prints them with the ratio to ours.

    Args:
        alone: ours, and nothing of PEFT's.
    """
    start, adapter = ours_train(setup, setup.jobs[:1])[2] * 2 if alone else check(setup)
    # A large model's alternatives are timed on one job, its fleet of all of them beside that.
    large, evaluated = setup.checkpointing, setup.questions
    jobs = setup.jobs[:1] if large else setup.jobs
    everything = [*evaluated, *(item for job in setup.jobs for item in job.items)]
    few = evaluated[: max(1, len(evaluated) // 4)]
    count, learned = count_of(jobs), [item for job in jobs for item in job.items]

    def theirs(tuned: bool, checkpointing: bool = False) -> float:
        options = {"tuned": tuned, "checkpointing": checkpointing}
        return sum(peft_run(setup, job, start, **options)[0] for job in jobs)

    trained: dict[str, tuple[int, Callable[[], float]]] = {
        "train, ours": (count, lambda: ours_train(setup, jobs)[0]),
        "train, tuned": (count, lambda: theirs(True)),
        "train, common": (count, lambda: theirs(False)),
    }
    if large:
        fleet, longer = setup.jobs, replace(setup.recipe, epochs=LONGER)
        trained |= {
            f"train, ours, {LONGER} epochs": (
                LONGER * count,
                lambda: ours_train(setup._replace(recipe=longer), jobs)[0],
            ),
            f"train, ours, {len(fleet)} adapters": (
                count_of(fleet),
                lambda: ours_train(setup, fleet)[0],
            ),
            "train, common, checkpointing": (count, lambda: theirs(False, True)),
        }
    scored = {
        "evaluate, ours": (len(evaluated), lambda: ours_score(setup, [adapter], evaluated)[0]),
        "evaluate, tuned": (len(evaluated), lambda: peft_letters(setup, adapter)[0]),
        "evaluate, common, 8": (
            len(evaluated),
            lambda: peft_generate(setup, adapter, 8, evaluated)[0],
        ),
        "evaluate, common, 1": (len(few), lambda: peft_generate(setup, adapter, 1, few)[0]),
    }
    if large:
        scored["evaluate, ours, all items"] = (
            len(everything),
            lambda: ours_score(setup, [adapter], everything)[0],
        )
    seen = everything if large else learned
    looked = {
        "encode, ours": (len(seen), lambda: ours_encode(setup, seen)),
        "encode, common": (count, lambda: stock_encode(setup, learned)),
    }
    found = {}
    for runs in (looked, trained, scored):
        warm = setup.base.device.type == "cuda"
        if runs is trained:  # every image has been encoded
            ours_encode(setup, everything)
        if alone:
            runs = {name: runs[name] for name in runs if ", ours" in name}
        times = in_turn(rounds, warm, runs)
        for its in times:
            found[its.name] = its
            spread = " to ".join(f"{its.items / edge(its.seconds):.1f}" for edge in (max, min))
            print(
                f"{its.name:<30}{its.rate:>9.1f} items/s ({spread}){times[0].rate / its.rate:>8.1f}"
            )
    return found


def count_of(jobs: Sequence[TrainingJob]) -> int:
    """Items of all jobs."""
    return sum(len(job.items) for job in jobs)


def whole_study(found: dict[str, Timed]) -> None:
    """Print what the whole study takes at the measured rates."""
    runs = STUDY["sources"] * STUDY["seeds"]
    passes = runs * STUDY["items"] * STUDY["epochs"]
    questions = STUDY["targets"] * STUDY["questions"]
    answers, encoded = (runs + 1) * questions, runs * STUDY["items"] + questions
    generate = max(found["evaluate, common, 8"].rate, found["evaluate, common, 1"].rate)
    seconds = {
        "ours": passes / found["train, ours"].rate
        + answers / found["evaluate, ours"].rate
        + encoded / found["encode, ours"].rate,
        "tuned": passes / found["train, tuned"].rate + answers / found["evaluate, tuned"].rate,
        "common": passes / found["train, common"].rate + answers / generate,
    }
    print(
        f"the whole matrix is {passes:,} items trained on, {answers:,} answers and, for ours, the "
        f"images of {encoded:,} items; at these rates:"
    )
    for name, spent in seconds.items():
        print(f"{name:<30}{spent / 60:>9.1f} min{spent / seconds['ours']:>29.1f}")


def ceilings(setup: Setup, found: dict[str, Timed], tiny: bool) -> None:
    """Print the part of the device's matrix product that ours reaches, and what is possible."""
    device = setup.base.device
    size = 256 if tiny else 8192 if device.type == "cuda" else 2048
    ceiling = matmul_ceiling(device, setup.base.dtype, size, setup.clock)
    print(f"matrix product of {size}: {ceiling / 1e12:.2f} TFLOP/s; of that")
    items = setup.jobs[0].items
    longer = {"train, ours": f"train, ours, {LONGER} epochs"}
    longer["evaluate, ours"] = "evaluate, ours, all items"
    for name, long in longer.items():
        rate = steady(found[long], found[name])
        flops = language_flops(setup, items, training=name.startswith("train")) * rate
        print(
            f"{name:<30}{flops / ceiling:>9.0%} (a 7B on one H100 can reach {POSSIBLE[name]:.0%})"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--embedded", metavar="BASE", help="an embedded base, as glimpse-s")
    which.add_argument(
        "--shapes", choices=("3b", "7b", "32b"), help="random weights of these shapes"
    )
    parser.add_argument("--quantization", choices=("nf4",), help="of the shapes' linear layers")
    parser.add_argument("--gpus", type=int, default=1, help="to spread the shapes' layers over")
    parser.add_argument("--tiny", action="store_true", help="the same code in seconds")
    parser.add_argument("--alone", action="store_true", help="ours alone, without PEFT")
    parser.add_argument("--rounds", type=int, default=3, help="each is run as often as this")
    parser.add_argument(
        "--busy", action="store_true", help="count processor seconds of one thread: others compute"
    )
    given = parser.parse_args(arguments)
    if given.busy:
        torch.set_num_threads(1)
    if given.embedded:
        setup = embedded(given.embedded, given.tiny)
    else:
        setup = shaped(given.shapes, given.tiny, given.quantization, given.gpus)
    setup = setup._replace(clock=time.process_time if given.busy else time.perf_counter)
    device = setup.base.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    stored = f" in {given.quantization}" if given.quantization else ""
    spread_over = f" over {given.gpus} devices" if given.gpus > 1 else ""
    print(
        f"{setup.base.name}{stored}{spread_over} on {where}, {setup.base.dtype}, "
        f"{torch.get_num_threads()} threads"
        f"{', processor seconds' if given.busy else ''}"
    )
    found = measure(setup, 1 if given.tiny else given.rounds, given.alone)
    if given.embedded:
        if not given.alone:
            whole_study(found)
    else:
        ceilings(setup, found, given.tiny)


if __name__ == "__main__":
    main()
