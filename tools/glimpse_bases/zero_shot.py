"""How well a model answers a suite's items: options compared by their letter, nothing decoded."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from tools.glimpse_bases import forward
from tools.glimpse_bases.architecture import width
from tools.glimpse_bases.rows import padded, prompt
from tools.glimpse_bases.tokenizer import letters
from transferscope.engine.glimpse.arithmetic import vision_features
from transferscope.tasks import Item, Split, Suite

BATCH = 64
"""Rows of a forward on a CPU; a GPU takes eight times as many."""


class Questions(NamedTuple):
    """Items of one task, encoded."""

    pixels: np.ndarray
    """(items, images, 112, 112, 3) uint8."""
    ids: Tensor
    """(items, length), padded on the right."""
    last: Tensor
    """(items,): place of the prompt's last token."""
    answers: Tensor
    """(items,): index of the right choice."""
    choices: Tensor
    """(items,): number of choices."""

    @property
    def images(self) -> int:
        return self.pixels.shape[1]


class Score(NamedTuple):
    """How one task went."""

    task: str
    correct: int
    items: int
    chance: float
    """Accuracy of guessing."""

    @property
    def accuracy(self) -> float:
        return self.correct / self.items

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval (normal approximation)."""
        return 1.96 * math.sqrt(self.accuracy * (1 - self.accuracy) / self.items)


def encode_items(items: Iterable[Item]) -> Questions:
    """Encode items that all have the same number of images."""
    items = list(items)
    rows = [prompt(len(item.images), item.prompt) for item in items]
    return Questions(
        np.stack([np.stack([image.pixels() for image in item.images]) for item in items]),
        torch.from_numpy(padded(rows)),
        torch.tensor([len(row) - 1 for row in rows]),
        torch.tensor([item.answer for item in items]),
        torch.tensor([len(item.choices) for item in items]),
    )


@torch.no_grad()
def features(model: Qwen2_5_VLForConditionalGeneration, pixels: np.ndarray) -> Tensor:
    """Vision features of items' images: (items, images x 16, width)."""
    device = model.device
    flat = torch.from_numpy(pixels.reshape(-1, *pixels.shape[2:]))
    seen = [vision_features(model, part.to(device)) for part in flat.split(_batch(device))]
    return torch.cat(seen).view(len(pixels), -1, width(model))


@torch.no_grad()
def right(
    model: Qwen2_5_VLForConditionalGeneration, questions: Questions, seen: Tensor
) -> np.ndarray:
    """Which items the model answers rightly, (items,) bool.

    Args:
        seen: the items' vision features.
    """
    device, found = model.device, []
    letter = torch.tensor(letters(), device=device)
    for rows in torch.arange(len(questions.ids)).split(_batch(device)):
        longest = int(questions.last[rows].max()) + 1
        ids, last = questions.ids[rows, :longest].to(device), questions.last[rows].to(device)
        logits = forward.answer_logits(
            model, ids, seen[rows.to(seen.device)], questions.images, last
        )
        options = logits[:, letter].cpu()
        beyond = torch.arange(len(letter)) >= questions.choices[rows, None]
        found.append(options.masked_fill(beyond, -torch.inf).argmax(1) == questions.answers[rows])
    return torch.cat(found).numpy()


def zero_shot(
    model: Qwen2_5_VLForConditionalGeneration, tasks: Iterable[tuple[str, Questions]]
) -> list[Score]:
    """The model's score on every task."""
    return [score(name, right(model, its, features(model, its.pixels)), its) for name, its in tasks]


def score(task: str, correct: np.ndarray, questions: Questions) -> Score:
    """Sum up which items of a task were answered rightly."""
    chance = float((1 / questions.choices).mean())
    return Score(task, int(correct.sum()), len(correct), chance)


def encode_suite(suite: Suite, items: int, where: Split = "eval") -> list[tuple[str, Questions]]:
    """The first items of a split of a suite's tasks, the open forms not."""
    encoded = []
    for task in suite.defaults:
        split = suite.items(task, where)
        encoded.append(
            (task, encode_items(split[index] for index in range(min(items, len(split)))))
        )
    return encoded


def markdown(sizes: Sequence[str], scores: Sequence[Sequence[Score]]) -> str:
    """Scores of several models as a table, a row a task."""
    head = ["task", "chance", "items", *sizes]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in zip(*scores, strict=True):
        cells = [f"{its.accuracy:.3f} ± {its.half_width:.3f}" for its in row]
        fixed = [row[0].task, f"{row[0].chance:.2f}", str(row[0].items)]
        lines.append("| " + " | ".join(fixed + cells) + " |")
    means = [f"{np.mean([its.accuracy for its in column]):.3f}" for column in scores]
    chance = f"{np.mean([its.chance for its in scores[0]]):.3f}"
    lines.append("| " + " | ".join(["mean", chance, "", *means]) + " |")
    return "\n".join(lines)


def _batch(device: torch.device) -> int:
    return BATCH if device.type == "cpu" else 8 * BATCH
