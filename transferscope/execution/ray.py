"""Carry out shards on the workers of a Ray cluster, or of a Ray started on this machine.

Ray runs workers and carries what is said between them and this process; what is missing, kept and
failed is the ledger's, here. A worker holds one base at a time and works on one shard at a time. It
takes arguments by value and hands results back, so it need not see the results folder. A worker
that is lost costs what it was at: the shard begins again on another.
"""

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import ray
from ray import exceptions as gone

from transferscope.engine import Lab, load_lab
from transferscope.errors import DataError, StudyError
from transferscope.execution import cluster
from transferscope.execution.cluster import Ask, one_line
from transferscope.execution.run_state import Attempt, Ledger, described
from transferscope.execution.worker import Place
from transferscope.store.cells import adapter_folder, versions

LOOK = 1.0
"""Seconds between two looks at what the workers do."""

PATIENCE = 30.0
"""Seconds without a worker after which that is said."""

STARTS = 3
"""Workers in a row that may die before they said a word."""

LOST = (gone.RayActorError, gone.ObjectLostError, gone.NodeDiedError, gone.WorkerCrashedError)
"""What tells that a worker went away."""

Steps = Generator[Any, Any, None]
"""Work on a shard: yields what it waits for and is sent what came of it."""


@dataclass(eq=False)
class Hand:
    """A worker as this process knows it."""

    name: str
    ask: Ask
    actor: Any
    node: str = ""
    """Empty until it said a word."""
    model: str = ""
    """Whose base it has."""
    attempt: Attempt | None = None
    steps: Steps | None = None
    """None: it has nothing to do, or has not started yet."""
    at: int = 0
    """Number of what it was asked for."""
    looking: bool = False


def carry_out(
    ledger: Ledger, workers: int | None = None, load: Callable[[], Lab] = load_lab
) -> None:
    """All that the ledger asks for; what fails in a shard is noted, and the others go on.

    Ray is the one that is connected, else the one that `RAY_ADDRESS` names, else one of this
    machine, started here and stopped in the end.

    Args:
        workers: how many; None: one for each GPU, or a single one where there is none.
        load: the lab, called in each worker.

    Raises:
        DataError: what the study brings is damaged, or of another base.
        StudyError: no worker can be started.
    """
    with cluster.connected(workers) as ours:
        crew = _Crew(ledger, workers, load)
        if ours:
            cluster.refuse_what_does_not_fit(crew.asks)
        try:
            crew.work()
        finally:
            crew.dismiss()


class _Crew:
    """The workers, and what is left to do."""

    def __init__(self, ledger: Ledger, workers: int | None, load: Callable[[], Lab]) -> None:
        self.ledger, self.study = ledger, ledger.study
        self._names = (f"w{number}" for number in count(1))
        self.asks = cluster.asks(ledger.study)
        self.most = workers or cluster.places(self.asks)
        self._start = partial(cluster.start, workers=self.most, ledger=ledger, load=load)
        self.hands: list[Hand] = []
        self._refs: dict[Any, tuple[Hand, Callable[[Hand, Any], None]]] = {}
        # The largest base first: its shards are the longest, and nobody should wait for the last.
        models = sorted(self.study.models, key=lambda model: -self.asks[model].memory)
        self._waiting = deque(one for model in models for one in ledger.attempts(model))
        self._bases: dict[str, tuple[str, str]] = {}
        """Of each model the hash of its weights, and the node where it was found first."""
        self._checked = not any(model.adapters for model in self.study.models.values())
        self._starts = 0
        self._heard = time.monotonic()

    def work(self) -> None:
        """Until nothing is left to do, or to wait for."""
        self.ledger.say(f"starting {self.most} of Ray's workers")
        looked = time.monotonic()
        while self._waiting or any(hand.steps for hand in self.hands):
            self._staff()
            self._assign()
            ready, _ = ray.wait(list(self._refs), timeout=LOOK)
            for ref in ready:
                hand, then = self._refs.pop(ref)
                if hand in self.hands:
                    then(hand, ref)
            if time.monotonic() - looked >= LOOK:
                looked = time.monotonic()
                self._look()

    def dismiss(self) -> None:
        """Stop all workers."""
        for hand in list(self.hands):
            self._let_go(hand)

    def _staff(self) -> None:
        """Start workers for what waits, as many as may be."""
        for ask in dict.fromkeys(self.asks[one.shard.model] for one in self._waiting):
            for _ in range(-self._spare(ask)):
                spare = [
                    hand for hand in self.hands if self._is_idle(hand) and self._spare(hand.ask) > 0
                ]
                if len(self.hands) >= self.most and spare:
                    self._let_go(spare[0])
                if len(self.hands) >= self.most:
                    break
                hand = Hand(next(self._names), ask, self._start(ask))
                self.hands.append(hand)
                self._refs[hand.actor.hello.remote()] = hand, self._welcome

    def _spare(self, ask: Ask) -> int:
        """Workers of that size who have nothing to do, beyond the shards that wait for one."""
        idle = sum(hand.ask == ask and hand.steps is None for hand in self.hands)
        return idle - sum(self.asks[one.shard.model] == ask for one in self._waiting)

    def _welcome(self, hand: Hand, ref: Any) -> None:
        """A worker that has started, or has died over it."""
        try:
            place: Place = ray.get(ref)
        except gone.RayError as error:
            return self._died(hand, error)
        own, its = _public(versions()), _public(place.versions)
        if other := [f"{name} {its[name]}" for name in own if own[name] != its[name]]:
            wanted = ", ".join(f"{name} {own[name]}" for name in own if own[name] != its[name])
            raise StudyError(f"{place.node} has {', '.join(other)}, expected {wanted} as here")
        self._starts, hand.node, self._heard = 0, place.node, time.monotonic()
        self.ledger.say("")

    def _died(self, hand: Hand, error: Exception) -> None:
        """A worker without a shard is no more; where that goes on, nothing can be done."""
        self._let_go(hand)
        self._starts += 1
        if self._starts >= STARTS:
            why = one_line(error)
            raise StudyError(f"--executor ray: no worker can be started: {why}") from None

    def _is_idle(self, hand: Hand) -> bool:
        return bool(hand.node) and hand.steps is None

    def _assign(self) -> None:
        """Give idle workers something to do: their own base's shards first."""
        for hand in filter(self._is_idle, list(self.hands)):
            if not self._checked:
                if not any(other.steps for other in self.hands):
                    self._begin(hand, None, self._check(hand))
                continue
            fit = [one for one in self._waiting if self.asks[one.shard.model] == hand.ask]
            own = [one for one in fit if one.shard.model == hand.model]
            if attempt := next(iter(own or fit), None):
                self._waiting.remove(attempt)
                self.ledger.begin(attempt, hand.name, hand.node)
                self._begin(hand, attempt, self._shard(hand, attempt))

    def _begin(self, hand: Hand, attempt: Attempt | None, steps: Steps) -> None:
        hand.attempt, hand.steps = attempt, steps
        self._go_on(hand, None)

    def _answered(self, hand: Hand, ref: Any) -> None:
        """What a worker was asked for is there, or it failed."""
        try:
            self._go_on(hand, ray.get(ref))
        except gone.RayTaskError as error:
            cause = error.cause
            if hand.attempt is None or not isinstance(cause, RuntimeError | MemoryError):
                raise (cause if isinstance(cause, Exception) else error) from None
            cause.__cause__ = error  # which has the worker's traceback
            more = self._again(hand, self.ledger.retry, cause)
            if not more:  # an error of a GPU stays with its process
                self._let_go(hand)
        except (*LOST, gone.OutOfMemoryError) as error:
            if hand.attempt is None:
                return self._died(hand, error)
            # Out of memory it is where Ray ended the worker to save the machine.
            full = isinstance(error, gone.OutOfMemoryError)
            self._again(hand, self.ledger.retry if full else self.ledger.lost, error)
            self._let_go(hand)

    def _again(self, hand: Hand, decide: Callable[..., list[Attempt]], error: Exception) -> bool:
        """Whether there is more to try of what a worker was at."""
        attempt, hand.attempt, hand.steps = hand.attempt, None, None
        more = decide(attempt, error, hand.name) if attempt else []
        self._waiting.extendleft(reversed(more))
        self.ledger.say("", worker=hand.name)
        return bool(more)

    def _go_on(self, hand: Hand, came: Any) -> None:
        """Go on with a shard up to what has to be waited for."""
        assert hand.steps is not None
        hand.at += 1
        try:
            self._refs[hand.steps.send(came)] = hand, self._answered
        except StopIteration:
            hand.attempt, hand.steps = None, None
            self.ledger.say("", worker=hand.name)

    def _check(self, hand: Hand) -> Steps:
        self.ledger.say("looking at what the study brings", worker=hand.name)
        yield hand.actor.check.remote()
        self._checked = True

    def _shard(self, hand: Hand, attempt: Attempt) -> Steps:
        """Have trained and scored what of a shard is missing, and put it in place."""
        ledger, actor, rows = self.ledger, hand.actor, attempt.rows
        model = attempt.shard.model
        if model not in self._bases:
            yield from self._open(hand, model)
        todo = ledger.examine(self._bases[model][0], attempt.shard, hand.name)
        missing = [one for one in todo if one.missing]
        lacking, fresh = [one for one in missing if one.train], {}
        if missing:
            yield from self._open(hand, model)
        if lacking:
            trained = yield actor.train.remote(
                [one._replace(training_set=None) for one in lacking], rows
            )
            runs = [one.run for one in lacking]
            ledger.measured("train", runs, trained.took | {"worker": hand.name})
            fine = ledger.settle(lacking, trained.curves, hand.name)
            kept = [runs[index] for index in fine]
            ledger.keep_adapters(
                [lacking[index] for index in fine],
                [trained.records[index] for index in fine],
                lambda index, place: _write(place, ray.get(actor.files.remote(kept[index]))),
            )
            failed = set(runs) - set(kept)
            todo = [one for one in todo if one.run not in failed]
            missing = [one for one in missing if one.run not in failed]
            ledger.say(f"{model}: scoring {described(runs)}", worker=hand.name)
        if missing:
            handed = {
                one.run: _read(ledger.store.folder / adapter_folder(one.run))
                for one in missing
                if one.run.trained and not one.train
            }
            asked = [one._replace(training_set=None) for one in missing]
            scored = yield actor.score.remote(asked, handed, rows)
            fresh = scored.fresh
            for its, took in scored.took:
                ledger.measured("score", its, took | {"worker": hand.name})
        ledger.keep_answers(todo, fresh)
        ledger.finish(attempt.shard, hand.name)

    def _open(self, hand: Hand, model: str) -> Steps:
        """Have a model's base at a worker's hand; every worker must have the same."""
        found = yield hand.actor.open.remote(model)
        first, node = self._bases.setdefault(model, (found, hand.node))
        if found != first:
            raise DataError(f"{model}: its files on {hand.node} are not those on {node}")
        hand.model = model

    def _look(self) -> None:
        """Ask the workers what they do; say so where there are none."""
        now = time.monotonic()
        if any(hand.node for hand in self.hands):
            self._heard = now
        elif now - self._heard > PATIENCE:
            self._heard = float("inf")
            asked = self.hands[0].ask if self.hands else next(iter(self.asks.values()))
            self.ledger.say("waiting", note=f"Ray has no room yet for a worker with {asked}")
        for hand in self.hands:
            if hand.steps and not hand.looking:
                hand.looking = True
                look = hand.actor.look.options(concurrency_group="ear").remote()
                self._refs[look] = hand, partial(self._seen, hand.at)

    def _seen(self, at: int, hand: Hand, ref: Any) -> None:
        hand.looking = False
        with suppress(gone.RayError):  # what it waits for tells
            doing, part = ray.get(ref)
            if hand.steps and doing and at == hand.at:
                self.ledger.say(doing, part, worker=hand.name)

    def _let_go(self, hand: Hand) -> None:
        self.hands.remove(hand)
        with suppress(gone.RayError):
            ray.kill(hand.actor)


def _public(found: dict[str, str]) -> dict[str, str]:
    """Versions without what tells builds apart: `2.13.0+cpu` is 2.13.0."""
    return {name: version.partition("+")[0] for name, version in found.items()}


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _read(folder: Path) -> dict[str, bytes]:
    """The files of an adapter in the results folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
