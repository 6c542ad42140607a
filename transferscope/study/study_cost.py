"""What a study will cost: tokens, FLOPs, memory and time of each model, before anything is loaded.

A few items of every task are drawn and stand for the others: how many pictures they show, how
large, and how long their text is. Text is counted without a tokenizer, a token for each word, digit
and mark, unless a calibration has counted it. What is looked at, learned and asked follows from
the plan; what it costs, from the model's shapes (`cost`). Time is told where a calibration, or the
user, says how fast the device is, and left out otherwise.

In:   a study, its plan and items; a model's shapes; a device.
Out:  a `ModelCost` for each model.

Draws items, opens no file, knows no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from transferscope.study import FullRecipe, Study, cost
from transferscope.study.cost import Lora, Room
from transferscope.study.cost_record import Device, Memory, ModelCost, Prices, Speeds
from transferscope.study.items import Stock
from transferscope.study.plan import Plan, Run
from transferscope.study.sampling import Key, Sample, frame_tokens, text_tokens
from transferscope.study.shapes import Shapes
from transferscope.tasks.choices import fixed_choices

GIB = 1 << 30

PROCESS = 400 << 20
"""Bytes of a process with torch and transformers loaded, and nothing else; measured on Linux."""


class Whole(NamedTuple):
    """A study and what it asks for."""

    study: Study
    plan: Plan
    stock: Stock
    sampled: Sample


def estimate(
    whole: Whole, model: str, shapes: Shapes, device: Device, speeds: Speeds | None = None
) -> ModelCost:
    """What a study costs on one of its models."""
    return _Estimate(whole, model, shapes, device, speeds).made()


def priced(
    whole: Whole, model: str, shapes: Shapes, device: Device, speeds: Speeds | None = None
) -> Prices:
    """The same work as in `estimate`, run by run, for who divides it among workers."""
    return _Estimate(whole, model, shapes, device, speeds).prices()


def estimated_lengths(shapes: Shapes, sampled: Sample, most: int | None) -> dict[Key, list[int]]:
    """Tokens of the sampled items, their text's counted without a tokenizer.

    Args:
        most: pixels of a picture at most, in place of the processor's own bound.
    """
    found: dict[Key, list[int]] = {}
    for key, items in sampled.items.items():
        found[key] = [
            text_tokens(item.prompt)
            + frame_tokens(shapes, len(item.images))
            + sum(cost.picture_tokens(shapes, *cost.grid(shapes, *size, most)) for size in sizes)
            for item, sizes in zip(items, sampled.sizes[key], strict=True)
        ]
    return found


class _Estimate:
    """What is known about one model's part of a study."""

    def __init__(
        self, whole: Whole, model: str, shapes: Shapes, device: Device, speeds: Speeds | None
    ) -> None:
        self.study, self.plan, self.stock, self.sampled = whole
        self.model, self.shapes, self.device, self.speeds = model, shapes, device, speeds
        self.recipe: FullRecipe = self.study.recipe_of(model)
        self.runs = [run for run in self.plan.runs if run.model == model]
        self.trained = [run for run in self.runs if run.trained]
        budget = self.study.budget
        self.room = round(budget.memory * GIB), round((budget.memory + budget.disk) * GIB)
        self.stored = self.study.models[model].quantization
        self.lora = lora(shapes, self.recipe, device, self.stored)
        most = self.recipe.max_pixels
        self.grids = {
            key: [[cost.grid(shapes, *size, most) for size in its] for its in own]
            for key, own in self.sampled.sizes.items()
        }
        self.lengths = estimated_lengths(shapes, self.sampled, most)
        self.lengths |= {k: v for k, v in (speeds.lengths if speeds else {}).items() if v}
        self._step, self._asking = cache(self._step_flops), cache(self._asked)
        self._room = cache(self._at_once)

    def made(self) -> ModelCost:
        lessons = [self.plan.lessons[run.source or ""] for run in self.trained]
        train = [self.training(run) for run in self.trained]
        score = [self.scoring(run) for run in self.runs]
        train_flops, score_flops = (round(sum(one[1] for one in its)) for its in (train, score))
        vision = self._vision()
        drawn = sum(lessons) + self.plan.questions
        done = ModelCost(
            parameters=self.shapes.parameters,
            train_items=sum(map(self.recipe.passes_for, lessons)),
            train_tokens=round(sum(one[0] for one in train)),
            train_flops=train_flops,
            score_items=round(sum(one[2] for one in score)),
            score_tokens=round(sum(one[0] for one in score)),
            score_flops=score_flops,
            pictures=vision.distinct,
            pictures_looked_at=vision.looked,
            vision_flops=vision.flops,
            flops=train_flops + score_flops + vision.flops,
            memory=self._memory(vision.bytes),
            drawing_seconds=drawn * self.sampled.seconds,
        )
        return done if self.speeds is None else _timed(done, self.speeds)

    def _learned(self, run: Run) -> dict[Key, int]:
        """Items of each task that a run learns from."""
        return {(name, "train"): n for name, n in self.plan.parts[run.source or ""].items()}

    def prices(self) -> Prices:
        """Of every run, and of pictures, which runs share."""
        asked = _Pictures(self, {(name, "eval"): n for name, n in self.plan.targets.items()})
        learned, most = _Pictures(self, self._distinct()), self.room[1]
        keeps = asked.bytes + learned.bytes <= most
        pools, looks, drawing = {}, {}, dict.fromkeys(self.runs, 0.0)
        for run in self.trained:
            own = self._learned(run)
            for name, split in own:
                size = len(self.stock.split(name, split))
                if name not in pools:
                    pools[name] = _Pictures(self, {(name, split): size})
            parts = {name: own[name, "train"] / len(self.stock.split(name, "train"))
                     for name, _ in own}  # fmt: skip
            held = sum(pools[name].bytes * part for name, part in parts.items())
            items = self.plan.lessons[run.source or ""]
            passes = 1 if keeps or held <= most else -(-self.recipe.passes_for(items) // items)
            looks[run] = {name: part * passes for name, part in parts.items()}
            drawing[run] = items * self.sampled.seconds
        return Prices(
            training={run: self.training(run)[1] for run in self.trained},
            scoring={run: self.scoring(run)[1] for run in self.runs},
            drawing=drawing,
            looks=looks,
            pools={name: pool.flops for name, pool in pools.items()},
            questions=asked.flops,
            question_drawing=self.plan.questions * self.sampled.seconds,
            keeps=keeps,
            weights_bytes=self._weights(),
        )

    def training(self, run: Run) -> tuple[float, float]:
        """Tokens and FLOPs of training a run."""
        own, again = self._learned(run), self._room().checkpointing
        passes = self.recipe.passes_for(sum(own.values())) / sum(own.values())
        tokens = passes * sum(items * _mean(self.lengths[key]) for key, items in own.items())
        flops = passes * sum(
            items * _mean([self._step(length, again) for length in self.lengths[key]])
            for key, items in own.items()
        )
        folding = cost.folding_flops(self.shapes, self.lora)
        return tokens, flops + self.plan.steps_of(run) * folding

    def _step_flops(self, length: int, again: bool) -> int:
        whole = cost.step_flops(self.shapes, self.lora, [length], again=again)
        return whole - (1 + again) * cost.folding_flops(self.shapes, self.lora)

    def scoring(self, run: Run) -> tuple[float, float, float]:
        """Tokens, FLOPs and items, those counted again that are asked in several orders."""
        merged = not self.device.gpu and self.recipe.precision == "float32" and not self.stored
        return self._asking(run.kind in ("base", "again") or merged)

    def _asked(self, bare: bool) -> tuple[float, float, float]:
        tokens, flops, items = 0.0, 0.0, 0.0
        lora = None if bare else self.lora
        for name, count in self.plan.targets.items():
            lengths = self.lengths[name, "eval"]
            count *= self._turns(name)
            items += count
            tokens += count * _mean(lengths)
            each = [cost.forward_flops(self.shapes, length, 1, lora) for length in lengths]
            flops += count * _mean(each)
        return tokens, flops, items

    def _turns(self, target: str) -> float:
        """How often an item is asked."""
        items = self.sampled.items[target, "eval"]
        if self.study.evaluation.choice_order == "given" or fixed_choices(items):
            return 1.0
        return _mean([max(1, len(item.choices)) for item in items])

    def _vision(self) -> "_Vision":
        """Pictures, in turn: those asked about, then those of each fleet's lessons.

        Features that fit within their budget are looked at once. Where those of one fleet's lessons
        or of the questions alone do not, each pass looks at all of its pictures again.
        """
        asked = _Pictures(self, {(n, "eval"): c for n, c in self.plan.targets.items()})
        learned = _Pictures(self, self._distinct())
        everything = asked.bytes + learned.bytes
        if everything <= self.room[1]:
            looked, flops = asked.count + learned.count, asked.flops + learned.flops
        else:
            shards = [shard for shard in self.plan.shards if shard.model == self.model]
            crews = 1 + (len(shards) if self.device.gpu else len(self.runs) - 1)
            passes = (1 + len(shards)) if asked.bytes <= self.room[1] else crews
            looked, flops = passes * asked.count, passes * asked.flops
            for run in self.trained:
                own = _Pictures(self, self._learned(run))
                items = self.plan.lessons[run.source or ""]
                again = -(-self.recipe.passes_for(items) // items)
                passes = 1 if own.bytes <= self.room[1] else again
                looked, flops = looked + passes * own.count, flops + passes * own.flops
        distinct = asked.count + learned.count
        return _Vision(round(distinct), round(looked), round(flops), round(everything))

    def _distinct(self) -> dict[Key, float]:
        """Training items of each source that some run learns from, as expected of random draws."""
        unused: dict[str, float] = {}
        for run in self.trained:
            for (name, split), items in self._learned(run).items():
                share = items / len(self.stock.split(name, split))
                unused[name] = unused.get(name, 1.0) * max(0.0, 1 - share)
        return {
            (name, "train"): (1 - left) * len(self.stock.split(name, "train"))
            for name, left in unused.items()
        }

    def _longest(self) -> int:
        keys = dict.fromkeys(key for run in self.trained for key in self._learned(run))
        return max((max(self.lengths[key]) for key in keys), default=0)

    def _at_once(self) -> Room:
        """What trains at once, for the longest lessons."""
        most = max((len(s.runs) for s in self.plan.shards if s.model == self.model), default=1)
        if self.device.memory is None or not self.trained:
            return Room(most if self.device.gpu else 1, 1, False)
        room = cost.fits(
            self._left(),
            self.recipe.batch_size,
            self._row_bytes(),
            self._adapter_bytes(),
            alone=not self.device.gpu,
        )
        return room._replace(adapters=min(most, room.adapters))

    def _row_bytes(self) -> int:
        return self._longest() * cost.activation_bytes(
            self.shapes, self.recipe.precision, training=True
        )

    def _adapter_bytes(self) -> int:
        return cost.adapter_bytes(
            self.shapes.adapter_numbers(self.recipe.targets, self.recipe.rank)
        )

    def _weights(self) -> int:
        return cost.weights_bytes(self.shapes, self.recipe.precision, self.stored)

    def _left(self) -> int:
        return (self.device.memory or 0) - self._weights()

    def _memory(self, wanted: int) -> Memory:
        room, precision = self._room(), self.recipe.precision
        rows = room.adapters * -(-self.recipe.batch_size // room.parts)
        training = rows * self._row_bytes() if self.trained else 0
        if room.checkpointing:
            kept = self.shapes.layers * self.shapes.width * cost.BYTES[precision]
            training = training // self.shapes.layers + rows * self._longest() * kept
        longest = max(max(self.lengths[name, "eval"]) for name in self.plan.targets)
        token = cost.activation_bytes(self.shapes, precision, training=False)
        scoring = self.study.evaluation.batch_size * longest * token
        features = min(wanted, self.room[0])
        adapters = room.adapters * self._adapter_bytes() if self.trained else 0
        host, weights = PROCESS + self._drawn(), self._weights()
        peak = weights + features + max(adapters + training, scoring)
        peak += 0 if self.device.gpu else host
        memory = self.device.memory
        return Memory(
            weights_bytes=weights,
            features_bytes=features,
            features_wanted_bytes=wanted,
            adapters_bytes=adapters,
            training_bytes=training,
            scoring_bytes=scoring,
            host_bytes=host,
            peak_memory_bytes=peak,
            adapters_at_once=room.adapters,
            batch_parts=room.parts,
            checkpointing=room.checkpointing,
            fits=None if memory is None else peak <= memory,
        )

    def _drawn(self) -> int:
        """Bytes of pictures that an embedded suite's items hold: a fleet's lessons, questions."""
        if not self.stock.stable:
            return 0
        sizes = {
            key: _mean([sum(3 * height * width for height, width in its) for its in own])
            for key, own in self.sampled.sizes.items()
        }
        fleets = [0.0]
        for shard in self.plan.shards:
            learning = [run for run in shard.runs if run in self.trained]
            fleets.append(
                sum(n * sizes[key] for run in learning for key, n in self._learned(run).items())
            )
        asked = sum(count * sizes[name, "eval"] for name, count in self.plan.targets.items())
        return round(asked + max(fleets))


class _Vision(NamedTuple):
    distinct: int
    looked: int
    flops: int
    bytes: int


class _Pictures:
    """Pictures of so many items of each task: how many, their FLOPs and their features' bytes."""

    def __init__(self, own: _Estimate, counts: Mapping[Key, float]) -> None:
        self.count = self.flops = self.bytes = 0.0
        for key, count in counts.items():
            grids, vision = own.grids[key], own.shapes.vision
            self.count += count * _mean([len(its) for its in grids])
            self.flops += count * _mean(
                [sum(cost.vision_flops(own.shapes, *grid) for grid in its) for its in grids]
            )
            tokens = _mean(
                [sum(cost.picture_tokens(own.shapes, *grid) for grid in its) for its in grids]
            )
            self.bytes += count * tokens * cost.feature_bytes(vision, own.recipe.precision)


def _timed(done: ModelCost, speeds: Speeds) -> ModelCost:
    rate = speeds.vision_flops_per_second
    train = done.train_flops / speeds.train_flops_per_second
    score = done.score_flops / speeds.score_flops_per_second
    vision = done.vision_flops / rate if rate else 0.0
    return replace(
        done,
        vision_seconds=vision,
        train_seconds=train,
        score_seconds=score,
        seconds=done.drawing_seconds + vision + train + score,
    )


def lora(
    shapes: Shapes, recipe: FullRecipe, device: Device, quantization: str | None = None
) -> Lora:
    """A recipe's adapters, as they are trained on a device."""
    small = cost.folding_pays(
        shapes, recipe.targets, recipe.precision, recipe.dropout, quantization
    )
    return Lora(recipe.rank, recipe.targets, folded=small and not device.gpu)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
