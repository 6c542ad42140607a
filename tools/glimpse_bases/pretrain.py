"""Pretraining: a base learns to see and to answer, from endless drawn scenes.

Step t learns from the stream's examples 32 t to 32 t + 31 and nothing else, so weights are a
function of the plan alone, and a training that was stopped goes on as if it had not been. Its
folder:

    plan.json                 the plan, which a second call must have as well
    training.safetensors      all that the next call needs
    SIZE.safetensors          weights, float32, with the head for the dense labels
    SIZE-PERCENT.safetensors  weights on the way
    log.jsonl                 losses and seconds, a line every ten steps

First the vision tower learns dense labels (which words hold at each token of an image), then
everything learns answers, with the labels' loss at a small weight; or, with `still`, the language
model alone. The learning rate rises, then falls along a cosine.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from tools.glimpse_bases.architecture import build, width
from tools.glimpse_bases.architecture import size as known_size
from tools.glimpse_bases.forward import hidden
from tools.glimpse_bases.rows import LONGEST, pack, padded
from tools.glimpse_bases.stream import LABELS, example
from tools.glimpse_bases.weights import (
    EMBEDDING,
    HEAD,
    base_weights,
    load_weights,
    read_tensors,
    read_weights,
    save_weights,
)
from transferscope.engine.glimpse.arithmetic import vision_features
from transferscope.errors import DataError
from transferscope.store.atomic import write_whole

RATES = {"s": 2e-3, "m": 1.5e-3, "l": 1e-3}
"""Highest learning rates."""

WARM_UP = 0.03
"""Share of the steps in which the learning rate rises."""

LAST_RATE = 0.03
"""The learning rate at the end, in parts of the highest."""

EXAMPLES = 32
"""Examples of a step."""

SAVE_EVERY = 100
"""Steps between two savings."""

IGNORED = -100
"""Target of a token that the model does not have to write."""

DENSE_SHARE = 0.3
"""Weight of the dense labels' loss beside the answers'."""

TRAINING = "training.safetensors"
KINDS = ("step.", "exp_avg.", "exp_avg_sq.")
"""What AdamW keeps of a weight."""

_VISION = "model.visual."
_RARE = torch.tensor(3.0)
"""Weight of a label that holds; most do not."""


@dataclass(frozen=True)
class Plan:
    """A pretraining, whole."""

    size: str
    """Letter of the size."""
    steps: int
    """Steps of the whole training."""
    seed: int = 0
    """Seed of the stream and of fresh weights."""
    init: str = ""
    """File of weights to start from; empty: from nothing."""
    rate: float = 1.0
    """Factor on the highest learning rate."""
    dense: float = 0.13
    """Share of the steps for the dense labels alone; 0 with `init`."""
    dose: float = 0.06
    """Probability that the task's own question is among an example's."""
    choices: float = 0.4
    """Share of the auxiliary questions that have choices."""
    guesses: float = 0
    """Probability of a question that nobody can answer."""
    still: bool = False
    """Whether the vision tower stays as it is."""
    keep: tuple[float, ...] = ()
    """Shares of the steps after which weights are kept."""


class Batch(NamedTuple):
    """Examples with one number of images."""

    pixels: Tensor
    """(rows x images, 112, 112, 3) uint8."""
    ids: Tensor
    """(rows, length) int64."""
    targets: Tensor
    """(rows, length - 1) int64: the token after each one, or -100."""
    labels: Tensor
    """(rows x images, 16, labels) uint8."""

    @property
    def images(self) -> int:
        return len(self.pixels) // len(self.ids)


class Steps(Dataset[list[Batch]]):
    """The batches of each step: a step's examples, by number of images."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, step: int) -> list[Batch]:
        found: dict[int, list[Any]] = {}
        for index in range(EXAMPLES * step, EXAMPLES * (step + 1)):
            plan = self.plan
            drawn = example(
                index, plan.seed, dose=plan.dose, choices=plan.choices, guesses=plan.guesses
            )
            images = len(drawn.images)
            packed = pack(images, drawn.turns, LONGEST[images])
            if any(packed.answered):  # one that fits no row is left out
                found.setdefault(images, []).append((drawn, packed))
        return [_batch(found[images]) for images in sorted(found)]


def _batch(rows: list[Any]) -> Batch:
    ids = torch.from_numpy(padded([packed.ids for _, packed in rows]))
    own = torch.from_numpy(padded([packed.answered for _, packed in rows], ids.shape[1]) == 1)
    return Batch(
        torch.from_numpy(np.concatenate([drawn.images for drawn, _ in rows])),
        ids,
        torch.where(own[:, 1:], ids[:, 1:], IGNORED),
        torch.from_numpy(np.concatenate([drawn.labels for drawn, _ in rows])),
    )


def pretrain(
    plan: Plan, out: Path, say: Callable[[str], None], until: int | None = None, workers: int = 0
) -> "Trainee":
    """Train to the plan's end, or to step `until`; goes on where the folder stands.

    Args:
        say: takes a line of progress now and then.
        workers: processes that draw ahead; 0: drawn between the steps.

    Raises:
        DataError: the folder holds another plan, or the weights to start from cannot be used.
    """
    _check_plan(plan, out)
    trainee = Trainee(plan, out)
    first, last = trainee.steps, min(plan.steps, until or plan.steps)
    losses, began = torch.zeros(2), time.monotonic()
    for step, batches in zip(range(first, last), _drawn(plan, first, last, workers), strict=True):
        losses += trainee.step(batches, RATES[plan.size] * plan.rate * rate_share(step, plan.steps))
        done = step + 1
        if done % 10 == 0 or done == last:
            count = done - max(first, (done - 1) // 10 * 10)
            seconds = (time.monotonic() - began) / (done - first)
            answers, labels = (losses / count).tolist()
            line = {"step": done, "answers": round(answers, 4), "labels": round(labels, 4)}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({**line, "seconds_a_step": round(seconds, 2)}) + "\n")
            left = round(seconds * (last - done))
            say(
                f"step {done} of {plan.steps}  answers {answers:.3f}  labels {labels:.3f}  "
                f"{left // 60}:{left % 60:02d} left"
            )
            losses.zero_()
        for share in plan.keep:
            if done == round(share * plan.steps):
                kept = out / f"{plan.size}-{round(100 * share)}.safetensors"
                save_weights(kept, base_weights(trainee.weights))
        if done % SAVE_EVERY == 0 or done == last:
            trainee.save(out)
    return trainee


def rate_share(step: int, steps: int) -> float:
    """The learning rate of a step, in parts of the highest."""
    progress = (step + 1) / steps
    wave = 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, progress / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * wave)


def _check_plan(plan: Plan, out: Path) -> None:
    """Write the plan into the folder, or compare it with the one that is there."""
    known_size(plan.size)
    path, text = out / "plan.json", json.dumps(asdict(plan), indent=1) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path}: of another training; name its options or another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def _drawn(plan: Plan, first: int, last: int, workers: int) -> Iterator[list[Batch]]:
    loader = DataLoader(
        Steps(plan), batch_size=None, sampler=range(first, last), num_workers=workers
    )
    return iter(loader)


class Trainee:
    """A base, the head that reads its dense labels, and their optimizer."""

    def __init__(self, plan: Plan, out: Path) -> None:
        going, moments = out / TRAINING, {}
        start = read_weights(Path(plan.init)) if plan.init else None
        self.steps = 0
        if going.exists():
            saved = read_tensors(going)
            self.steps = int(saved.pop("steps"))
            moments = {name: saved.pop(name) for name in list(saved) if name.startswith(KINDS)}
            start = saved
        self.plan = plan
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model: Any = build(plan.size, plan.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            head = nn.Linear(width(model), len(LABELS))
        nn.init.constant_(head.bias, -3.0)
        if start is not None:
            load_weights(model, start)
            known = {n.removeprefix(HEAD): w for n, w in start.items() if n.startswith(HEAD)}
            if known:
                head.load_state_dict(known)
        self.model: Any = model.to(device).train()
        self.head = head.to(device)
        self.weights: dict[str, nn.Parameter] = {
            **dict(self.model.named_parameters()),
            **{HEAD + name: weight for name, weight in self.head.named_parameters()},
        }
        for name, weight in self.weights.items():
            weight.requires_grad = not (plan.still and name.startswith((_VISION, HEAD)))
        learned = [weight for weight in self.weights.values() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in learned if weight.ndim > 1], "weight_decay": 0.03},
                {"params": [weight for weight in learned if weight.ndim < 2], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        for kind_name, value in moments.items():
            kind, name = kind_name.split(".", 1)
            weight = self.weights[name]
            self.optimizer.state[weight][kind] = value.to(weight.device)

    def step(self, batches: list[Batch], rate: float) -> Tensor:
        """Learn from a step's batches; answers with the losses (2,) of answers and labels."""
        dense = self.steps < self.plan.dense * self.plan.steps and not self.plan.init
        tokens = sum(int((batch.targets != IGNORED).sum()) for batch in batches)
        images = sum(len(batch.pixels) for batch in batches)
        losses = torch.zeros(2)
        for batch in batches:
            answers, labels = self._losses(batch, dense)
            answers, labels = answers / tokens, labels * (len(batch.pixels) / images)
            (labels if dense else answers + DENSE_SHARE * labels).backward()
            losses += torch.stack([answers.detach(), labels.detach()]).cpu()
        nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        return losses

    def _losses(self, batch: Batch, dense: bool) -> tuple[Tensor, Tensor]:
        """Sum of the answers' cross-entropy (0 in the dense stage), and the labels' loss."""
        where = self.head.weight.device
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            with torch.set_grad_enabled(not self.plan.still):
                seen = vision_features(self.model, batch.pixels.to(where))
                read = self.head(seen).float()
            labels = functional.binary_cross_entropy_with_logits(
                read, batch.labels.to(where).float(), pos_weight=_RARE.to(where)
            ) * (read.shape[-1] / 8)
            if dense:
                return torch.zeros_like(labels), labels
            states = hidden(self.model, batch.ids.to(where), seen, batch.images)[:, :-1]
            targets = batch.targets.to(where)
            own = targets != IGNORED
            logits = functional.linear(states[own], self.weights[EMBEDDING]).float()
            return functional.cross_entropy(logits, targets[own], reduction="sum"), labels

    def save(self, out: Path) -> None:
        """Write what the next call needs in one file, and the weights alone."""
        moments = {
            f"{kind}.{name}": value
            for name, weight in self.weights.items()
            for kind, value in self.optimizer.state.get(weight, {}).items()
        }
        steps = {"steps": torch.tensor(self.steps)}
        save_weights(out / TRAINING, {**self.weights, **moments, **steps})
        save_weights(out / f"{self.plan.size}.safetensors", self.weights)
