"""The study file: YAML into a `Study` whose tasks and paths are spelled out.

Unknown keys and unknown task names are errors that name the nearest valid one, before anything
runs. `resolved` writes a study out in full, as it stands beside the results.

In:   a YAML file.
Out:  a `Study`, and its `Suite`.

Opens the study file and the suite's heading, draws no item, knows no torch.
"""

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from transferscope.errors import StudyError
from transferscope.study import (
    EMBEDDED,
    OTHERS,
    Budget,
    Control,
    Evaluation,
    Model,
    Recipe,
    Selection,
    Study,
    SuiteChoice,
    apportioned,
)
from transferscope.suites import SUITES, open_suite, path_options, suite_class
from transferscope.suites.hub import cached
from transferscope.tasks import Suite
from transferscope.tasks.untrusted import load_yaml

BROUGHT = ("adapter_config.json", "config.json")
"""What tells a PEFT folder, and the folder of a whole finetuned model."""

SHARES_MAY_MISS = 0.02
"""How far a mixture's shares may sum to something else than 1: three times 0.33 is 0.99."""

_SECTIONS: dict[str, type[BaseModel]] = {
    "recipe": Recipe,
    "evaluation": Evaluation,
    "budget": Budget,
    "models": Model,
    "selection": Selection,
}


_PLAIN = {
    "tuple_type": "expected a list",
    "string_pattern_mismatch": "expected Latin letters, digits, spaces and _ . + - alone",
}
"""Our words for some of pydantic's."""


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
    except IsADirectoryError:
        raise StudyError(f"{path}: a folder, expected a study file (YAML)") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # no UTF-8, or a name with a NUL
        raise StudyError(f"{path}: not UTF-8 text; expected a study file (YAML)") from None
    return parse_study(text, path.name, path.parent)


def parse_study(text: str, file: str, folder: Path | None = None) -> Study:
    """The study that YAML text describes; `file` names it in messages.

    Raises:
        StudyError: see `read_study`.
    """
    try:
        data = load_yaml(text)
    except ValueError as error:
        raise StudyError(f"{file}: {error}") from None
    if not isinstance(data, dict):
        raise StudyError(f"{file}: expected keys such as name, models and suite")
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        raise StudyError(f"{file}: {_explain(error)}") from None
    try:
        study = _with_paths(study, folder or Path())
        suite = suite_of(study)
        chosen = SuiteChoice(name=study.suite.name, **suite.options())
        study = study.model_copy(update={"suite": chosen})
        study = _with_defaults(_with_tasks(study, suite))
        _check(study)
    except StudyError as error:
        raise StudyError(f"{file}: {error}") from None
    return study


def suite_of(study: Study) -> Suite:
    """The study's suite.

    Raises:
        StudyError: there is no such suite, it does not have a setting that is given, or its right
            answers are hidden.
    """
    suite = open_suite(study.suite.name, **study.suite.options)
    if suite.unscorable:
        raise StudyError(suite.unscorable)
    return suite


def suite_at_hand(data: bytes, file: str, *, folders: bool = True) -> Suite:
    """The suite of a study that was run, if it is on this machine: nothing is fetched.

    Of the study file its suite alone is read, as models and adapters may be elsewhere by now.

    Args:
        data: the study file's bytes; `file` names it in messages.
        folders: whether folders that it names may be opened: not where a stranger wrote it.

    Raises:
        StudyError: the file is damaged, or the suite is not here.
    """
    try:
        study = load_yaml(data.decode())
        given = study.get("suite") if isinstance(study, dict) else None
        choice = SuiteChoice.model_validate({"name": given} if isinstance(given, str) else given)
    except ValueError:
        raise StudyError(f"{file}: has no valid `suite:` entry") from None
    if not folders and choice.name not in SUITES:
        raise StudyError("the suite was a folder of another machine")
    hub = suite_class(choice.name).hub
    options = choice.options | {name: None for name in path_options(choice.name) if not folders}
    if hub and options.get("path") is None:
        if (folder := cached(hub, options.get("revision"))) is None:
            raise StudyError(f"{choice.name} is not on this machine")
        options |= {"path": str(folder), "revision": None}
    # Items are shown, not trained on: a missing training folder or video is no reason to fail.
    unused = {"training": None, "strict": False}
    return open_suite(choice.name, **{k: unused.get(k, value) for k, value in options.items()})


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
    message: str = _PLAIN.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}; found {str(first['input'])[:60]!r}"


def _with_paths(study: Study, folder: Path) -> Study:
    """The study with paths that lie beside the file made absolute."""

    def placed(text: str) -> Path:
        try:
            path = (folder / Path(text).expanduser()).resolve()
            path.exists()  # which refuses a name that is too long
            return path
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, nobody's home
            why = getattr(error, "strerror", None) or str(error)
            raise StudyError(f"{text[:60]!r} is no path: {why[0].lower()}{why[1:]}") from None

    def found(text: str) -> str:
        path = placed(text)
        return str(path) if path.exists() else text

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
    if (placed(suite.name) / "suite.yaml").is_file():
        suite = suite.model_copy(update={"name": found(suite.name)})
    given = {name: suite.options.get(name) for name in path_options(suite.name)}
    paths = {name: found(text) for name, text in given.items() if isinstance(text, str)}
    suite = SuiteChoice(name=suite.name, **(suite.options | paths))
    budget = study.budget
    if budget.cache:
        budget = budget.model_copy(update={"cache": str(placed(budget.cache))})
    changed = {"models": models, "suite": suite, "budget": budget, "adapters": {}}
    return study.model_copy(update=changed)


def _with_defaults(study: Study) -> Study:
    """The study with its family's defaults spelled out, where all of its models are of one."""
    families = {model.embedded for model in study.models.values()}
    if len(families) > 1:
        return study
    usual = EMBEDDED if families == {True} else OTHERS
    left = {key: its for key, its in usual.items() if getattr(study.recipe, key) is None}
    return study.model_copy(update={"recipe": study.recipe.model_copy(update=left)})


def _with_tasks(study: Study, suite: Suite) -> Study:
    """The study with its sources, targets and ceilings spelled out, all of them known."""
    tasks = [task.name for task in suite.tasks]
    trained = list(dict.fromkeys([*suite.sources, *tasks]))
    if taken := set(study.controls) & set(trained):
        raise StudyError(f"controls: {min(taken)!r} is the name of a task of the suite too")
    chosen: dict[str, Any] = {"mixtures": _mixtures(study, trained)}
    for field, known, usually in (
        ("sources", trained, suite.sources),
        ("targets", tasks, suite.defaults),
    ):
        names = getattr(study, field)
        for name in names or ():
            if name not in known:
                raise StudyError(f"{field}: unknown task {name!r}{nearest(name, known)}")
        alone = field == "sources" and names == () and bool(study.mixtures)
        if names is not None and (len(set(names)) < len(names) or not (names or alone)):
            raise StudyError(f"{field}: expected at least one task, and none twice")
        wanted = usually if names is None else names
        chosen[field] = tuple(name for name in known if name in wanted)
    chosen["selection"] = _selection(study, chosen["sources"], chosen["targets"])
    if isinstance(study.ceilings, dict):
        for name in study.ceilings:
            if name not in chosen["targets"]:
                hint = nearest(name, chosen["targets"])
                raise StudyError(f"ceilings: {name!r} is no target of the study{hint}")
        chosen["ceilings"] = {name: study.ceilings.get(name, 1.0) for name in chosen["targets"]}
    return study.model_copy(update=chosen)


def _selection(study: Study, sources: Sequence[str], targets: Sequence[str]) -> Selection | None:
    """The experiment, its targets known and in the suite's order, its seeds none of the study's."""
    chosen = study.selection
    if chosen is None:
        return None
    for name in chosen.targets:
        if name not in targets:
            hint = nearest(name, targets)
            raise StudyError(f"selection.targets: {name!r} is no target of the study{hint}")
        if not set(sources) - {name}:
            raise StudyError(f"selection.targets: {name}: the study has no other source to mix")
    for seed in chosen.seeds:
        if seed in study.seeds or chosen.seeds.count(seed) > 1:
            what = "informs the choice" if seed in study.seeds else "is given twice"
            raise StudyError(f"selection.seeds: {seed} {what}; those that judge must be others")
    if chosen.items is not None and study.evaluation.items is None:
        raise StudyError(
            "selection.items: evaluation.items takes all items to inform the choice; limit it"
        )
    return chosen.model_copy(update={"targets": tuple(t for t in targets if t in chosen.targets)})


def _mixtures(study: Study, trained: Sequence[str]) -> dict[str, dict[str, float]]:
    """The mixtures, their tasks known and in the suite's order, their shares scaled to sum to 1."""
    taken = {_as_file(name): name for name in [*trained, *get_args(Control)]}
    made: dict[str, dict[str, float]] = {}
    for mixture, shares in study.mixtures.items():
        where = f"mixtures.{mixture}"
        if other := taken.get(_as_file(mixture)):
            raise StudyError(f"{where}: the same name as {other!r}, for a file; give it another")
        taken[_as_file(mixture)] = mixture
        for name in shares:
            if name not in trained:
                raise StudyError(f"{where}: unknown task {name!r}{nearest(name, trained)}")
        total = math.fsum(shares.values())
        if abs(total - 1) > SHARES_MAY_MISS:
            raise StudyError(f"{where}: shares sum to {total:.4g}, expected 1")
        scaled = {name: shares[name] / total for name in trained if name in shares}
        counts = apportioned(scaled, study.recipe.items)
        if empty := [name for name, count in counts.items() if not count]:
            raise StudyError(
                f"{where}: {shares[empty[0]]:g} of {study.recipe.items} items is no item of "
                f"{empty[0]}; leave it out, or raise recipe.items"
            )
        made[mixture] = scaled
    return made


def _as_file(name: str) -> str:
    """A name as those of its files tell it from others."""
    return re.sub(r"[^a-z0-9.-]", "_", name.lower())


def _check(study: Study) -> None:
    """Refuse what no single field can know."""
    if placebos := [name for name in study.controls if name != "reordered" and not study.sources]:
        raise StudyError(f"controls: {placebos[0]} mixes the sources, and the study has none")
    for name, seeds in study.mixture_seeds.items():
        if name not in study.mixtures:
            hint = nearest(name, list(study.mixtures))
            raise StudyError(f"mixture_seeds: {name!r} is no mixture of the study{hint}")
        if not seeds or set(seeds) - set(study.seeds):
            raise StudyError(f"mixture_seeds.{name}: expected some of {list(study.seeds)}")
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
                if not any(Path(folder, file).is_file() for file in BROUGHT):
                    raise StudyError(
                        f"{where}: {source}: {seed}: {folder}: neither a PEFT folder nor a whole "
                        f"model's, there is no {' and no '.join(BROUGHT)}"
                    )


DEMO = """\
name: demo
models: {glimpse-m: glimpse-m}
suite: glimpse
seeds: 2
recipe: {items: 320, epochs: 3}
evaluation: {items: 100}
controls: [format-only, reordered]
"""
"""The study of `transferscope demo`."""
