"""How fast replies are generated, beside PEFT and transformers' `generate`, token by token.

    python benchmarks/generation.py            # a few layers of Qwen2.5-VL-3B's shape
    python benchmarks/generation.py --tiny     # the same code in seconds, on anything

Theirs: adapters one after another, each with the processor's outputs made before the clock starts.
Ours: one adapter as `score_fleet` runs it on this device, and eight in one batch, as it does on a
GPU. Both write the same tokens. A further token is a long run less a run of one token.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from statistics import median

import torch
from fleet import configuration, made_items, random_model, recipe_of
from peft_runs import Setup, lora, now

from transferscope.engine import score
from transferscope.engine.adapter import Adapter, peft_config, stacked
from transferscope.engine.base_model import Base
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.generation import replies
from transferscope.engine.glimpse.shipped import folder
from transferscope.engine.linears import target_linears
from transferscope.engine.lora import attached
from transferscope.engine.processors import load_processor
from transferscope.engine.reference_path import ReferencePath

ADAPTERS = 8


def shaped(layers: int, rows: int, tiny: bool) -> Setup:
    """Qwen2.5-VL-3B's widths: two images of 112 x 112 and 64 tokens of text an item."""
    config = configuration("3b", tiny)
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers, text.layer_types = layers, text.layer_types[:layers]
    vision.depth, vision.fullatt_block_indexes = 2, [1]
    processor = load_processor(folder("glimpse-s"))
    base = Base("3b", random_model(config, None, 1), processor, "random")
    items = made_items(rows, 56 if tiny else 112, processor.tokenizer)
    return Setup(base, recipe_of(), [], items, rows, checkpointing=False)


def random_adapter(setup: Setup, seed: int) -> Adapter:
    """An adapter whose B is not zero."""
    linears = target_linears(setup.base.model, setup.recipe.targets)
    draw, rank, tensors = torch.Generator().manual_seed(seed), setup.recipe.rank, {}
    for name, linear in linears.items():
        for factor, shape in (
            ("A", (rank, linear.in_features)),
            ("B", (linear.out_features, rank)),
        ):
            drawn = 0.02 * torch.randn(*shape, generator=draw)
            tensors[f"base_model.model.{name}.lora_{factor}.weight"] = drawn
    return Adapter(peft_config(setup.base, setup.recipe, list(linears)), tensors)


def theirs(setup: Setup, adapter: Adapter, tokens: int) -> tuple[float, list[list[int]]]:
    """Seconds of PEFT's `generate` for all items at once, and the tokens."""
    path = ReferencePath(setup.base)
    inputs = path.inputs(path.encode(setup.questions))
    with lora(setup, adapter, tuned=False) as model:
        model.eval()
        begun = now(setup)
        made = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        return now(setup) - begun, made[:, inputs["input_ids"].shape[1] :].tolist()


def adapted(setup: Setup, adapters: Sequence[Adapter]) -> AbstractContextManager[None]:
    """A context in which the base has one adapter, as scoring puts it on, or several."""
    if len(adapters) == 1:
        (group,) = score._adapter_groups(setup.base, adapters, 1)
        return group.attach()
    return attached(setup.base.model, stacked(setup.base, adapters))


def ours(setup: Setup, adapters: Sequence[Adapter], tokens: int) -> float:
    """Seconds of all adapters' replies."""
    path = forward_path(setup.base, setup.questions)
    rows = path.encode(setup.questions) * len(adapters)
    with adapted(setup, adapters):
        begun = now(setup)
        replies(setup.base, path, rows, lambda _: False, tokens)
        return now(setup) - begun


def check(setup: Setup, adapters: Sequence[Adapter], tokens: int) -> None:
    """Refuse to time what is not the same; also encodes the images, once for ours."""
    path = forward_path(setup.base, setup.questions)
    rows = path.encode(setup.questions)
    expected = [theirs(setup, adapter, tokens)[1] for adapter in adapters]
    for count in (1, len(adapters)):
        with adapted(setup, adapters[:count]):
            made = path.generate(rows * count, max_new_tokens=tokens, do_sample=False).tolist()
        assert made == [row for one in expected[:count] for row in one]
    print(f"{len(made)} of {len(made)} replies alike")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4, help="of the language model")
    parser.add_argument("--rows", type=int, default=2, help="items in a batch, of each adapter")
    parser.add_argument("--tokens", type=int, default=9, help="of a long reply")
    parser.add_argument("--rounds", type=int, default=2, help="each is run as often as this")
    parser.add_argument("--tiny", action="store_true", help="the same code in seconds")
    parser.add_argument(
        "--busy", action="store_true", help="count processor seconds of one thread: others compute"
    )
    given = parser.parse_args(arguments)
    if given.busy:
        torch.set_num_threads(1)
    setup = shaped(2 if given.tiny else given.layers, given.rows, given.tiny)
    setup = setup._replace(clock=time.process_time if given.busy else time.perf_counter)
    adapters = [random_adapter(setup, seed) for seed in range(ADAPTERS)]
    path = forward_path(setup.base, setup.questions)
    print(
        f"{setup.base.model.config.text_config.num_hidden_layers} layers on {setup.base.device}, "
        f"{setup.base.dtype}, {torch.get_num_threads()} threads, {given.rows} items of "
        f"{path.encode(setup.questions)[0].length} tokens for each adapter"
    )
    check(setup, adapters, 3)
    runs: dict[str, tuple[int, Callable[[int], float]]] = {
        "transformers and PEFT": (1, lambda tokens: theirs(setup, adapters[0], tokens)[0]),
        "ours, one adapter": (1, lambda tokens: ours(setup, adapters[:1], tokens)),
        f"ours, {ADAPTERS} adapters": (ADAPTERS, lambda tokens: ours(setup, adapters, tokens)),
    }
    first, further = ({name: [] for name in runs} for _ in range(2))
    for _ in range(given.rounds):
        for name, (count, run) in runs.items():
            short, long = run(1), run(given.tokens)
            first[name].append(short / count / given.rows)
            further[name].append((long - short) / (given.tokens - 1) / count / given.rows)
    print(f"{'milliseconds an item':<26}{'first token':>12}{'further':>10}   ratio to theirs")
    usual = next(iter(runs))
    for name in runs:
        one, more = median(first[name]), median(further[name])
        ratios = one / median(first[usual]), more / median(further[usual])
        print(f"{name:<26}{1e3 * one:>12.1f}{1e3 * more:>10.1f}{ratios[0]:>12.2f}{ratios[1]:>8.2f}")


if __name__ == "__main__":
    main()
