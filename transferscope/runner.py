"""Carry out what a plan still lacks: train fleets, score them, keep what is finished.

A shard is trained, its adapters are kept; it is scored, its predictions are kept: each time all of
the shard's files or none. So a process that is killed loses at most the fleet at hand, and goes on
with the same fleets, so that nothing differs in the end. A cell whose key is in the folder already,
whatever file it is in, is not done again.

In:   a `Study` and its results folder.
Out:  adapters, prediction tables and a log in that folder; events on the way.

Trains and scores through `fleet` alone. Draws no chart and prints nothing.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transferscope import results
from transferscope.bases import (
    brought,
    brought_hash,
    check_brought,
    check_places,
    is_whole,
    open_base,
)
from transferscope.choices import combined, named_by_letter, other_order, reordered, rotations
from transferscope.lab import Lab, load_lab
from transferscope.meter import Watch
from transferscope.plan import (
    Lesson,
    Plan,
    Run,
    Shard,
    derived_seed,
    learned,
    lesson,
    plan_study,
    run_keys,
)
from transferscope.stock import Stock, stock_of
from transferscope.store import (
    Store,
    Wanted,
    adapter_folder,
    as_table,
    claim,
    has_adapter,
    keep,
    open_store,
    path_of,
    versions,
)
from transferscope.study import Study
from transferscope.suite import Item


class Event(NamedTuple):
    """Where a run of a study stands."""

    doing: str
    cells: int
    """Finished ones."""
    of: int
    work: float
    """Spent by this process, in evaluations of an item."""
    total: float
    """To be spent by this process."""
    note: str = ""
    """Something to be kept on the screen."""


class Outcome(NamedTuple):
    """What came of it."""

    cells: int
    of: int
    adapters: int
    """Finished ones: without any there is nothing to analyse."""
    failed: tuple[str, ...]
    """One line for each shard that failed; its cells are missing."""


@dataclass
class _Work:
    """What is known while a study runs."""

    study: Study
    plan: Plan
    stock: Stock
    store: Store
    lab: Lab
    tell: Callable[[Event], None]
    total: float
    """Work of this process, in evaluations of an item; less once something is found done."""
    spent: float = 0.0
    cells: int = 0
    adapters: int = 0
    failed: list[str] = field(default_factory=list)

    def say(self, doing: str, part: float = 0.0, note: str = "") -> None:
        """Tell where it stands, `part` of the present work done beyond what is finished."""
        spent = self.spent + part
        self.tell(Event(doing, self.cells, self.plan.cells, spent, self.total, note))


class _Todo(NamedTuple):
    """A run and what it lacks."""

    wanted: Wanted
    missing: tuple[str, ...]
    """Targets without an answer."""
    train: bool
    """Whether its adapter is lacking too."""
    lesson: Lesson | None
    """What it learns from, where that had to be made to know its keys."""

    @property
    def run(self) -> Run:
        return self.wanted.run


def run_study(study: Study, out: str | Path, *, tell: Callable[[Event], None]) -> Outcome:
    """Everything that the study asks for and the folder does not have yet.

    Raises:
        StudyError: something in the study cannot be found, or the folder is another study's or in
            use.
        DataError: a file cannot be read or written.
        MissingExtra: what trains is not installed.
    """
    check_places(study)
    lab = load_lab()
    with results.locked(out) as folder:
        stock = stock_of(study, results.read_json(folder / results.DIGESTS))
        plan = plan_study(study, stock)
        claim(study, folder)
        check_brought(study, lab, folder)
        total = sum(map(plan.training_work, plan.runs)) + len(plan.runs) * plan.questions
        notes: list[str] = []
        _refuse_asked(study, plan, stock, folder)
        store = open_store(folder, {path_of(study, run) for run in plan.runs}, notes.append)
        store.notes = stock.notes
        work = _Work(study, plan, stock, store, lab, tell, total)
        for note in [*notes, *stock.notes]:
            work.say("looking at what there is", note=note)
        results.log(folder, "begin", study=study.name, cells=plan.cells, versions=versions())
        if stock.notes:
            results.log(folder, "notes", notes=stock.notes)
        for base_run in plan.bases:
            work.say(f"{base_run.model}: loading")
            base = open_base(study, lab, base_run.model, folder)
            own = [shard for shard in plan.shards if shard.model == base_run.model]
            for shard in [Shard(base_run.model, (base_run,)), *own]:
                _attempt(work, base, shard)
        work.say("done")
        results.log(folder, "end", cells=work.cells, failed=len(work.failed))
    return Outcome(work.cells, plan.cells, work.adapters, tuple(work.failed))


def finished_cells(study: Study, plan: Plan, stock: Stock, out: str | Path) -> int:
    """Cells that the folder has, if the bases are still the same; loads none."""
    stock.digests |= results.read_json(Path(out, results.DIGESTS)) if stock.stable else {}
    return sum(_finished(study, plan, stock, Path(out), run) for run in plan.runs)


def _finished(study: Study, plan: Plan, stock: Stock, folder: Path, run: Run) -> int:
    """Cells of a run that the folder has, if its base is still the same."""
    record = results.read_json(results.record_of(folder / path_of(study, run)))
    if not record:
        return 0
    hashes = (str(record.get("base")), brought_hash(study, run))
    cells, have = run_keys(study, stock, plan, run, hashes)[1], record.get("cells", {})
    return sum(have.get(target) == key for target, key in cells.items())


def _refuse_asked(study: Study, plan: Plan, stock: Stock, folder: Path) -> None:
    """Refuse to train on what is evaluated, before the first base is loaded."""
    if stock.stable:
        return
    checked = set()
    for run in plan.runs:
        if not run.trained or (run.source, run.seed) in checked:
            continue
        if _finished(study, plan, stock, folder, run) < len(plan.targets):
            stock.refuse_asked(learned(study, stock, run), plan.targets)
            checked.add((run.source, run.seed))


def _attempt(work: _Work, base: Any, shard: Shard) -> None:
    """A shard; what fails in it is logged, and the next is tried."""
    try:
        _carry_out(work, base, shard)
    except (RuntimeError, MemoryError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        names = [str(run) for run in shard.runs]
        said = f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {line}"
        trace = traceback.format_exc()
        results.log(work.store.folder, "failed", runs=names, error=line, traceback=trace)
        work.failed.append(said)
        work.say("failed", note=f"failed: {said}")


def _carry_out(work: _Work, base: Any, shard: Shard) -> None:
    """Train and score what of a shard is missing, and put every run's table in place."""
    known = len(work.stock.digests)
    todo = [_examine(work, base, run) for run in shard.runs]
    if work.stock.stable and len(work.stock.digests) > known:
        path = work.store.folder / results.DIGESTS
        results.write_whole(path, results.as_json(work.stock.digests))
    missing = [one for one in todo if one.missing]
    fresh: dict[Run, dict[str, pl.DataFrame]] = {}
    whole = [one for one in missing if is_whole(work.study, one.run)]
    if stacked := [one for one in missing if one not in whole]:
        fresh |= _score(work, base, stacked, _adapters(work, base, stacked))
    for one in whole:
        tuned = work.lab.load_tuned(base, brought(work.study, one.run))
        fresh |= _score(work, tuned, [one], [None])
    keep(work.store, [one.wanted for one in todo], fresh)
    work.cells += sum(len(one.wanted.cells) for one in todo)
    work.adapters += sum(one.run.kind in ("source", "brought", "mixture") for one in todo)
    work.say(f"{shard.model}: {_what(shard.runs)} finished")


def _examine(work: _Work, base: Any, run: Run) -> _Todo:
    """What a run lacks; work that need not be done is taken from the total."""
    study, plan = work.study, work.plan
    work.say(f"{run.model}: looking at the items for {_what([run])}")
    hashes = (base.weights_hash, brought_hash(study, run))
    training, cells, made = run_keys(study, work.stock, plan, run, hashes)
    gold = {target: work.stock.gold(target, count) for target, count in plan.targets.items()}
    wanted = Wanted(run, path_of(study, run), base.weights_hash, training, cells, gold)
    missing = work.store.missing(wanted)
    train = bool(missing) and not has_adapter(work.store, wanted)
    if run.trained and not train:
        work.total -= plan.training_work(run)
    work.total -= plan.questions - sum(plan.targets[name] for name in missing)
    return _Todo(wanted, missing, train, made if train else None)


def _adapters(work: _Work, base: Any, todo: Sequence[_Todo]) -> list[Any]:
    """The adapters of runs: trained, read, or None for the base."""
    lacking = [one for one in todo if one.train]
    trained = _train(work, base, lacking) if lacking else {}
    adapters: list[Any] = []
    for one in todo:
        if one.run.kind in ("base", "again") or one.train:
            adapters.append(trained.get(one.run))
        elif one.run.kind == "brought":
            adapters.append(work.lab.load_adapter(base, brought(work.study, one.run)))
        else:
            folder = work.store.folder / adapter_folder(one.run)
            adapters.append(work.lab.load_adapter(base, folder))
    return adapters


def _train(work: _Work, base: Any, lacking: Sequence[_Todo]) -> dict[Run, Any]:
    """Train a fleet and keep its adapters, all or none."""
    jobs, records, runs = [], [], [one.run for one in lacking]
    for one in lacking:
        source, seed = one.run.source or "", one.run.seed or 0
        taught = one.lesson or lesson(work.study, work.stock, one.run)
        seeds = {f"{k}_seed": derived_seed(seed, k, source) for k in ("init", "order", "dropout")}
        jobs.append(work.lab.Job(source, seed, taught.items, answers=taught.answers, **seeds))
        made_of = {"run": asdict(one.run), "items": taught.digest, **seeds}
        records.append({"key": one.wanted.training, **made_of, "versions": versions()})
    model = runs[0].model
    recipe = work.study.recipe_of(model)
    amount = sum(map(work.plan.training_work, runs))
    doing, watch = f"{model}: training {_what(runs)}", Watch(base)
    work.say(doing)
    adapters = work.lab.train_fleet(
        base, jobs, recipe, progress=lambda n, of: work.say(doing, amount * n / max(of, 1))
    )
    _measured(work, "train", runs, watch.trained(jobs, recipe))
    with results.staged(work.store.folder) as stage:
        for run, adapter, record in zip(runs, adapters, records, strict=True):
            folder = stage / adapter_folder(run)
            folder.parent.mkdir(parents=True, exist_ok=True)
            work.lab.save_adapter(adapter, folder)
            record |= {"recipe": recipe.model_dump(mode="json")}
            record["files"] = results.checksums(folder)
            results.record_of(folder).write_bytes(results.as_json(record))
    work.spent += amount
    return dict(zip(runs, adapters, strict=True))


def _score(
    work: _Work, base: Any, todo: Sequence[_Todo], adapters: Sequence[Any]
) -> dict[Run, dict[str, pl.DataFrame]]:
    """The answers that runs lack, by run and target."""
    counts, runs = work.plan.targets, [one.run for one in todo]
    scoring = work.study.evaluation.scoring
    wanted = {name for one in todo for name in one.missing}
    items = [
        item
        for name, count in counts.items()
        if name in wanted
        for item in work.stock.questions(name, count)
    ]
    fixed = named_by_letter(items)
    orders = [_orders(work.study, runs[0], item, fixed=item.task in fixed) for item in items]
    asked = [
        reordered(item, order) for item, its in zip(items, orders, strict=True) for order in its
    ]
    amount = sum(counts[name] for one in todo for name in one.missing)
    doing, watch = f"{runs[0].model}: scoring {_what(runs)}", Watch(base)
    work.say(doing)
    found = work.lab.score_fleet(
        base,
        adapters,
        asked,
        scoring=scoring,
        batch_size=work.study.evaluation.batch_size,
        progress=lambda n, of: work.say(doing, amount * n / max(of, 1)),
    )
    recipe = work.study.recipe_of(runs[0].model)
    _measured(work, "score", runs, watch.scored(len(runs), asked, recipe, scoring))
    work.spent += amount
    fresh: dict[Run, dict[str, pl.DataFrame]] = {}
    for one, own in zip(todo, found, strict=True):
        given = iter(own)
        answers = [
            combined([next(given) for _ in its], its, by_reply=scoring == "generate")
            for its in orders
        ]
        frame = as_table(one.run, items, answers)
        fresh[one.run] = {name: frame.filter(pl.col("target") == name) for name in one.missing}
    return fresh


def _orders(study: Study, run: Run, item: Item, *, fixed: bool) -> list[tuple[int, ...]]:
    """The orders of its choices in which a run is asked an item."""
    first = tuple(range(len(item.choices)))
    if fixed:
        return [first]
    if run.kind == "again":
        first = other_order(item, run.seed or 0)
    if study.evaluation.choice_order == "given":
        return [first]
    return [tuple(first[place] for place in turned) for turned in rotations(item)]


def _what(runs: Sequence[Run]) -> str:
    """Runs in a few words."""
    if runs[0].kind in ("base", "again"):
        return "the base" + ("" if runs[0].kind == "base" else " in another order")
    seeds = list(dict.fromkeys(run.seed for run in runs))
    one = runs[0].source if len(runs) == 1 else f"{len(runs)} adapters"
    return f"{one}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _measured(work: _Work, event: str, runs: Sequence[Run], fields: dict[str, Any]) -> None:
    names = [str(run) for run in runs]
    results.log(work.store.folder, event, model=runs[0].model, runs=names, **fields)
