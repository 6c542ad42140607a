"""What a base has room for: LoRA on every source task, every target before and after.

For choosing a base, not for a study: one process, PEFT as it comes, vision features computed once
(the vision tower is frozen, so no adapter changes them), the answer's first token alone in the
loss. A row of the table is the base itself or one run; rows that exist are not made again.
"""

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from tools.glimpse_bases import forward
from tools.glimpse_bases.tokenizer import letters
from tools.glimpse_bases.zero_shot import (
    Questions,
    encode_items,
    encode_suite,
    features,
    right,
)
from transferscope.tasks import Suite, Task

RATES = {128: 4e-3, 192: 2.5e-3, 320: 1.5e-3}
"""Learning rates by the language model's width."""

NOTABLE = 0.08
"""Change of accuracy that counts as an effect."""


@dataclass(frozen=True)
class Recipe:
    """How adapters are trained and evaluated; part of every row."""

    train_items: int = 512
    epochs: int = 3
    eval_items: int = 300
    rate: float = 2.5e-3
    """Highest learning rate: 10 % warm-up, then linear to 2 %."""
    rank: int = 16
    alpha: int = 32
    batch: int = 32


class Table:
    """Rows in a file of JSON lines, each written as soon as it is known."""

    def __init__(self, path: Path, base: str, recipe: Recipe) -> None:
        self._path, self._mark = path, {"base": base, "recipe": vars(recipe)}
        self.rows: dict[tuple[str | None, int | None], dict[str, np.ndarray]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            row = json.loads(line)
            if row.items() >= self._mark.items():
                self.rows[row["source"], row["seed"]] = {
                    task: np.frombuffer(bits.encode(), np.uint8) == ord("1")
                    for task, bits in row["right"].items()
                }

    def add(self, source: str | None, seed: int | None, found: dict[str, np.ndarray]) -> None:
        """Write which items a run (or, without source, the base) answers rightly."""
        self.rows[source, seed] = found
        bits = {task: "".join("01"[int(one)] for one in its) for task, its in found.items()}
        row = {**self._mark, "source": source, "seed": seed, "right": bits}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def measure(
    model: Qwen2_5_VLForConditionalGeneration,
    suite: Suite,
    runs: Iterable[tuple[str, int]],
    recipe: Recipe,
    table: Table,
    say: Callable[[str], None],
) -> None:
    """Fill a table with the base's row and a row for each run (source, seed) that it lacks."""
    model.requires_grad_(False).eval()
    targets = [
        (task, questions, features(model, questions.pixels))
        for task, questions in encode_suite(suite, recipe.eval_items)
    ]
    if (None, None) not in table.rows:
        table.add(None, None, {task: right(model, its, seen) for task, its, seen in targets})
    say(_line("base", table.rows[None, None]))
    for source, seed in runs:
        if (source, seed) not in table.rows:
            tuned = finetune(model, training_items(suite, source, seed, recipe), seed, recipe)
            found = {task: right(tuned, its, seen) for task, its, seen in targets}
            table.add(source, seed, found)
        say(_line(f"{source} seed {seed}", table.rows[source, seed], source))


def training_items(suite: Suite, source: str, seed: int, recipe: Recipe) -> Questions:
    """A source's training items, drawn by seed."""
    split = suite.items(source, "train")
    chosen = np.random.default_rng(seed).permutation(len(split))[: recipe.train_items]
    return encode_items(split[int(index)] for index in chosen)


def finetune(
    model: Qwen2_5_VLForConditionalGeneration, items: Questions, seed: int, recipe: Recipe
) -> Qwen2_5_VLForConditionalGeneration:
    """A copy of the model with a LoRA adapter trained on some items and merged."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted: Any = get_peft_model(copy.deepcopy(model), config)
    _train(adapted.get_base_model(), items, features(model, items.pixels), seed, recipe)
    return adapted.merge_and_unload().eval()


def _train(
    model: Qwen2_5_VLForConditionalGeneration,
    items: Questions,
    seen: Tensor,
    seed: int,
    recipe: Recipe,
) -> None:
    """Train what requires gradients, in place."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=0.0)
    answer_ids = torch.tensor(letters())[items.answers]
    generator = torch.Generator().manual_seed(seed)
    steps = recipe.epochs * (len(items.ids) // recipe.batch)
    order = torch.cat(
        [torch.randperm(len(items.ids), generator=generator) for _ in range(recipe.epochs)]
    )
    for step, rows in enumerate(order.split(recipe.batch)[:steps]):
        share = min((step + 1) / (0.1 * steps), max(0.02, 1 - step / steps), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * share
        longest = int(items.last[rows].max()) + 1
        ids, last = items.ids[rows, :longest], items.last[rows]
        logits = forward.answer_logits(
            model, ids.to(seen.device), seen[rows], items.images, last.to(seen.device)
        )
        optimizer.zero_grad()
        functional.cross_entropy(logits, answer_ids[rows].to(seen.device)).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


def summary(table: Table, tasks: Sequence[Task]) -> str:
    """Own gains with 95 % intervals over items, the mean matrix, and how many cells stand out.

    An item's own gain is its mean over seeds less the base's; the interval knows nothing of how
    seeds differ.
    """
    base = table.rows[None, None]
    sources = list(dict.fromkeys(source for source, _ in table.rows if source))
    change = {
        source: {
            task: np.stack([row[task] - base[task].astype(float) for row in rows]).mean(1)
            for task in base
        }
        for source in sources
        if (rows := [row for (other, _), row in table.rows.items() if other == source])
    }
    lines = ["| source | base | own gain | seeds |", "|---|---|---|---|"]
    for source in sources:
        rows = [row[source] for (other, _), row in table.rows.items() if other == source]
        per_item = np.mean(rows, 0) - base[source]
        half = 1.96 * per_item.std(ddof=1) / np.sqrt(len(per_item))
        gain = f"{100 * per_item.mean():+.1f} ± {100 * half:.1f}"
        lines.append(f"| {source} | {100 * base[source].mean():.1f} | {gain} | {len(rows)} |")
    cells = [its[task] for source, its in change.items() for task in base if task != source]
    up = sum(bool((cell >= NOTABLE).all()) for cell in cells)
    down = sum(bool((cell <= -NOTABLE).all()) for cell in cells)
    lines += [
        "",
        f"off-diagonal cells of {len(cells)} beyond {100 * NOTABLE:.0f} points in every seed: "
        f"+{up} / -{down}",
        "",
        *_matrix(change, tasks),
    ]
    return "\n".join(lines)


def _matrix(change: dict[str, dict[str, np.ndarray]], tasks: Sequence[Task]) -> list[str]:
    """Mean changes in points, a row a source."""
    short = {task.name: task.abbreviation for task in tasks}
    lines = ["| | " + " | ".join(short.values()) + " |", "|---" * (len(short) + 1) + "|"]
    for source, its in change.items():
        cells = [f"{100 * its[task].mean():+.0f}" for task in short]
        lines.append("| " + " | ".join([short[source], *cells]) + " |")
    return lines


def _line(name: str, found: dict[str, np.ndarray], own: str | None = None) -> str:
    mean = np.mean([its.mean() for its in found.values()])
    return f"{name}: mean {mean:.3f}" + (f", own {found[own].mean():.3f}" if own else "")
