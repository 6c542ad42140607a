"""What `plan` prints: the cost of a study, and what the engine does to make it fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from transferscope.cli.options import status
from transferscope.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from rich.table import Table

    from transferscope.study import Study
    from transferscope.study.estimate import CostEstimate, Device, ModelCost, Rates
    from transferscope.study.plan import Plan
    from transferscope.study.shapes import Shapes

SUMMED = (
    *("train_items", "train_tokens", "train_flops", "score_items", "score_tokens", "score_flops"),
    *("images", "images_encoded", "vision_flops", "flops", "peak_memory_bytes"),
    *("reading_seconds", "vision_seconds", "train_seconds", "score_seconds"),
    *("seconds", "seconds_left"),
)
"""Fields of `ModelCost` that are added up over models."""


class Wanted(NamedTuple):
    """Options of the command."""

    calibration: bool
    memory: float | None
    """GiB of a GPU that is not here; None: plan for this machine."""
    tflops: float | None
    """TFLOP/s of the device, given instead of measured."""
    processes: int | None
    """None: as many as `run` would use. A makespan is of workers that are one process each."""


@dataclass
class Costs:
    """The cost of a plan on each model, as far as it is known."""

    device: Device
    models: dict[str, ModelCost]
    rates: dict[str, Rates]
    notes: list[str]
    families: dict[str, str] = field(default_factory=dict[str, str])
    """Each model's `model_type`."""

    def record(self) -> dict[str, Any]:
        """All numbers, with units in their names."""
        rates = {name: rates._asdict() for name, rates in self.rates.items()}
        models = {
            name: asdict(cost)
            | {f"{key}_flops_per_second": rate for key, rate in rates.get(name, {}).items()}
            for name, cost in self.models.items()
        }
        name, gpu, memory, processes = self.device
        device = {"name": name, "kind": "gpu" if gpu else "cpu", "free_memory_bytes": memory}
        device |= {"processes": processes}
        return {"device": device, "models": models, "total": self.total(), "notes": self.notes}

    def total(self) -> dict[str, Any]:
        """Sums over the models; null if one of them lacks a number. Memory is the largest peak."""
        return _sum([asdict(cost) for cost in self.models.values()])


def costs(
    plan: Plan, wanted: Wanted, left: Mapping[str, float], known: Mapping[str, Rates] | None = None
) -> Costs:
    """What a plan costs where it runs as `run` would; each thing that cannot be known is a note.

    Args:
        left: the share of each model's work that is not finished.
        known: rates measured before; None to measure them.

    Raises:
        StudyError: a model does not exist.
    """
    from transferscope.engine.bases import check_models
    from transferscope.execution.local import default_workers
    from transferscope.study.cost import free_memory
    from transferscope.study.estimate import CostEstimate, Device, Rates, sample

    check_models(plan.study)
    if wanted.memory is not None:
        device = Device(f"a GPU of {wanted.memory:g} GiB", True, round(wanted.memory * 2**30))
    else:
        profiling = profiling_module()
        device = profiling.this_device() if profiling else Device("CPU", False, free_memory())
        device = device._replace(processes=wanted.processes or default_workers(plan))
    found, sampled = Costs(device, {}, dict(known or {}), []), sample(plan)
    notes = found.notes
    measure = known is None and wanted.calibration and wanted.memory is wanted.tflops is None
    for name, model in plan.study.models.items():
        try:
            shapes = _shapes(model.where)
        except DataError as error:
            notes.append(f"{name}: only counts, no FLOPs and no memory: {error}")
            continue
        found.families[name] = shapes.family
        if not shapes.exact:
            notes.append(
                f"{name}: the costs of {shapes.family} are rough: its layers and image tokens "
                "are counted as those of a plain model"
            )
        memory = device.memory
        if device.gpu and memory is not None:  # GPUs that share a base count as one
            memory *= max(1, int(model.gpus))
        made = CostEstimate(plan, sampled, name, shapes, device._replace(memory=memory))
        if wanted.tflops is not None:
            found.rates[name] = Rates(*[wanted.tflops * 1e12] * 3)
        elif measure:
            try:
                found.rates[name] = _measured(made)
            except (DataError, MissingExtra, RuntimeError, MemoryError) as error:
                line = (str(error).strip() or type(error).__name__).splitlines()[0]
                notes.append(f"{name}: no times: {line}")
        found.models[name] = made.cost(found.rates.get(name), left[name])
    if wanted.memory is not None and wanted.tflops is None:
        notes.append("no times: the speed of a device that is not here is unknown; give --tflops")
    if wanted.calibration is False and wanted.tflops is None:
        notes.append("no times: the calibration was skipped")
    if plan.study.evaluation.scoring == "generate":
        notes.append("replies are generated, but only their first token is counted")
    return found


def _shapes(where: str) -> Shapes:
    """The shapes of a model in a folder, in the package or on the Hub."""
    from transferscope.engine.glimpse.shipped import folder as embedded
    from transferscope.study.shapes import MissingSize, hub_shapes, parse_shapes, read_shapes

    if where.startswith("glimpse"):
        return read_shapes(embedded(where))
    try:
        if Path(where).is_dir():
            return read_shapes(Path(where))
        with status(f"downloading the configuration of {where}"):
            return hub_shapes(where)
    except MissingSize:  # as in Gemma 3's configuration; transformers knows the family's defaults
        if profiling := profiling_module():
            return parse_shapes(profiling.config_of(where).to_dict(), where)
        raise


def profiling_module() -> ModuleType | None:
    """The engine's module that needs torch; None if torch is not installed."""
    try:
        from transferscope.engine import profiling
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("transferscope"):
            raise
        return None
    return profiling


def _measured(made: CostEstimate) -> Rates:
    """The model's rates on this machine."""
    from transferscope.engine import load_engine

    where = made.plan.study.models[made.model].where
    if not where.startswith("glimpse") and not any(Path(where).glob("*.safetensors")):
        raise DataError("the weights are not on this machine")
    load_engine()
    from transferscope.engine.profiling import calibrate

    with status(f"{made.model}: a few seconds of training and scoring"):
        return calibrate(made)


class Judging(NamedTuple):
    """The second stage of an experiment: all studies that judge the selection, together."""

    summary: dict[str, int]
    total: dict[str, Any]
    """As `Costs.total`; empty if no model's shapes are known."""
    chosen: bool
    """Whether the mixtures are known; otherwise the costs are upper limits."""


def judging(study: Study, out: Path, wanted: Wanted, first: Costs) -> Judging:
    """The second stage's work and cost, at the rates of the first stage."""
    from transferscope.execution.runner import remaining_work
    from transferscope.selection.experiment import recorded, second_stage
    from transferscope.study.plan import plan_study

    summary: Counter[str] = Counter()
    totals: list[dict[str, Any]] = []
    for folder, one in second_stage(study, out):
        plan = plan_study(one, assume=True)
        done = remaining_work(plan, folder)
        summary.update(plan.summary() | {"cells finished": done.cells})
        totals.append(costs(plan, wanted, done.shares, first.rates).total())
    return Judging(dict(summary), _sum([t for t in totals if t]), recorded(study, out) is not None)


def _sum(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of each cost, and the largest peak of memory; None if a record lacks a number."""
    found: dict[str, Any] = {}
    for key in [key for key in (records[0] if records else ()) if key in SUMMED]:
        values = [record[key] for record in records]
        gather = max if key == "peak_memory_bytes" else sum
        found[key] = None if None in values else gather(values)
    return found


# As text


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
    """Seconds in a readable unit."""
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters", "parameters", count),
    ("distinct images", "images", count),
    ("images encoded", "images_encoded", count),
    ("training items", "train_items", count),
    ("training tokens", "train_tokens", count),
    ("answers", "score_items", count),
    ("tokens of answers", "score_tokens", count),
    ("FLOPs, vision tower", "vision_flops", count),
    ("FLOPs, training", "train_flops", count),
    ("FLOPs, scoring", "score_flops", count),
    ("memory: weights", "weights_bytes", amount),
    ("  vision features", "features_bytes", amount),
    ("  adapters in training", "adapters_bytes", amount),
    ("  activations, training", "training_bytes", amount),
    ("  activations, scoring", "scoring_bytes", amount),
    ("  process and images", "host_bytes", amount),
    ("peak memory", "peak_memory_bytes", amount),
    ("time: reading items", "reading_seconds", duration),
    ("  vision tower", "vision_seconds", duration),
    ("  training", "train_seconds", duration),
    ("  scoring", "score_seconds", duration),
    ("total time", "seconds", duration),
    ("time left", "seconds_left", duration),
)
"""Label, field and format of each row of the table."""


def table(found: Costs) -> Table:
    """A column for each model, and a total."""
    from rich.table import Table

    columns = {name: asdict(cost) for name, cost in found.models.items()}
    if len(columns) > 1:
        columns["total"] = found.total()
    made = Table("", box=None, pad_edge=False, show_edge=False)
    for name in columns:
        made.add_column(name, justify="right")
    for label, key, text in ROWS:
        values = [column.get(key) for column in columns.values()]
        left_out = key == "host_bytes" and found.device.gpu
        left_out |= key == "seconds_left" and values == [c.get("seconds") for c in columns.values()]
        if not left_out and any(value is not None for value in values):
            made.add_row(label, *["" if value is None else text(value) for value in values])
    return made


def numbers(summary: Mapping[str, int]) -> Iterator[str]:
    """A line for each amount of work that is not 0."""
    for what, number in summary.items():
        if number:
            first, _, rest = what.partition("s ")  # "bases with ..." has the plural inside
            one = f"{first} {rest}" if rest else what.removesuffix("s")
            yield f"{number:>12,} {what if number > 1 else one}"


def remarks(found: Costs, plan: Plan) -> Iterator[str]:
    """What the engine does to make each model fit, and the notes."""
    free = found.device.memory
    if found.models:
        yield "Not counted: elementwise work, padding, loading bases. Text tokens are estimates."
        on = f"On {found.device.name}{'' if free is None else f', {amount(free)} free'}"
        many = found.device.processes
        yield f"{on}, on {many} processes:" if many > 1 else f"{on}:"
    for name, cost in found.models.items():
        yield f"  {name}: {_fit(cost, name, plan)}"
        if cost.features_wanted_bytes > cost.features_bytes:
            yield (
                f"  {name}: vision features take {amount(cost.features_wanted_bytes)}; "
                f"{amount(cost.features_bytes)} stay in memory, and up to "
                f"{amount(plan.study.budget.disk * 2**30)} on disk; an image is encoded "
                f"{cost.images_encoded / max(1, cost.images):.1f} times"
            )
    yield from (f"Note: {note}" for note in found.notes)


def _fit(cost: ModelCost, model: str, plan: Plan) -> str:
    """What is done to make a base fit, and whether it does."""
    fleets = [{run.finished for run in one.runs} for one in plan.shards if one.model == model]
    most = max(map(len, fleets), default=0)
    done = "nothing is trained"
    if any(run.trained and run.model == model for run in plan.runs):
        batch = "whole batches"
        if cost.microbatches > 1:
            batch = f"batches of {plan.recipe.batch_size} in {cost.microbatches} microbatches"
        activations = "recomputed (checkpointing)" if cost.checkpointing else "kept"
        done = f"{cost.adapters_at_once} of {most} {plan.recipe.product}s at a time, {batch}"
        done += f", activations {activations}"
    if cost.fits is None:
        return f"{done}; device memory unknown"
    if cost.fits:
        return f"{done}; fits"
    scoring = cost.scoring_bytes > cost.adapters_bytes + cost.training_bytes
    remedy = f"lower {'evaluation.batch_size' if scoring else 'recipe.max_pixels'}"
    if 2 * cost.weights_bytes > cost.peak_memory_bytes:
        remedy = "set quantization: nf4 or gpus: 2"
    return f"{done}; does NOT fit: needs {amount(cost.peak_memory_bytes)}; {remedy}"


def makespan(found: Costs, plan: Plan, workers: int) -> tuple[float | None, str]:
    """The least time of several workers in seconds, and a line on it."""
    from transferscope.study.estimate import least_seconds

    shards = len(plan.bases) + len(plan.shards)
    who = f"{workers} worker{'s' if workers > 1 else ''}"
    every = len(found.models) == len(plan.study.models)
    least = least_seconds(found.models.values(), workers) if every else None
    if least is None:
        return None, f"{who}: makespan unknown without times; give --tflops"
    longest = max(cost.longest_shard_seconds or 0.0 for cost in found.models.values())
    line = f"{who}: makespan at least {duration(least)} of {found.device.name} each"
    if workers > shards or least == longest:
        line += f", the longest of {shards} shards; a lower budget.fleet makes smaller shards"
    return least, line


def spent(measured: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """What training and scoring took so far."""
    for name, took in measured.items():
        parts = [
            f"{doing} {count(took.get(f'{event}_items', 0))} items {duration(seconds)}"
            for event, doing in (("train", "training"), ("score", "scoring"))
            if (seconds := took.get(f"{event}_seconds"))
        ]
        yield f"So far: {name}: {', '.join(parts)}"


def judging_lines(stage: Judging, first: Costs) -> Iterator[str]:
    """The second stage in words."""
    most = "" if stage.chosen else ", at most, as the mixtures are not known yet"
    yield f"\nThen, to judge the selection{most}:"
    yield from numbers(stage.summary)
    if not stage.total:
        return
    line = f"  {count(stage.total['flops'])} FLOPs"
    line += f", peak memory {amount(stage.total['peak_memory_bytes'])}"
    before, seconds = first.total().get("seconds"), stage.total["seconds"]
    if before is not None and seconds is not None:
        line += f", time {duration(seconds)}, with the first stage {duration(before + seconds)}"
    yield line
