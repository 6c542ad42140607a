"""One size in training: its losses, its optimizer, and one step of both.

On a GPU the weights are bfloat16 with float32 masters, and a step is a CUDA graph for each number
of pictures, optimizer included: a step of so small a model is hundreds of tiny kernels, and
launching them one by one would take most of the time.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.glimpse_bases.architecture import build, width
from tools.glimpse_bases.feeding import IGNORED, Batch
from tools.glimpse_bases.forward import hidden
from tools.glimpse_bases.weights import EMBEDDING, HEAD, load_weights
from transferscope.engine.glimpse.arithmetic import vision_features

Stage = Literal["dense", "joint"]
"""`dense`: the vision tower learns the dense labels; `joint`: all learns answers and labels."""

DENSE_SHARE = 0.3
"""Weight of the dense labels' loss beside the answers'."""

_VISION = "model.visual."
_RARE = 3.0
"""Weight of a label that holds; most do not."""


class Trainee:
    """A base of one size, the head that reads its dense labels, and their optimizer."""

    def __init__(
        self,
        size: str,
        labels: int,
        start: Mapping[str, Tensor] | None,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        self.size = size
        model: Any = build(size, seed)
        if start is not None:
            load_weights(model, start)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = nn.Linear(width(model), labels)
        nn.init.constant_(head.bias, -3.0)
        known = {
            name.removeprefix(HEAD): weight
            for name, weight in (start or {}).items()
            if name.startswith(HEAD)
        }
        if known and known["weight"].shape == head.weight.shape:
            head.load_state_dict(known)
        self.fast = device.type == "cuda"
        masters = {**_named(model, head)}
        if self.fast:
            masters = {
                name: weight.detach().to(device, copy=True) for name, weight in masters.items()
            }
        self.model: Any = model.to(device, torch.bfloat16 if self.fast else torch.float32).train()
        self.head = head.to(device, self.model.dtype)
        self.weights: dict[str, Any] = _named(self.model, self.head)
        self.masters: dict[str, Any] = masters if self.fast else self.weights
        self.rate = torch.zeros((), device=device)
        self._rare = torch.tensor(_RARE, device=device)
        self._graphs: dict[int, Callable[[], Tensor]] = {}
        self._inputs: dict[int, Batch] = {}

    def begin(self, stage: Stage) -> None:
        """Start a stage with a fresh optimizer."""
        self.stage: Stage = stage
        joint = stage == "joint"
        self.names = [name for name in self.masters if joint or name.startswith((_VISION, HEAD))]
        chosen = [self.masters[name] for name in self.names]
        for weight in [*self.weights.values(), *chosen]:
            weight.grad = torch.zeros_like(weight)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in chosen if weight.ndim > 1], "weight_decay": 0.03},
                {"params": [weight for weight in chosen if weight.ndim < 2], "weight_decay": 0.0},
            ],
            lr=self.rate if self.fast else 0.0,
            betas=(0.9, 0.98),
            fused=True,
            capturable=self.fast,
        )
        self._graphs.clear()
        self._pool = None

    def step(self, batch: Batch, rate: float) -> Tensor:
        """Learn from a batch; answers with the losses (2,) of answers and labels.

        They lie where the next step writes its own: add them up or copy them at once.
        """
        if not self.fast:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            return self._update(batch)
        if batch.pictures not in self._graphs:
            self._graphs[batch.pictures] = self._captured(batch)
        for place, new in zip(self._inputs[batch.pictures], batch, strict=True):
            place.copy_(new)
        self.rate.fill_(rate)
        return self._graphs[batch.pictures]()

    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's tensors by `KIND.WEIGHT`; empty before the first step."""
        state = self.optimizer.state
        return {
            f"{kind}.{name}": value
            for name in self.names
            for kind, value in state.get(self.masters[name], {}).items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up an optimizer's tensors where they fit the weights."""
        for name in self.names:
            weight, its = self.masters[name], {}
            for kind in ("step", "exp_avg", "exp_avg_sq"):
                saved = state.get(f"{kind}.{name}")
                if saved is not None and saved.shape in (weight.shape, ()):
                    # The step is counted where the optimizer wants it: on the GPU for a graph.
                    device = weight.device if self.fast or kind != "step" else "cpu"
                    its[kind] = saved.to(device, torch.float32)
            if len(its) == 3:
                self.optimizer.state[weight] = its

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The answers' cross-entropy (0 in the dense stage) and the labels' loss."""
        seen = vision_features(self.model, batch.pixels)
        read = self.head(seen).float()
        dense = functional.binary_cross_entropy_with_logits(
            read, batch.labels.float(), pos_weight=self._rare
        ) * (read.shape[-1] / 8)
        if self.stage == "dense":
            return torch.zeros_like(dense), dense
        states = hidden(self.model, batch.ids, seen, batch.pictures)
        logits = functional.linear(states[:, :-1], self.weights[EMBEDDING]).float()
        answers = functional.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED
        )
        return answers, dense

    def _update(self, batch: Batch) -> Tensor:
        """One step, all of it in kernels: what a CUDA graph captures."""
        chosen = [self.masters[name] for name in self.names]
        bases = [self.weights[name] for name in self.names]
        # The private, fused forms: hundreds of single kernels would be a tenth of a step.
        torch._foreach_zero_([weight.grad for weight in self.weights.values()])  # pyright: ignore
        answers, dense = self.losses(batch)
        total = dense if self.stage == "dense" else answers + DENSE_SHARE * dense
        total.backward()
        if self.fast:
            torch._foreach_copy_(  # pyright: ignore
                [weight.grad for weight in chosen], [weight.grad for weight in bases]
            )
        nn.utils.clip_grad_norm_(chosen, 1.0)
        self.optimizer.step()
        if self.fast:
            torch._foreach_copy_([weight.data for weight in bases], chosen)  # pyright: ignore
        return torch.stack([answers.detach(), dense.detach()])

    def _captured(self, batch: Batch) -> Callable[[], Tensor]:
        """A step on `_inputs` as a CUDA graph; step by step where it cannot be captured."""
        own = Batch(*(part.clone() for part in batch))
        self._inputs[batch.pictures] = own
        self.rate.zero_()  # the two warm-up steps must not move the weights
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                self._update(own)
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: the feeder's thread pins memory meanwhile. One pool for all of a
            # size's graphs: they never run at once.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses = self._update(own)
            self._pool = graph.pool()
        except RuntimeError:
            torch.cuda.synchronize()
            return lambda: self._update(own)

        def replay() -> Tensor:
            graph.replay()
            return losses

        return replay


def _named(model: nn.Module, head: nn.Module) -> dict[str, nn.Parameter]:
    """All weights by name, the head's with its prefix."""
    return {
        **dict(model.named_parameters()),
        **{HEAD + name: weight for name, weight in head.named_parameters()},
    }
