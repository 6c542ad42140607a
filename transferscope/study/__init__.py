"""A study: which models, tasks and seeds, how adapters are trained and how they are evaluated.

One frozen record, read from one YAML file (`file`). Omitted keys have the defaults below; unknown
keys are errors. `items` has the study's items, `plan` its runs, `estimate` what they will cost.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
    with_config,
)

from transferscope.study.controls import CONTROLS
from transferscope.tasks.choices import Prompt

MOST_SEEDS = 1000


def _list_of_one(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _checked_count(value: Any) -> Any:
    """Refuse a number of seeds that is out of range."""
    if type(value) is int and not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"must be a list of seeds, or their number from 1 to {MOST_SEEDS:,}")
    return value


def _seeds(value: Any) -> Any:
    """A number of seeds as the seeds from 0 on."""
    return range(value) if type(_checked_count(value)) is int else value


def _gpus(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError("must be a share of one GPU, or a whole number of GPUs")
    return value


def _control(value: str) -> str:
    if value not in CONTROLS:
        raise ValueError(f"must be one of {', '.join(CONTROLS)}")
    return value


def _ceiling(value: Any) -> Any:
    """Refuse percent; pydantic's message for a union is no help to a reader."""
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    for number in numbers:
        if number is None or number == "self":
            continue
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError("must be a fraction in (0, 1], one fraction per target, or self")
        if not 0 < number <= 1:
            hint = "; divide percent by 100" if number > 1 else ""
            raise ValueError(f"must be fractions in (0, 1], got {number}{hint}")
    return value


Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]


def _with_one(values: tuple[float, ...]) -> tuple[float, ...]:
    """Some factors and 1, in order, rounded as in the names of sources."""
    return tuple(sorted({1.0, *(round(value, 4) for value in values)}))


Share = Annotated[float, Field(ge=0, lt=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=0.01, le=100)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}$")]
Precision = Literal["float32", "bfloat16"]
Loss = Literal["reply", "letter"]
ADAPTERS_ONLY = ("rank", "alpha", "dropout", "targets", "peft")
"""Fields of a recipe that mean nothing where every weight is trained."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one adapter is trained. Every field is part of a run's key."""

    method: Literal["lora", "full"] = "lora"
    """`full` trains every weight instead of an adapter, one model at a time on the reference path:
    slower, with weights, gradients and AdamW's states in float32 beside the base."""
    rank: Count = 16
    """LoRA rank (dimension of the update)."""
    alpha: Count = 32
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: Share = 0.0
    """Share of the adapters' inputs dropped in training."""
    targets: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_list_of_one)] = (
        "all",
    )
    """Linear layers of the decoder layers that get an adapter: `all`, the groups `attention`, `mlp`
    and `shared_experts`, or the ends of layer names."""
    learning_rate: Positive | None = None
    """Peak learning rate of AdamW; a model may set another. Null: 1.5e-3 for an embedded base,
    1e-4 for any other; a tenth of that if `method` is `full`."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warmup."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    epochs: Count | None = None
    """Passes over a source's items; 3 if neither epochs nor steps are given."""
    steps: Count | None = None
    """Optimizer steps, in place of epochs."""
    batch_size: Count = 32
    """Items per step, for each adapter."""
    loss: Loss = "reply"
    """On the whole reply and the token that ends it, or only on the letter of an option."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay."""
    max_grad_norm: Positive = 1.0
    """Largest norm of an adapter's gradient; larger gradients are scaled down to it."""
    peft: dict[str, Any] | None = None
    """Further options of PEFT's `LoraConfig`, such as `use_dora: true`, `modules_to_save` or
    `target_modules` outside the language model. PEFT's own layers are trained then, one adapter at
    a time: slower, with a copy of the base beside it."""
    items: Count = 512
    """Training items of each source; all of them where it has fewer."""
    max_pixels: Count | None = None
    """Largest size of an image, in pixels; null for the processor's limit."""
    precision: Precision | None = None
    """Of the frozen base, on any device. Null: float32 for an embedded base, bfloat16 for any
    other."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both given; give one")
        for one in fields(self) if self.method == "full" else ():
            if one.name in ADAPTERS_ONLY and (given := getattr(self, one.name)) != one.default:
                raise ValueError(f"{one.name}: must be left out with method full, got {given!r}")
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 3)

    def steps_for(self, items: int) -> int:
        """Optimizer steps of an adapter with this many training items."""
        return self.steps or (self.epochs or 0) * -(-items // self.batch_size)

    def passes_for(self, items: int) -> int:
        """Items processed in all of its steps, repeated ones counted again."""
        epochs, more = divmod(self.steps_for(items), -(-items // self.batch_size))
        return epochs * items + min(items, more * self.batch_size)

    @property
    def product(self) -> str:
        """What training makes."""
        return "model" if self.method == "full" else "adapter"

    def defaults(self, *, embedded: bool) -> dict[str, Any]:
        """What null stands for, by field."""
        usual = EMBEDDED if embedded else OTHERS
        times = 10 if self.method == "full" else 1
        return usual | {"learning_rate": round(usual["learning_rate"] / times, 9)}

    def key_parts(self) -> dict[str, Any]:
        """The fields as a run's key hashes them."""
        parts = asdict(self)
        parts["clip"] = parts.pop("max_grad_norm")  # the name in the keys of finished runs
        if self.peft is None:
            del parts["peft"]
        dropped = ADAPTERS_ONLY if self.method == "full" else ("method",)
        parts = {name: value for name, value in parts.items() if name not in dropped}
        if parts["loss"] == "letter":  # as runs were trained before there was a choice
            del parts["loss"]
        if self.dropout:  # before, masks depended on the size of the microbatch
            parts["masks"] = 2
        return parts


@dataclass(frozen=True, kw_only=True)
class FullRecipe(Recipe):
    """A recipe for one model: the defaults of its family are filled in."""

    learning_rate: Positive  # pyright: ignore[reportGeneralTypeIssues] - keyword-only
    precision: Precision  # pyright: ignore[reportGeneralTypeIssues]


EMBEDDED: dict[str, Any] = {"learning_rate": 1.5e-3, "precision": "float32"}
"""Defaults of LoRA for an embedded base."""
OTHERS: dict[str, Any] = {"learning_rate": 1e-4, "precision": "bfloat16"}
"""The same for any other base."""
PROJECTIONS = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)
"""All linear layers of a Llama-like decoder layer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Evaluation(_Strict):
    """How evaluation items are answered."""

    scoring: Literal["letters", "generate"] = "letters"
    """By the log-probabilities of the option letters, or by parsing a generated reply."""
    prompt: Prompt = "benchmark"
    """The benchmark's prompt, or that prompt and a request to reply with the letter only. Training
    uses the same."""
    choice_order: Literal["given", "circular"] = "given"
    """Each item once as it is, or once for every rotation of its options, with log-probabilities
    averaged (by `generate`: the most frequent option). Targets that always offer the same options
    in the same order keep that order."""
    items: Count | None = None
    """Number of evaluation items of each target; null for all."""
    after: Annotated[int, Field(strict=True, ge=0)] = 0
    """Evaluation items of each target that are skipped before those."""
    reply_tokens: Count | None = None
    """Most tokens of a generated reply; null for 16. A model that thinks needs more."""
    batch_size: Count = 64
    """Items per forward; changes no result beyond rounding."""
    at: Annotated[tuple[Part, ...], AfterValidator(_with_one)] = (1.0,)
    """Shares of the training steps after which a source's adapter is kept and scored too, as the
    source `Jigsaw @ 40`; 1 is always among them. They are beside the matrix, as mixtures are."""
    strengths: Annotated[tuple[Factor, ...], AfterValidator(_with_one)] = (1.0,)
    """Factors of LoRA's alpha with which a source's finished adapter is scored too, as the source
    `Jigsaw x 0.5`; 1 is always among them."""


class Budget(_Strict):
    """Limits on memory and disk; they change no result beyond rounding."""

    fleet: Count = 16
    """Most adapters trained or scored at once."""
    memory: Positive = 2.0
    """GiB of vision features kept in memory."""
    disk: Annotated[float, Field(ge=0)] = 20.0
    """GiB of vision features kept on disk when they do not fit in memory; 0 for none."""
    cache: str | None = None
    """Folder for features on disk; null for one in the results folder, safe to delete."""


class SuiteChoice(BaseModel):
    """A suite and its options, which the suite's class declares and checks."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """A suite's name, or a folder with `suite.yaml`; `hub` where the options name a data set."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_hub(cls, given: Any) -> Any:
        return {"name": "hub"} | given if isinstance(given, dict) and "hub" in given else given

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the suite's class (`suites.open_suite`)."""
        return self.model_extra or {}


class Model(_Strict):
    """One base."""

    where: str
    """An embedded base, a local folder, or a Hub id."""
    learning_rate: Positive | None = None
    """Replaces the recipe's learning rate."""
    thinking: Annotated[bool, Field(strict=True)] = False
    """Whether the model may think before it answers, if its chat template has a switch."""
    trust_remote_code: Annotated[bool, Field(strict=True)] = False
    """Whether Python code in the model's repository may run."""
    quantization: Literal["nf4"] | None = None
    """How the language model's linear layers are stored: 4 bits, by bitsandbytes; null: in
    `recipe.precision`. Part of a run's key."""
    gpus: Annotated[float, Field(gt=0, le=64), AfterValidator(_gpus)] = 1.0
    """GPUs per worker. The layers of the base are spread over 2 or more. A share is for Ray only:
    0.5 puts two workers on one GPU."""
    adapters: dict[str, dict[int, str]] = {}
    """External adapters, by source and seed, used instead of training: PEFT folders, or folders of
    whole finetuned models."""

    @property
    def embedded(self) -> bool:
        """Whether the base comes with the package."""
        return self.where.startswith("glimpse")


class Selection(_Strict):
    """An experiment on the worth of a selection. The study's seeds measure the matrix that selects
    a mixture for each target. Other seeds compare that mixture with other training sets, each of
    `recipe.items` items."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Tasks to train for as if they had no training items."""
    rule: Literal["default", "paper"] = "default"
    """How the matrix selects the mixture, as in `transferscope select`."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Null for the rule's default."""
    draws: Annotated[int, Field(strict=True, ge=1, le=1000)] = 2
    """Random mixtures with as many sources as the selected one, fresh for each judging seed."""
    seeds: Annotated[Seeds, BeforeValidator(_checked_count)] = ()
    """Judging seeds: a list, or how many (4) after the study's seeds."""
    items: Count | None = None
    """Evaluation items per target to judge on, after those that selected; null judges on the same
    items, which makes the selected mixture look better than it is."""


def _keyed(name: str) -> Callable[[Any], Any]:
    """A validator that takes plain text as the field `name` of a section."""
    return lambda value: {name: value} if isinstance(value, str) else value


class Study(_Strict):
    """Models x seeds x sources x targets, and how they are trained and evaluated."""

    name: ModelName
    """The default name of the results folder."""
    models: Annotated[
        dict[ModelName, Annotated[Model, BeforeValidator(_keyed("where"))]], Field(min_length=1)
    ]
    """The bases by the names in tables, smallest first."""
    suite: Annotated[SuiteChoice, BeforeValidator(_keyed("name"))]
    sources: tuple[str, ...] | None = None
    """Tasks finetuned on; null for all."""
    targets: tuple[str, ...] | None = None
    """Tasks evaluated; null for all."""
    seeds: Annotated[Seeds, BeforeValidator(_seeds)] = (0, 1)
    """The replicates: a list, or how many."""
    recipe: Recipe = Recipe()
    evaluation: Evaluation = Evaluation()
    ceilings: Annotated[
        float | dict[str, float] | Literal["self"] | None, BeforeValidator(_ceiling)
    ] = None
    """Best reachable accuracy of the targets; null for 1."""
    adapters: dict[str, dict[int, str]] = {}
    """As `adapters` of a model, for a study of one model."""
    mixtures: dict[ModelName, dict[str, Positive]] = {}
    """Sources that mix tasks, by name: each task's share of `recipe.items`. Shares must sum to 1;
    a sum within 2 % of it is scaled. A mixture is measured like a source but is never a target and
    has no part in transferability, personas, cliques or the graph."""
    mixture_seeds: dict[str, tuple[int, ...]] = {}
    """The seeds of mixtures that are not trained with all of the study's seeds."""
    selection: Selection | None = None
    """Makes the study a selection experiment."""
    controls: tuple[Annotated[str, AfterValidator(_control)], ...] = ()
    """Placebos, a mixture of all sources' items with gray images and random answers (`format-only`)
    or with answers exchanged within each task (`shuffled`); and the base with the options in
    another order (`reordered`)."""
    budget: Budget = Budget()

    @model_validator(mode="before")
    @classmethod
    def _judging_seeds(cls, given: Any) -> Any:
        """A number of judging seeds as the first seeds after the study's."""
        chosen = given.get("selection") if isinstance(given, dict) else None
        if not isinstance(chosen, dict) or type(count := chosen.get("seeds", 4)) is not int:
            return given
        seeds = given.get("seeds", 4)
        seeds = range(seeds) if type(seeds) is int else seeds
        if (
            not isinstance(seeds, range | list | tuple)
            or not 1 <= count <= MOST_SEEDS
            or not 1 <= len(seeds) <= MOST_SEEDS
            or not all(type(seed) is int for seed in seeds)
        ):
            return given  # the fields' own checks refuse it with a better message
        first = max(seeds) + 1
        return given | {"selection": chosen | {"seeds": list(range(first, first + count))}}

    def recipe_of(self, model: str) -> FullRecipe:
        """The recipe for one model, with its learning rate and the defaults of its family."""
        base = self.models[model]
        chosen = {key: value for key, value in vars(self.recipe).items() if value is not None}
        chosen = self.recipe.defaults(embedded=base.embedded) | chosen
        if base.learning_rate is not None:
            chosen["learning_rate"] = base.learning_rate
        if base.embedded and self.recipe.targets == ("all",) and self.recipe.method == "lora":
            chosen["targets"] = PROJECTIONS  # the same layers, by the names in finished keys
        return FullRecipe(**chosen)


def apportioned(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """`count` items divided by shares that sum to 1, with the largest-remainder method.

    Equal remainders go to the first name.
    """
    exact = {name: share * count for name, share in shares.items()}
    whole = {name: math.floor(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in order[: count - sum(whole.values())]:
        whole[name] += 1
    return whole
