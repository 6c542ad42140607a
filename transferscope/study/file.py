"""The study file: YAML into a `Study` whose tasks and paths are spelled out.

Unknown keys and task names are errors that name the nearest valid one, before anything runs.
`resolved` writes a study out in full, as it stands beside the results.

In:   a YAML file.
Out:  a `Study`, and its `Suite`.

Opens the study file and the suite's heading, draws no item, needs no torch.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from transferscope.errors import StudyError
from transferscope.study import (
    Budget,
    Evaluation,
    Model,
    Recipe,
    Selection,
    Study,
    SuiteChoice,
    apportioned,
)
from transferscope.study.controls import CONTROLS
from transferscope.study.strengths import beyond_alpha
from transferscope.suites import SUITES, multiple_choice, open_suite, path_options, suite_class
from transferscope.suites.hub import cached
from transferscope.tasks import Suite
from transferscope.tasks.checkpoints import task_of
from transferscope.tasks.naming import BASES, MEANS
from transferscope.tasks.untrusted import load_yaml

EXTERNAL_FILES = ("adapter_config.json", "config.json")
"""The file that marks a PEFT folder, and the one that marks a whole finetuned model's folder."""

SHARES_TOLERANCE = 0.02
"""How far the sum of a mixture's shares may be from 1: three times 0.33 is 0.99."""

_SECTIONS: dict[str, type] = {
    "recipe": Recipe,
    "evaluation": Evaluation,
    "budget": Budget,
    "models": Model,
    "selection": Selection,
}

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_PLAIN = {
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be Latin letters, digits, spaces and _ . + - only",
}
"""Our words for some of pydantic's."""

DEMO = """\
name: demo
models: {glimpse-m: glimpse-m}
suite: glimpse
seeds: 2
recipe: {items: 320, epochs: 2}
evaluation: {items: 140}
controls: [format-only, reordered]
"""
"""The study of `transferscope demo`."""


def read_study(path: str | Path, *, training: bool = True) -> Study:
    """The study in a YAML file, with tasks, defaults and paths spelled out.

    Relative paths are taken from the file's folder if they exist there.

    Args:
        training: whether the suite's folder of training items must exist; if it need not and does
            not, the study has none.

    Raises:
        StudyError: the file cannot be read, a key or a task is unknown, or a value is invalid; the
            message names the file, the key and the nearest valid one.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file") from None
    except IsADirectoryError:
        raise StudyError(f"{path}: must be a study file (YAML), got a folder") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # not UTF-8, or a name with a NUL
        raise StudyError(f"{path}: must be a study file (YAML) in UTF-8") from None
    return parse_study(text, path.name, path.parent, training=training)


def parse_study(
    text: str, file: str, folder: Path | None = None, *, training: bool = True
) -> Study:
    """The study in a YAML text; `file` names it in messages.

    Raises:
        StudyError: see `read_study`.
    """
    try:
        data = load_yaml(text)
    except ValueError as error:
        raise StudyError(f"{file}: {error}") from None
    if not isinstance(data, dict):
        raise StudyError(f"{file}: must have keys such as name, models and suite")
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        raise StudyError(f"{file}: {_explain(error)}") from None
    try:
        study = _with_paths(study, folder or Path())
        options = study.suite.options
        folder_of = options.get("training")
        if not training and isinstance(folder_of, str) and not Path(folder_of).is_dir():
            chosen = SuiteChoice(name=study.suite.name, **(options | {"training": None}))
            study = study.model_copy(update={"suite": chosen})
        suite = suite_of(study)
        chosen = SuiteChoice(name=study.suite.name, **suite.options())  # defaults spelled out
        study = _with_tasks(study.model_copy(update={"suite": chosen}), suite)
        _check(study)
    except StudyError as error:
        raise StudyError(f"{file}: {error}") from None
    families = {model.embedded for model in study.models.values()}
    if len(families) > 1:  # each family has other defaults
        return study
    usual = study.recipe.defaults(embedded=families == {True})
    missing = {key: value for key, value in usual.items() if getattr(study.recipe, key) is None}
    return study.model_copy(update={"recipe": replace(study.recipe, **missing)})


def suite_of(study: Study) -> Suite:
    """The study's suite.

    Raises:
        StudyError: the suite is unknown, does not have a given option, or hides its right answers.
    """
    suite = open_suite(study.suite.name, **study.suite.options)
    if suite.unscorable:
        raise StudyError(suite.unscorable)
    return suite


def ceilings_of(data: bytes, where: str) -> dict[str, float] | float | Literal["self"]:
    """The ceilings that a study file names; 1 where it names none.

    Raises:
        StudyError: it is no valid study file.
    """
    try:
        return Study.model_validate(load_yaml(data.decode())).ceilings or 1.0
    except ValueError as error:
        raise StudyError(f"{where}: cannot be read as a study: {error}") from None


def local_suite(data: bytes, file: str, *, folders: bool = True) -> Suite:
    """The suite of a finished study if it is on this machine; nothing is downloaded.

    Only the suite of the study file is read, as models and adapters may have moved.

    Args:
        data: the study file's bytes; `file` names it in messages.
        folders: whether to open folders that it names: not if a stranger wrote it.

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
    hub = choice.options.get("hub") or suite_class(choice.name).hub
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
    """`; did you mean 'seeds'?` if a known name is near, else the known names."""
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _explain(error: ValidationError) -> str:
    """The first error, on one line."""
    found: list[Any] = error.errors()  # a misspelled key also leaves the right one missing
    first = next((one for one in found if one["type"] in _UNKNOWN), found[0])
    parts = [str(part) for part in first["loc"]]
    if first["type"] in _UNKNOWN:
        section = _SECTIONS[parts[0]] if len(parts) > 1 else Study
        known = list(section.__annotations__)
        where = f"{'.'.join(parts[:-1])}: " if len(parts) > 1 else ""
        return f"{where}unknown key {parts[-1]!r}{nearest(parts[-1], known)}"
    where = ".".join(part for part in parts if part != "[key]") or "the file"
    if first["type"] == "missing":
        return f"{where} is missing"
    message: str = _PLAIN.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    got = "" if "got " in message else f"; got {str(first['input'])[:60]!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{got}"


def _with_paths(study: Study, folder: Path) -> Study:
    """The study with absolute paths to all that exists beside the file."""

    def placed(text: str) -> Path:
        try:
            path = (folder / Path(text).expanduser()).resolve()
            path.exists()  # raises for a name that is too long
            return path
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, an unknown home
            why = getattr(error, "strerror", None) or str(error)
            raise StudyError(f"{text[:60]!r} is no path: {why[0].lower()}{why[1:]}") from None

    def found(text: str) -> str:
        path = placed(text)
        return str(path) if path.exists() else text

    if study.adapters and len(study.models) > 1:
        raise StudyError("adapters: with several models, list adapters per model, under models")
    models = {
        name: model.model_copy(
            update={
                "where": found(model.where),
                "adapters": {
                    source: {seed: found(text) for seed, text in by_seed.items()}
                    for source, by_seed in (model.adapters or study.adapters).items()
                },
            }
        )
        for name, model in study.models.items()
    }
    suite, budget = study.suite, study.budget
    given = {name: suite.options.get(name) for name in path_options(suite.name)}
    paths = {name: found(text) for name, text in given.items() if isinstance(text, str)}
    name = found(suite.name) if (placed(suite.name) / "suite.yaml").is_file() else suite.name
    suite = SuiteChoice(name=name, **(suite.options | paths))
    if budget.cache:
        budget = budget.model_copy(update={"cache": str(placed(budget.cache))})
    changed = {"models": models, "suite": suite, "budget": budget, "adapters": {}}
    return study.model_copy(update=changed)


def _with_tasks(study: Study, suite: Suite) -> Study:
    """The study with its sources, targets and ceilings spelled out and checked."""
    tasks = [task.name for task in suite.tasks]
    trained = list(dict.fromkeys([*suite.sources, *tasks]))
    if taken := set(study.controls) & set(trained):
        raise StudyError(f"controls: {min(taken)!r} is the name of a task of the suite too")
    chosen: dict[str, Any] = {"mixtures": _mixtures(study, trained)}
    for field, known, default in (
        ("sources", trained, suite.sources),
        ("targets", tasks, suite.defaults),
    ):
        names = getattr(study, field)
        for name in names or ():
            if name not in known:
                raise StudyError(f"{field}: unknown task {name!r}{nearest(name, known)}")
        only_mixtures = field == "sources" and names == () and bool(study.mixtures)
        if names is not None and (len(set(names)) < len(names) or not (names or only_mixtures)):
            raise StudyError(f"{field}: must name at least one task, and no task twice")
        wanted = default if names is None else names
        chosen[field] = tuple(name for name in known if name in wanted)
    for field, words in (("sources", BASES), ("targets", MEANS)):
        if taken := [name for name in chosen[field] if name.lower() in words]:
            means = "the base" if field == "sources" else "a mean over the targets"
            raise StudyError(
                f"{field}: {taken[0]!r} stands for {means} in results; rename the task"
            )
    chosen["selection"] = _selection(study, chosen["sources"], chosen["targets"])
    if isinstance(study.ceilings, dict):
        for name in study.ceilings:
            if name not in chosen["targets"]:
                hint = nearest(name, chosen["targets"])
                raise StudyError(f"ceilings: {name!r} is no target of the study{hint}")
        chosen["ceilings"] = {name: study.ceilings.get(name, 1.0) for name in chosen["targets"]}
    return study.model_copy(update=chosen)


def _selection(study: Study, sources: Sequence[str], targets: Sequence[str]) -> Selection | None:
    """The experiment, checked, with its targets in the suite's order."""
    chosen = study.selection
    if chosen is None:
        return None
    for name in chosen.targets:
        if name not in targets:
            hint = nearest(name, targets)
            raise StudyError(f"selection.targets: {name!r} is no target of the study{hint}")
        if {multiple_choice(source) for source in sources} <= {multiple_choice(name)}:
            raise StudyError(f"selection.targets: {name}: the study has no other source to mix")
    for seed in chosen.seeds:
        if seed in study.seeds or chosen.seeds.count(seed) > 1:
            what = "is also a seed of the study" if seed in study.seeds else "is given twice"
            raise StudyError(f"selection.seeds: {seed} {what}; judging seeds must be new")
    if chosen.items is not None and study.evaluation.items is None:
        raise StudyError(
            "selection.items: evaluation.items uses every item for selection; set it so that some "
            "remain for the test"
        )
    return chosen.model_copy(update={"targets": tuple(t for t in targets if t in chosen.targets)})


def _mixtures(study: Study, trained: Sequence[str]) -> dict[str, dict[str, float]]:
    """The mixtures, checked, with tasks in the suite's order and shares that sum to 1."""
    taken = {_as_file(name): name for name in [*trained, *CONTROLS]}
    made: dict[str, dict[str, float]] = {}
    for mixture, shares in study.mixtures.items():
        where = f"mixtures.{mixture}"
        if other := taken.get(_as_file(mixture)):
            raise StudyError(f"{where}: has the same file name as {other!r}; rename it")
        if (task := task_of(mixture)) != mixture and task in trained:
            raise StudyError(f"{where}: names an adapter of {task!r} at a strength; rename it")
        taken[_as_file(mixture)] = mixture
        for name in shares:
            if name not in trained:
                raise StudyError(f"{where}: unknown task {name!r}{nearest(name, trained)}")
        total = math.fsum(shares.values())
        if abs(total - 1) > SHARES_TOLERANCE:
            raise StudyError(f"{where}: shares must sum to 1, got {total:.4g}")
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
    """A name as in file names, where some names become equal."""
    return re.sub(r"[^a-z0-9.-]", "_", name.lower())


def _check(study: Study) -> None:
    """Refuse what no field can check alone."""
    placebos = [name for name in study.controls if CONTROLS[name].labels]
    if placebos and not study.sources:
        raise StudyError(f"controls: {placebos[0]} mixes the sources, but the study has none")
    for name, seeds in study.mixture_seeds.items():
        if name not in study.mixtures:
            hint = nearest(name, list(study.mixtures))
            raise StudyError(f"mixture_seeds: {name!r} is no mixture of the study{hint}")
        if not seeds or set(seeds) - set(study.seeds):
            raise StudyError(
                f"mixture_seeds.{name}: must be a non-empty subset of {list(study.seeds)}"
            )
    if len(set(study.seeds)) < len(study.seeds):
        raise StudyError(f"seeds: a seed is given twice in {list(study.seeds)}")
    if len(set(map(_as_file, study.models))) < len(study.models):
        raise StudyError("models: two names differ only in case or in signs that file names lack")
    full = study.recipe.method == "full"
    fixed = "method full" if full else beyond_alpha(study.recipe.peft or {})
    if fixed and (given := study.evaluation.strengths) != (1.0,):
        raise StudyError(f"evaluation.strengths: must be [1] with {fixed}, got {[*given]}")
    for name, model in study.models.items():
        if full and model.quantization:
            raise StudyError(f"models.{name}.quantization: must be null with method full, got nf4")
        _check_adapters(f"adapters of {name}", study, model.adapters)


def _check_adapters(where: str, study: Study, adapters: Mapping[str, Mapping[int, str]]) -> None:
    """Refuse external adapters of no source or seed, and folders that are none."""
    for source, by_seed in adapters.items():
        if source not in (study.sources or ()):
            hint = nearest(source, study.sources or ())
            raise StudyError(f"{where}: {source!r} is no source of the study{hint}")
        for seed, folder in by_seed.items():
            if seed not in study.seeds:
                raise StudyError(f"{where}: {source}: {seed} is no seed of the study")
            if not any(Path(folder, file).is_file() for file in EXTERNAL_FILES):
                raise StudyError(
                    f"{where}: {source}: {seed}: {folder}: must be a PEFT folder or a whole "
                    f"model's, with {' or '.join(EXTERNAL_FILES)}"
                )
