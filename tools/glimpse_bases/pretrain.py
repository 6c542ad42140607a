"""Pretraining: the bases learn to see and to answer, from endless drawn scenes.

All sizes learn from one stream. A call trains for some minutes and leaves everything in a folder;
the next call with the same folder goes on:

    state.json                  steps, items, seconds, seed, index of the next example
    SIZE.safetensors            weights, float32, with the head for the dense labels
    SIZE-optimizer.safetensors  the optimizer's moments
    SIZE-early-PERCENT.safetensors  weights on the way, for mixing
    log.jsonl                   losses and speed, a line every few seconds

First the vision tower learns dense labels (which words hold at each token of a picture), then
everything learns answers, with the labels' loss at a small weight. The learning rate rises, then
falls along a cosine over the planned minutes, whatever the calls they are divided into.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from tools.glimpse_bases.architecture import size as known_size
from tools.glimpse_bases.feeding import Feeder, Supply, feeder
from tools.glimpse_bases.trainee import Stage, Trainee
from tools.glimpse_bases.weights import (
    base_weights,
    read_tensors,
    read_weights,
    save_weights,
)
from transferscope.errors import DataError
from transferscope.store.atomic import write_whole

RATES = {"s": 2e-3, "m": 1.5e-3, "l": 1e-3}
"""Highest learning rates."""

WARM_UP = 0.03
"""Share of the planned time in which the learning rate rises."""

LAST_RATE = 0.03
"""The learning rate at the end, in parts of the highest."""

SAVE_EVERY = 120.0
"""Seconds between two savings of a running training."""


@dataclass(frozen=True)
class Plan:
    """What one call of a pretraining does."""

    sizes: tuple[str, ...]
    """Letters of the sizes that are trained."""
    out: Path
    """Folder of the training."""
    supply: Supply
    """The stream of examples."""
    labels: int
    """Number of dense labels."""
    minutes: float
    """How long this call trains, start-up included, the table at the end not."""
    planned: float
    """Minutes of all calls together: the learning rate ends with them."""
    batch: int
    """Examples of a step, a little more or fewer by number of pictures."""
    init: Path | None = None
    """Folder with SIZE.safetensors to start from; without one, start from nothing."""
    rate: float = 1.0
    """Factor on the highest learning rates."""
    dense: float = 0.13
    """Share of the planned time for the dense labels alone; 0 with `init`."""
    keep: tuple[float, ...] = ()
    """Shares of the planned time at which weights are kept for mixing."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where to train."""
    report_every: float = 10.0
    """Seconds between two lines of progress."""


@dataclass
class State:
    """Where a training stands."""

    seed: int
    steps: int = 0
    items: int = 0
    """Examples learned from, repeated ones counted again."""
    seconds: float = 0.0
    """Time of all calls."""
    next_index: int = 0
    """Index of the first example that was never drawn."""
    stage: Stage = "joint"
    kept: list[float] = field(default_factory=list)
    """Shares of the planned time whose weights have been kept."""


def pretrain(plan: Plan, say: Callable[[str], None]) -> list[Trainee]:
    """Train for the plan's minutes, at least one step; answers with the trained sizes.

    Args:
        say: takes a line of progress now and then.

    Raises:
        DataError: the folder or the weights to start from cannot be used.
    """
    began = time.monotonic()
    state = read_state(plan)
    trainees = [_trainee(plan, size, state.seed) for size in plan.sizes]
    before = state.seconds
    state.stage = _stage(plan, state.seconds)
    for trainee in trainees:
        trainee.begin(state.stage)
        saved = plan.out / f"{trainee.size}-optimizer.safetensors"
        if saved.exists():
            trainee.restore(read_tensors(saved))
    meter = _Meter(plan, say, before)
    with feeder(plan.supply, state.next_index, plan.device) as source:
        source.batch(plan.batch)  # waits for the first examples
        saved_at = time.monotonic()
        more = True
        while more:
            state.seconds = before + time.monotonic() - began
            state.next_index = source.next
            if _stage(plan, state.seconds) != state.stage:
                state.stage = _stage(plan, state.seconds)
                for trainee in trainees:
                    trainee.begin(state.stage)
            _step(plan, state, trainees, source, meter)
            _keep(plan, state, trainees)
            if time.monotonic() - saved_at > SAVE_EVERY:
                save(plan, state, trainees)
                saved_at = time.monotonic()
            more = time.monotonic() - began < plan.minutes * 60
        state.seconds = before + time.monotonic() - began
        state.next_index = source.next
    save(plan, state, trainees)
    meter.show(state)
    return trainees


def read_state(plan: Plan) -> State:
    """Where the training in the plan's folder stands; at its start where there is none.

    Raises:
        DataError: the folder holds a training with another seed.
    """
    path = plan.out / "state.json"
    if not path.exists():
        return State(seed=plan.supply.seed)
    state = State(**json.loads(path.read_text(encoding="utf-8")))
    if state.seed != plan.supply.seed:
        raise DataError(
            f"{path}: trained with seed {state.seed}, not {plan.supply.seed}; name that seed or "
            f"another folder"
        )
    return state


def save(plan: Plan, state: State, trainees: list[Trainee]) -> None:
    """Write everything that the next call needs; `state.json` last."""
    for trainee in trainees:
        save_weights(plan.out / f"{trainee.size}.safetensors", trainee.masters)
        moments = trainee.optimizer_state()
        if moments:
            save_weights(plan.out / f"{trainee.size}-optimizer.safetensors", moments)
    text = json.dumps(asdict(state), indent=1) + "\n"
    write_whole(plan.out / "state.json", text.encode())


def rate_share(progress: float) -> float:
    """The learning rate at a share of the planned time, in parts of the highest."""
    progress = min(1.0, progress)
    wave = 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, progress / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * wave)


def _stage(plan: Plan, seconds: float) -> Stage:
    dense = 0.0 if plan.init else plan.dense
    return "dense" if seconds < dense * plan.planned * 60 else "joint"


def _trainee(plan: Plan, size: str, seed: int) -> Trainee:
    """A size as the folder has it, or else as `init` has it, or else fresh."""
    known_size(size)
    start: Mapping[str, Tensor] | None = None
    own = plan.out / f"{size}.safetensors"
    if own.exists():
        start = read_weights(own)
    elif plan.init is not None:
        start = read_weights(plan.init / f"{size}.safetensors")
    return Trainee(size, plan.labels, start, plan.device, seed)


def _step(
    plan: Plan, state: State, trainees: list[Trainee], source: Feeder, meter: "_Meter"
) -> None:
    """One step of every size on one batch."""
    batch = source.batch(plan.batch)
    share = rate_share(state.seconds / (plan.planned * 60)) * plan.rate
    for trainee in trainees:
        meter.add(trainee.size, trainee.step(batch, RATES[trainee.size] * share))
    state.steps += 1
    state.items += len(batch.ids)
    meter.count(state, len(batch.ids), share)


def _keep(plan: Plan, state: State, trainees: list[Trainee]) -> None:
    """Keep the weights when a share of the planned time is reached."""
    progress = state.seconds / (plan.planned * 60)
    for share in plan.keep:
        if share <= progress and share not in state.kept:
            state.kept.append(share)
            for trainee in trainees:
                path = plan.out / f"{trainee.size}-early-{round(100 * share)}.safetensors"
                save_weights(path, base_weights(trainee.masters))


class _Meter:
    """Adds up losses and shows them every few seconds."""

    def __init__(self, plan: Plan, say: Callable[[str], None], before: float) -> None:
        self._plan, self._say, self._before = plan, say, before
        self._sums = {size: torch.zeros(2, device=plan.device) for size in plan.sizes}
        self._steps = self._items = 0
        self._share = 0.0
        self._since = time.monotonic()

    def add(self, size: str, losses: Tensor) -> None:
        self._sums[size] += losses

    def count(self, state: State, items: int, share: float) -> None:
        self._steps += 1
        self._items += items
        self._share = share
        if time.monotonic() - self._since >= self._plan.report_every:
            self.show(state)

    def show(self, state: State) -> None:
        """Write the last seconds' averages to the log and say them."""
        if not self._steps:
            return
        losses = {size: (total / self._steps).tolist() for size, total in self._sums.items()}
        speed = self._items / (time.monotonic() - self._since)
        line = {
            "stage": state.stage,
            "seconds": round(state.seconds, 1),
            "step": state.steps,
            "items": state.items,
            "items_per_second": round(speed, 1),
            "rate": round(self._share, 4),
            "loss": {size: [round(value, 4) for value in pair] for size, pair in losses.items()},
        }
        with (self._plan.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        left = max(0.0, self._before + self._plan.minutes * 60 - state.seconds)
        shown = "  ".join(f"{size} {a:.3f}/{d:.3f}" for size, (a, d) in losses.items())
        self._say(
            f"{_clock(state.seconds)} {state.stage} step {state.steps} "
            f"{speed:.0f} items/s  {shown}  {_clock(left)} left"
        )
        for total in self._sums.values():
            total.zero_()
        self._steps = self._items = 0
        self._since = time.monotonic()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
