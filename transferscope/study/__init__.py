"""A study: which models, tasks and seeds, how adapters are trained and how they are judged.

One frozen record, read from one YAML file (`file`). What the file leaves out has the defaults
below. Unknown keys are errors. `stock` has a study's items.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from transferscope.tasks.choices import Prompt

Control = Literal["format-only", "shuffled", "reordered"]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MOST_SEEDS = 1000
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}$")]


def _seeds(value: Any) -> Any:
    """A count as the seeds 0 to count - 1."""
    return range(value) if type(_few(value)) is int else value


def _few(value: Any) -> Any:
    """Refuse a count that is none."""
    if type(value) is int and not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"expected a list of seeds, or how many: 1 to {MOST_SEEDS:,}")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _gpus(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError("expected a share of one GPU, or a whole number of them")
    return value


def _ceiling(value: Any) -> Any:
    """Refuse percent; pydantic's own message for a union says nothing of use."""
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    for number in numbers:
        if number is None or number == "self":
            continue
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError("expected a fraction in (0, 1], one for each target, or self")
        if not 0 < number <= 1:
            hint = "; divide percent by 100" if number > 1 else ""
            raise ValueError(f"expected fractions in (0, 1], found {number}{hint}")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(_Strict):
    """How one adapter is trained. Every field is part of a run's key."""

    rank: Count = 16
    """LoRA rank (dimension of the update)."""
    alpha: Count = 32
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: Share = 0.0
    """Share of the adapters' inputs dropped in training."""
    targets: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)] = ("all",)
    """Linear layers of the decoder layers that get an adapter: `all`, the groups `attention`, `mlp`
    and `shared_experts`, or how their names end."""
    learning_rate: Positive | None = None
    """Peak learning rate of AdamW; a model may have its own. Null: 2.5e-3 for an embedded base,
    1e-4 for any other."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warmup."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    epochs: Count | None = None
    """Passes over a source's items; 3 where nothing is said."""
    steps: Count | None = None
    """Optimiser steps, in place of epochs."""
    batch_size: Count = 32
    """Items a step, for each adapter."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay."""
    clip: Positive = 1.0
    """Largest norm of an adapter's gradient."""
    items: Count = 512
    """Training items of each source; all of them where it has fewer."""
    max_pixels: Count | None = None
    """Largest size of an image, in pixels; null for the processor's own."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the frozen base, on any device. Null: float32 for an embedded base, bfloat16 for any
    other."""

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        epochs, steps = given.get("epochs"), given.get("steps")
        if epochs is not None and steps is not None:
            raise ValueError("epochs and steps are both given; give one")
        return given | {"epochs": 3} if epochs is None and steps is None else given

    def steps_for(self, items: int) -> int:
        """Optimiser steps of an adapter that learns from so many items."""
        return self.steps or (self.epochs or 0) * -(-items // self.batch_size)

    def passes_for(self, items: int) -> int:
        """Items that it sees in all of them, repeated ones counted again."""
        epochs, more = divmod(self.steps_for(items), -(-items // self.batch_size))
        return epochs * items + min(items, more * self.batch_size)


class FullRecipe(Recipe):
    """A recipe as one model is trained by it: nothing is left to the family's defaults."""

    learning_rate: Positive  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    precision: Literal["float32", "bfloat16"]  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


EMBEDDED: dict[str, Any] = {"learning_rate": 2.5e-3, "precision": "float32"}
"""What a recipe leaves out, for an embedded base."""
OTHERS: dict[str, Any] = {"learning_rate": 1e-4, "precision": "bfloat16"}
"""The same for any other base."""
PROJECTIONS = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)
"""All linear layers of a Llama-like decoder layer."""


class Evaluation(_Strict):
    """How answers are got."""

    scoring: Literal["letters", "generate"] = "letters"
    """By the option letters' log-probabilities, or by a generated reply that is then read."""
    prompt: Prompt = "benchmark"
    """As the benchmark asks, or followed by a call for the letter alone; in training too."""
    choice_order: Literal["given", "circular"] = "given"
    """Each item once as it is, or once for every rotation of its choices, the log-probabilities
    averaged (by `generate`: the option named most often). Targets that always offer the same
    choices in the same order keep it."""
    items: Count | None = None
    """The first so many evaluation items of each target; null for all."""
    after: Annotated[int, Field(strict=True, ge=0)] = 0
    """Evaluation items of each target that are passed over before those."""
    reply_tokens: Count | None = None
    """Tokens of a generated reply at most; null for 16. A model that thinks needs more."""
    batch_size: Count = 64
    """Items at once; changes no result beyond rounding."""


class Budget(_Strict):
    """What may be used at once; changes no result beyond rounding."""

    fleet: Count = 16
    """Adapters trained or scored at once."""
    memory: Positive = 2.0
    """GiB of vision features kept in memory."""
    disk: Annotated[float, Field(ge=0)] = 20.0
    """GiB of them kept on disk where they do not fit in memory; 0 for none."""
    cache: str | None = None
    """Folder for those on disk; null for one in the results folder, which may be deleted."""


class SuiteChoice(BaseModel):
    """Which items: a suite and its options, which the suite's class declares and checks."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """A suite's name, or a folder with `suite.yaml`."""

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the suite's class (`suites.open_suite`)."""
        return self.model_extra or {}


class Model(_Strict):
    """One base."""

    where: str
    """An embedded base, a local folder, or a hub id."""
    learning_rate: Positive | None = None
    """In place of the recipe's."""
    thinking: Annotated[bool, Field(strict=True)] = False
    """Whether it may think before it answers, where its chat template has a switch."""
    trust_remote_code: Annotated[bool, Field(strict=True)] = False
    """Whether code that lies beside the weights may run."""
    quantization: Literal["nf4"] | None = None
    """How the language model's linear layers are stored: in 4 bits, by bitsandbytes; null: as
    `recipe.precision` says. Part of a run's key."""
    gpus: Annotated[float, Field(gt=0, le=64), AfterValidator(_gpus)] = 1.0
    """GPUs of a worker, where there are any. Over 2 or more the base's layers are spread; a share
    is for Ray alone, where 0.5 puts two workers on one GPU."""
    adapters: dict[str, dict[int, str]] = {}
    """Adapters from elsewhere, by source and seed, used instead of training: PEFT folders, or
    folders of whole finetuned models."""

    @property
    def embedded(self) -> bool:
        """Whether it is one of the bases that come with the package."""
        return self.where.startswith("glimpse")


class Selection(_Strict):
    """The experiment that tries what a selection is worth: the study's own seeds measure the matrix
    that informs a mixture for each target, and other seeds judge the mixture against other ways to
    train, each on `recipe.items` items."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Tasks to train for as if they had no data of their own."""
    rule: Literal["default", "paper"] = "default"
    """How the matrix informs the mixture, as `transferscope select` knows it."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The rule's own where nothing is said."""
    draws: Annotated[int, Field(strict=True, ge=1, le=1000)] = 2
    """Random mixtures of the informed one's size, fresh ones for each seed that judges."""
    seeds: Annotated[
        tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS), BeforeValidator(_few)
    ] = ()
    """Seeds that judge: a list, or how many (4) after the study's own."""
    items: Count | None = None
    """Evaluation items to judge on, of each target those after the ones that informed; null judges
    on the same, by whose luck the informed mixture looks better than it is."""


def _where(value: Any) -> Any:
    return {"where": value} if isinstance(value, str) else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Study(_Strict):
    """Models x seeds x sources x targets, and how they are trained and judged."""

    name: ModelName
    """Names the results folder, unless another is given."""
    models: Annotated[
        dict[ModelName, Annotated[Model, BeforeValidator(_where)]], Field(min_length=1)
    ]
    """The bases by the names that tables show, smallest first."""
    suite: Annotated[SuiteChoice, BeforeValidator(_named)]
    sources: tuple[str, ...] | None = None
    """Tasks finetuned on; null for all."""
    targets: tuple[str, ...] | None = None
    """Tasks evaluated; null for all."""
    seeds: Annotated[
        tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS), BeforeValidator(_seeds)
    ] = (0, 1, 2, 3)
    """The replicates: a list, or how many."""
    recipe: Recipe = Recipe()
    evaluation: Evaluation = Evaluation()
    ceilings: Annotated[
        float | dict[str, float] | Literal["self"] | None, BeforeValidator(_ceiling)
    ] = None
    """Best reachable accuracy of the targets; 1 where nothing is said."""
    adapters: dict[str, dict[int, str]] = {}
    """As a model's own `adapters`, where there is a single model."""
    mixtures: dict[ModelName, dict[str, Positive]] = {}
    """Sources that mix tasks, by name: each task's share of `recipe.items`. Shares sum to 1; a sum
    within 2 % of it is scaled to it. A mixture is measured like a source and counts as none: it is
    no target, and has no part in transferability, personas, cliques or the graph."""
    mixture_seeds: dict[str, tuple[int, ...]] = {}
    """The seeds of those mixtures that are not trained with all of the study's."""
    selection: Selection | None = None
    """The experiment, where the study is one."""
    controls: tuple[Control, ...] = ()
    """Placebo sources: a mixture of all sources' items with random letters (`format-only`) or
    with their answers exchanged among the items of a task (`shuffled`); and the base asked again
    with the choices in another order (`reordered`), where a target has more than one."""
    budget: Budget = Budget()

    @model_validator(mode="before")
    @classmethod
    def _seeds_that_judge(cls, given: Any) -> Any:
        """A number of them as the first after the study's own."""
        chosen = given.get("selection") if isinstance(given, dict) else None
        if not isinstance(chosen, dict) or type(count := chosen.get("seeds", 4)) is not int:
            return given
        own = given.get("seeds", 4)
        own = range(own) if type(own) is int else own
        if (
            not isinstance(own, range | list | tuple)
            or not 1 <= count <= MOST_SEEDS
            or not 1 <= len(own) <= MOST_SEEDS
            or not all(type(seed) is int for seed in own)
        ):
            return given  # refused below
        first = max(own, default=-1) + 1
        return given | {"selection": chosen | {"seeds": list(range(first, first + count))}}

    def recipe_of(self, model: str) -> FullRecipe:
        """The recipe as one model is trained by: its own learning rate, its family's defaults."""
        given, described = self.recipe, self.models[model]
        usual = EMBEDDED if described.embedded else OTHERS
        chosen = usual | {key: its for key in usual if (its := getattr(given, key)) is not None}
        if described.learning_rate is not None:
            chosen["learning_rate"] = described.learning_rate
        if described.embedded and given.targets == ("all",):
            chosen["targets"] = PROJECTIONS  # the same layers, by the names in finished keys
        return FullRecipe.model_construct(**(dict(given) | chosen))


def apportioned(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """`count` items divided by shares that sum to 1, as evenly as whole items go.

    What rounding down leaves goes to the largest remainders, the first of equal ones first.
    """
    exact = {name: share * count for name, share in shares.items()}
    whole = {name: math.floor(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in order[: count - sum(whole.values())]:
        whole[name] += 1
    return whole
