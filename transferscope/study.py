"""The study file: which models, tasks and seeds, how adapters are trained and how they are judged.

A study is one frozen record read from one YAML file. Unknown keys and unknown task names are
errors that name the nearest valid one, before anything runs. What it leaves out has the defaults
below; `resolved` writes it out in full, as it stands beside the results.

In:   a YAML file.
Out:  a `Study` whose sources, targets and paths are spelled out, and its `Suite`.

Opens the study file and the suite's heading, draws no item, knows no torch.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from transferscope.errors import StudyError
from transferscope.suite import Suite, Task
from transferscope.suites import open_suite

Control = Literal["format-only", "shuffled"]
Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}$")]


def _seeds(value: Any) -> Any:
    """A count as the seeds 0 to count - 1."""
    return range(value) if type(value) is int else value


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
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Linear layers of the language model that get an adapter."""
    learning_rate: Positive = 2.5e-3
    """Peak learning rate of AdamW; a model may have its own."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warmup."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    epochs: Count = 3
    """Passes over a source's items."""
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
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen base."""


class Evaluation(_Strict):
    """How answers are got."""

    scoring: Literal["letters", "generate"] = "letters"
    """By the option letters' log-probabilities, or by a generated reply that is then read."""
    items: Count | None = None
    """The first so many evaluation items of each target; null for all."""
    batch_size: Count = 64
    """Items at once; changes no result beyond rounding."""


class Budget(_Strict):
    """What may be used at once; changes no result beyond rounding."""

    fleet: Count = 16
    """Adapters trained or scored at once."""


class SuiteChoice(_Strict):
    """Which items."""

    name: str
    """A suite's name, or a folder with `suite.yaml`."""
    difficulty: Annotated[float, Field(ge=0, le=1)] = 0
    """For glimpse."""


class Model(_Strict):
    """One base."""

    where: str
    """An embedded base, a local folder, or a hub id."""
    learning_rate: Positive | None = None
    """In place of the recipe's."""
    trust_remote_code: Annotated[bool, Field(strict=True)] = False
    """Whether code that lies beside the weights may run."""
    adapters: dict[str, dict[int, str]] = {}
    """PEFT folders from elsewhere, by source and seed, used instead of training."""


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
        tuple[Annotated[int, Field(strict=True, ge=0)], ...],
        Field(min_length=1, max_length=1000),
        BeforeValidator(_seeds),
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
    controls: tuple[Control, ...] = ()
    """Placebo sources: a mixture of all sources' items with random letters, or with their
    answers exchanged among the items of a task."""
    budget: Budget = Budget()

    def recipe_of(self, model: str) -> Recipe:
        """The recipe with the model's own learning rate."""
        own = self.models[model].learning_rate
        return self.recipe if own is None else self.recipe.model_copy(update={"learning_rate": own})


_SECTIONS: dict[str, type[BaseModel]] = {
    "recipe": Recipe,
    "evaluation": Evaluation,
    "budget": Budget,
    "suite": SuiteChoice,
    "models": Model,
}


class _Loader(yaml.SafeLoader):
    """YAML without tags that make objects, and without two values under one key."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int):
            problem = "a key must be a name or a whole number"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        if key in found:
            problem = f"key {key!r} is given twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        found[key] = loader.construct_object(value, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_study(path: str | Path) -> Study:
    """The study that a YAML file describes, with everything spelled out.

    Relative paths in it are taken from the file's folder where something is there.

    Raises:
        StudyError: the file cannot be read, a key or a task is unknown, or a value is not what it
            must be; the message names the file, the key and the nearest valid one.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from None
    return parse_study(text, path.name, path.parent)


def parse_study(text: str, file: str, folder: Path | None = None) -> Study:
    """The study that YAML text describes; `file` names it in messages.

    Raises:
        StudyError: see `read_study`.
    """
    try:
        data = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise StudyError(f"{file}:{line} {getattr(error, 'problem', None) or error}") from None
    if not isinstance(data, dict):
        raise StudyError(f"{file}: expected keys such as name, models and suite")
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        raise StudyError(f"{file}: {_explain(error)}") from None
    try:
        study = _with_paths(study, folder or Path())
        suite = suite_of(study)
        study = _with_tasks(study, suite.tasks)
        _check(study)
    except StudyError as error:
        raise StudyError(f"{file}: {error}") from None
    return study


def suite_of(study: Study) -> Suite:
    """The study's suite.

    Raises:
        StudyError: there is no such suite, or it has no difficulties.
    """
    if study.suite.name == "glimpse":
        from transferscope.suites.glimpse import Glimpse

        return Glimpse(study.suite.difficulty)
    suite = open_suite(study.suite.name)
    if study.suite.difficulty:
        raise StudyError(f"suite.difficulty is for glimpse; {study.suite.name} has none")
    return suite


def resolved(study: Study) -> bytes:
    """The study as YAML with every default spelled out."""
    data = study.model_dump(mode="json")
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def nearest(name: object, known: Sequence[str]) -> str:
    """`; did you mean 'seeds'?` where a known name is near, else the known names."""
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, on one line."""
    found: list[Any] = error.errors()  # a misspelled key also leaves the right one missing
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    parts = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        section = _SECTIONS[parts[0]] if len(parts) > 1 else Study
        where = f"{'.'.join(parts[:-1])}: " if len(parts) > 1 else ""
        return f"{where}unknown key {parts[-1]!r}{nearest(parts[-1], list(section.model_fields))}"
    where = ".".join(part for part in parts if part != "[key]") or "the file"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}; found {str(first['input'])[:60]!r}"


def _with_paths(study: Study, folder: Path) -> Study:
    """The study with paths that lie beside the file made absolute."""

    def found(text: str) -> str:
        path = folder / Path(text).expanduser()
        return str(path.resolve()) if path.exists() else text

    def brought(adapters: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
        return {
            source: {seed: found(text) for seed, text in by_seed.items()}
            for source, by_seed in adapters.items()
        }

    if study.adapters and len(study.models) > 1:
        raise StudyError("adapters: with several models, give each model its own, under models")
    models = {
        name: model.model_copy(
            update={
                "where": found(model.where),
                "adapters": brought(model.adapters or study.adapters),
            }
        )
        for name, model in study.models.items()
    }
    suite = study.suite
    if (folder / suite.name / "suite.yaml").is_file():
        suite = suite.model_copy(update={"name": found(suite.name)})
    return study.model_copy(update={"models": models, "suite": suite, "adapters": {}})


def _with_tasks(study: Study, tasks: Sequence[Task]) -> Study:
    """The study with its sources, targets and ceilings spelled out, all of them known."""
    known = [task.name for task in tasks]
    if taken := set(study.controls) & set(known):
        raise StudyError(f"controls: {min(taken)!r} is the name of a task of the suite too")
    chosen: dict[str, Any] = {}
    for field in ("sources", "targets"):
        names = getattr(study, field)
        for name in names or ():
            if name not in known:
                raise StudyError(f"{field}: unknown task {name!r}{nearest(name, known)}")
        if names is not None and (len(set(names)) < len(names) or not names):
            raise StudyError(f"{field}: expected at least one task, and none twice")
        chosen[field] = tuple(name for name in known if names is None or name in names)
    if isinstance(study.ceilings, dict):
        for name in study.ceilings:
            if name not in chosen["targets"]:
                hint = nearest(name, chosen["targets"])
                raise StudyError(f"ceilings: {name!r} is no target of the study{hint}")
        chosen["ceilings"] = {name: study.ceilings.get(name, 1.0) for name in chosen["targets"]}
    return study.model_copy(update=chosen)


def _check(study: Study) -> None:
    """Refuse what no single field can know."""
    if len(set(study.seeds)) < len(study.seeds):
        raise StudyError(f"seeds: a seed is given twice in {list(study.seeds)}")
    if len({name.lower().replace(" ", "_") for name in study.models}) < len(study.models):
        raise StudyError("models: two names differ in case or blanks alone")
    for name, model in study.models.items():
        for source, by_seed in model.adapters.items():
            where = f"adapters of {name}"
            if source not in (study.sources or ()):
                hint = nearest(source, study.sources or ())
                raise StudyError(f"{where}: {source!r} is no source of the study{hint}")
            for seed, folder in by_seed.items():
                if seed not in study.seeds:
                    raise StudyError(f"{where}: {source}: {seed} is no seed of the study")
                if not Path(folder, "adapter_config.json").is_file():
                    raise StudyError(
                        f"{where}: {source}: {seed}: {folder}: not a PEFT folder, there is no "
                        f"adapter_config.json"
                    )


DEMO = """\
name: demo
models: {glimpse-s: {where: glimpse-s, learning_rate: 4.0e-3}}
suite: glimpse
seeds: 2
recipe: {items: 512, epochs: 3}
evaluation: {items: 150}
"""
"""The study of `transferscope demo`."""
