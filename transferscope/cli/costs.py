"""What `plan` says a study costs: where shapes and speeds come from, and the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transferscope.cli.options import status
from transferscope.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from rich.table import Table

    from transferscope.study import Study
    from transferscope.study.cost_record import Device, Memory, ModelCost, Prices, Speeds
    from transferscope.study.items import Stock
    from transferscope.study.placement import Way
    from transferscope.study.plan import Plan
    from transferscope.study.shapes import Shapes
    from transferscope.study.study_cost import Whole

TOTALS = (
    "train_items",
    "train_tokens",
    "train_flops",
    "score_items",
    "score_tokens",
    "score_flops",
    "pictures",
    "pictures_looked_at",
    "vision_flops",
    "flops",
    "drawing_seconds",
    "vision_seconds",
    "train_seconds",
    "score_seconds",
    "seconds",
    "seconds_left",
)
"""What models' costs are added up for."""


class Wanted(NamedTuple):
    """How the user wants it planned."""

    calibration: bool
    memory: float | None
    """GiB of a GPU that is not here; None: for this machine."""
    tflops: float | None
    """Of the device, where the user says so."""
    workers: int | None = None
    """Who share the work; None: one process."""


class Costs(NamedTuple):
    """What a study costs on each model, as far as it is known."""

    device: Device
    models: dict[str, ModelCost]
    speeds: dict[str, Speeds]
    notes: list[str]
    tflops: float | None
    prices: dict[str, Prices]
    """Of each model; empty where the work is not shared."""
    ways: dict[str, list[Way]]
    """To place each model that is large."""

    def with_what_is_left(self, left: Mapping[str, float]) -> Costs:
        """The same with the time that is left.

        Args:
            left: the share of each model's work that is still to do.
        """
        models = {
            name: its
            if its.seconds is None
            else replace(its, seconds_left=its.seconds * left[name])
            for name, its in self.models.items()
        }
        return self._replace(models=models)

    def record(self) -> dict[str, Any]:
        """All numbers, their units in the names."""
        models = {name: _flat(its, self._seconds(its.flops)) for name, its in self.models.items()}
        for name, speeds in self.speeds.items():
            its = speeds._asdict()
            its.pop("lengths")
            models[name] |= its
        record: dict[str, Any] = {"device": _device(self.device), "models": models}
        if models:
            record["total"] = self.total()
            record["ways"] = {
                name: [way.record() for way in its] for name, its in self.ways.items()
            }
        return record | {"notes": self.notes}

    def total(self) -> dict[str, Any]:
        """Over the models; a number that one of them lacks is null."""
        total: dict[str, Any] = {}
        for key in TOTALS:
            values = [getattr(its, key) for its in self.models.values()]
            total[key] = None if None in values else sum(values)
        total["peak_memory_bytes"] = max(
            its.memory.peak_memory_bytes for its in self.models.values()
        )
        at_speed = self._seconds(total["flops"])
        return total | ({} if at_speed is None else {"seconds_at_given_tflops": at_speed})

    def _seconds(self, flops: int) -> float | None:
        return None if self.tflops is None else flops / (self.tflops * 1e12)


def costs(
    study: Study,
    plan: Plan,
    stock: Stock,
    wanted: Wanted,
    known: Mapping[str, Speeds] | None = None,
) -> Costs:
    """What a study costs; what cannot be known is a note.

    Args:
        known: what a calibration measured already; None to make one.

    Raises:
        StudyError: a model is nowhere.
    """
    from transferscope.study.placement import ways
    from transferscope.study.sampling import sample
    from transferscope.study.study_cost import Whole, estimate, priced

    notes: list[str] = []
    shapes = dict(_shapes(study, notes))
    device = _place(wanted)
    models: dict[str, ModelCost] = {}
    speeds: dict[str, Speeds] = dict(known or {})
    prices: dict[str, Prices] = {}
    placed: dict[str, list[Way]] = {}
    if shapes:
        whole = Whole(study, plan, stock, sample(plan, stock))
        if known is None and wanted.calibration:
            if wanted.memory is None:
                speeds = dict(_calibrated(whole, shapes, device, wanted.workers, notes))
            else:
                notes.append("no times: another device's speed is not known here; --tflops tells")
        for name, its in shapes.items():
            place = _together(device, study.models[name].gpus)
            models[name] = estimate(whole, name, its, place, speeds.get(name))
            if found := ways(whole, name, its, device):
                placed[name] = found
            if wanted.workers:
                prices[name] = priced(whole, name, its, place, speeds.get(name))
        if study.evaluation.scoring == "generate":
            notes.append("replies are generated: scoring is counted as their first token alone")
    return Costs(device, models, speeds, notes, wanted.tflops, prices, placed)


def _shapes(study: Study, notes: list[str]) -> Iterator[tuple[str, Shapes]]:
    """The shapes of the models whose configuration can be had."""
    from transferscope.engine.bases import check_models
    from transferscope.engine.glimpse.shipped import folder as embedded
    from transferscope.study.shapes import hub_shapes, read_shapes

    check_models(study)
    for name, model in study.models.items():
        where = model.where
        try:
            if Path(where).is_dir():
                yield name, read_shapes(Path(where))
            elif where.startswith("glimpse"):
                yield name, read_shapes(embedded(where))
            else:
                with status(f"asking the hub for the shapes of {where}"):
                    found = hub_shapes(where)
                yield name, found
        except DataError as error:
            notes.append(f"{name}: counts alone: {error}")


def _place(wanted: Wanted) -> Device:
    from transferscope.study.cost_record import Device
    from transferscope.study.machine import free_memory

    if wanted.memory is not None:
        return Device(f"a GPU of {wanted.memory:g} GiB", True, round(wanted.memory * 2**30))
    try:
        from transferscope.engine.calibration import device_at_hand
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("transferscope"):
            raise
        return Device("CPU", False, free_memory())
    return device_at_hand()


def _together(device: Device, gpus: float) -> Device:
    """The GPUs that one base lies on, as one."""
    if not device.gpu or device.memory is None:
        return device
    return device._replace(memory=device.memory * max(1, int(gpus)))


def _calibrated(
    whole: Whole,
    shapes: dict[str, Shapes],
    device: Device,
    workers: int | None,
    notes: list[str],
) -> Iterator[tuple[str, Speeds]]:
    """How fast this machine is with each model that lies on it."""
    from transferscope.engine import load_engine

    try:
        lab = load_engine()
    except MissingExtra as error:
        notes.append(f"no times: {error}")
        return
    from transferscope.engine.calibration import calibrate, share_cores

    share_cores(workers or 1, device)
    for name, its in shapes.items():
        where = whole.study.models[name].where
        if not where.startswith("glimpse") and not any(Path(where).glob("*.safetensors")):
            notes.append(f"{name}: no times: its weights are not on this machine")
            continue
        try:
            with status(f"{name}: a few seconds of training and scoring"):
                place = _together(device, whole.study.models[name].gpus)
                speeds = calibrate(whole, name, its, place, lab)
            yield name, speeds
        except (DataError, MissingExtra, RuntimeError, MemoryError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            notes.append(f"{name}: no times: {line}")


def took(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """The same in words."""
    for name, own in found.items():
        parts = []
        for event, doing in (("train", "training"), ("score", "scoring")):
            if seconds := own.get(f"{event}_seconds"):
                items = own.get(f"{event}_items", 0)
                parts.append(f"{doing} {count(items)} items {duration(seconds)}")
        yield f"took so far: {name}: {', '.join(parts)}"


def _flat(its: ModelCost, at_speed: float | None) -> dict[str, Any]:
    """A model's costs on one level."""
    record = asdict(its)
    record |= its.memory._asdict()
    del record["memory"]
    return record | ({} if at_speed is None else {"seconds_at_given_tflops": at_speed})


def _device(device: Device) -> dict[str, Any]:
    kind = "gpu" if device.gpu else "cpu"
    return {"name": device.name, "kind": kind, "free_memory_bytes": device.memory}


def table(costs: Costs) -> Table:
    """A column for each model, and one for all."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, show_edge=False)
    made.add_column("")
    several = len(costs.models) > 1
    for name in [*costs.models, *(["total"] if several else [])]:
        made.add_column(name, justify="right")
    total = costs.total()
    for label, cells in _rows(costs):
        values = [cells(vars(its)) for its in costs.models.values()]
        if several:
            values.append(cells(total))
        if any(values):
            made.add_row(label, *values)
    return made


def _rows(costs: Costs) -> Iterator[tuple[str, Any]]:
    """Labels, and how a model's fields become a cell; empty where there is nothing to say."""

    def told(key: str, say: Any) -> Any:
        return lambda its: say(its[key]) if its.get(key) is not None else ""

    def held(key: str) -> Any:
        return lambda its: amount(its["memory"]._asdict()[key]) if "memory" in its else ""

    yield "parameters", told("parameters", count)
    yield "distinct pictures", told("pictures", count)
    yield "pictures looked at", told("pictures_looked_at", count)
    yield "training items", told("train_items", count)
    yield "training tokens", told("train_tokens", count)
    yield "answers", told("score_items", count)
    yield "answers' tokens", told("score_tokens", count)
    yield "FLOPs, looking", told("vision_flops", count)
    yield "FLOPs, training", told("train_flops", count)
    yield "FLOPs, scoring", told("score_flops", count)
    yield "memory: weights", held("weights_bytes")
    yield "kept vision features", held("features_bytes")
    yield "adapters in training", held("adapters_bytes")
    yield "activations in training", held("training_bytes")
    yield "activations in scoring", held("scoring_bytes")
    if not costs.device.gpu:
        yield "process and pictures", held("host_bytes")
    yield (
        "peak memory",
        lambda its: amount(
            its["memory"].peak_memory_bytes if "memory" in its else its["peak_memory_bytes"]
        ),
    )
    yield "time: drawing items", told("drawing_seconds", duration)
    yield "looking", told("vision_seconds", duration)
    yield "training", told("train_seconds", duration)
    yield "scoring", told("score_seconds", duration)
    yield "time in all", told("seconds", duration)
    if any(its.seconds_left != its.seconds for its in costs.models.values()):
        yield "still to do", told("seconds_left", duration)
    if costs.tflops is not None:
        rate = costs.tflops * 1e12
        yield f"at {costs.tflops:g} TFLOP/s", lambda its: duration(its["flops"] / rate)


def remarks(costs: Costs, study: Study, plan: Plan) -> Iterator[str]:
    """What is done to make each model fit, and the notes."""
    free = "" if costs.device.memory is None else f", {amount(costs.device.memory)} free"
    if costs.models:
        yield f"on {costs.device.name}{free}:"
    for name, its in costs.models.items():
        most = max((len(shard.runs) for shard in plan.shards if shard.model == name), default=0)
        memory = its.memory
        yield f"  {name}: {_done(memory, most, study)}; {_verdict(memory)}"
        if memory.features_wanted_bytes > memory.features_bytes:
            wanted, kept = amount(memory.features_wanted_bytes), amount(memory.features_bytes)
            again = its.pictures_looked_at / max(1, its.pictures)
            disk = amount(study.budget.disk * 2**30)
            yield (
                f"  {name}: vision features would take {wanted}, {kept} are kept in memory and "
                f"{disk} may lie on disk; a picture is looked at {again:.1f} times"
            )
    for name, speeds in costs.speeds.items():
        yield (
            f"  {name}: measured: {speeds.train_items_per_second:.3g} items/s in training, "
            f"{speeds.score_items_per_second:.3g} in scoring"
        )
    for name, found in costs.ways.items():
        most = max((len(shard.runs) for shard in plan.shards if shard.model == name), default=0)
        yield f"where {name} fits, on GPUs of {found[0].gpu_bytes / 1e9:.3g} GB:"
        for way in found:
            gpus = "1 GPU" if way.gpus == 1 else f"{way.gpus} GPUs"
            weights = f"{way.memory.weights_bytes / 1e9:.3g} GB of weights"
            done, verdict = _done(way.memory, most, study), _verdict(way.memory)
            yield f"  {way.quantization or way.precision} on {gpus}: {weights}; {done}; {verdict}"
    yield from (f"note: {note}" for note in costs.notes)


def _done(memory: Memory, most: int, study: Study) -> str:
    """What is done to make a base fit, with at most so many adapters at once."""
    if not most:
        return "nothing is trained"
    batch = "whole batches"
    if memory.batch_parts > 1:
        batch = f"batches of {study.recipe.batch_size} in {memory.batch_parts} parts"
    twice = "computed twice (checkpointing)" if memory.checkpointing else "kept"
    return f"{memory.adapters_at_once} of {most} adapters at a time, {batch}, activations {twice}"


def _verdict(memory: Memory) -> str:
    if memory.fits is None:
        return "how much memory there is, nobody says"
    if memory.fits:
        return "it fits"
    scoring = memory.scoring_bytes > memory.adapters_bytes + memory.training_bytes
    lower = "evaluation.batch_size" if scoring else "recipe.max_pixels"
    needed = amount(memory.peak_memory_bytes)
    return f"it does NOT fit: it needs {needed}; lower {lower} or take a larger device"


def count(value: float) -> str:
    """A number in three digits: 8.29 G, 512."""
    for scale, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Bytes as GiB or MiB."""
    return f"{value / 2**30:.3g} GiB" if value >= 999 << 20 else f"{value / 2**20:.3g} MiB"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"
