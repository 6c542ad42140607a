"""What must be known before any effect: are these the runs, items and questions that they claim?

The worst errors of a comparison leave no trace in its numbers: an adapter that was never loaded,
one evaluation under two names, another prompt, options in another order. Each is looked for here.

In:   the rows of predictions or accuracies, or the runs of a mapping file with their logs.
Out:  `Check`s; those of severity `void` name the cells of which nothing can be concluded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from transferscope.analysis.verdict import Check, Severity
from transferscope.predictions import CELL, MOST_UNREADABLE, some, spread_base, unread
from transferscope.readers.harness.evaluations import Evaluated
from transferscope.readers.harness.runs import RunKey, RunLog
from transferscope.readers.harness.samples import HarnessSample
from transferscope.readers.harness.terms import CORRECTED
from transferscope.tasks.checkpoints import checkpoint
from transferscope.tasks.untrusted import shown

FEWEST = 20
"""Items on which all answers must be equal before that is no accident."""
MANY, HARDLY = 200, 0.005
"""Items, and the share of them with another answer, below which an adapter hardly does anything."""
ALL_RIGHT = 100
"""Items of which a run has every one right before it is taken for the answer key."""
FEWEST_AVERAGES = 3
"""Targets on which all averages must be equal before that is no accident."""
SEEDS_AVERAGES = 5
"""The same of two seeds of one source, which are alike anyway."""
OTHER_KEY = 0.05
"""Share of items with another right answer up to which labels may have been corrected; beyond it
the options stand in another order, or the items are others."""
OTHER_PROMPT = 0.5
"""Share of items with another prompt from which the prompt, not the finetune, may be the cause."""
APART = 0.02
"""Mean difference of margins, in log-probability, beyond which two runs are not one, though they
choose the same options: rounding in float32 is far below it, a training far above. In bfloat16
rounding may be above it too, and a copy pass."""
_RUN = ("model", "seed", "source")
_ANSWER = ("choice", "correct", "score", "logprobs")


def check_runs(evaluated: Evaluated) -> list[Check]:
    """Everything that is wrong with the runs of a mapping, in no order."""
    logs = evaluated.logs
    return [*_same_files(logs), *_harnesses(logs), *_questions(logs), *check_rows(evaluated.rows)]


def check_rows(rows: pl.DataFrame) -> list[Check]:
    """What the rows of a table give away; its replies, where it has them, count as answers."""
    rows = spread_base(rows)
    if "item" not in rows.columns:
        return list(_same_averages(rows)) if "accuracy" in rows.columns else []
    found = [*_all_right(rows), *_same_answers(rows)]
    return [*found, *_fewer_items(rows), *_unreadable(rows)]


def _runs(severity: Severity, message: str, model: str, *sources: str) -> Check:
    return Check(severity, message, tuple((source, None) for source in sources), model)


def _name(source: str | None) -> str:
    return "the base" if source is None else shown(source)


def _compared_with(source: str | None, model: str, rows: pl.DataFrame) -> list[str]:
    """The sources whose effects rest on a run: all of the model, if it is the base."""
    if source is not None:
        return [source]
    return rows.filter(model=model)["source"].drop_nulls().unique(maintain_order=True).to_list()


def _all_right(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs without an error, as the answer key itself would be."""
    runs = rows.group_by(_RUN, maintain_order=True).agg(n=pl.len(), right=pl.col("correct").sum())
    flawless = runs.filter((pl.col("n") >= ALL_RIGHT) & (pl.col("n") == pl.col("right")))
    flawless = flawless.unique(("model", "source"), maintain_order=True)
    for model, source, n in flawless["model", "source", "n"].rows():
        message = f"{_name(source)} has all {n:,} items right. Is its file the answer key?"
        yield _runs("void", message, model, *_compared_with(source, model, rows))


def _equal_to_base(rows: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Each run with the number of values that it and its base have, how many are equal, and how
    far apart the margins are on average."""
    on = [column for column in ("model", "seed", "target", "item") if column in rows.columns]
    base = rows.filter(pl.col("source").is_null()).drop("source")
    pairs = rows.drop_nulls("source").join(base, on=on, suffix="_base")
    equal = [(pl.col(column) == pl.col(f"{column}_base")).sum() for column in columns]
    apart = pl.lit(None)
    if "margin" in rows.columns:
        apart = (pl.col("margin") - pl.col("margin_base")).abs().mean()
    return pairs.group_by(_RUN, maintain_order=True).agg(pl.len(), *equal, apart=apart).rows()


def _same_answers(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs that answer as the base does, or as another run does, item by item."""
    # The same choice in other words is not the same reply.
    known = [column for column in (*_ANSWER, "reply") if column in rows.columns]
    answer = pl.struct(pl.col(known).exclude("reply")).hash()
    option = "choice" if "choice" in known else pl.lit(None)
    margin = pl.lit(None, pl.Float64)
    if "margin" in rows.columns:
        margin = pl.col("margin").fill_nan(None)
    more = {"reply": pl.struct(known).hash(), "option": option, "margin": margin}
    rows = rows.select(*CELL, "item", answer=answer, **more)
    tuned = rows.drop_nulls("source")
    idle = set()
    several = tuned.group_by("model", "source").agg(pl.col("seed").n_unique() > 1)
    seeds = set(several.filter("seed")["model", "source"].rows())
    for model, seed, source, n, equal, alike, apart in _equal_to_base(rows, "answer", "reply"):
        if apart is not None and apart > APART:  # the adapter was loaded
            continue
        name = shown(source) + f" (seed {shown(seed)})" * ((model, source) in seeds)
        if n >= FEWEST and n == alike:
            idle.add((model, seed, source))
            message = f"{name} gives the base's answer to all {n:,} items. Was the adapter loaded?"
            yield _runs("void", message, model, source)
        elif n >= MANY and n > equal >= (1 - HARDLY) * n:
            message = f"{name} changes only {n - equal} of the base's {n:,} answers"
            yield _runs("caution", f"{message}. Was the whole adapter loaded?", model, source)
    whole = (
        tuned.sort("target", "item")
        .group_by(_RUN, maintain_order=True)
        .agg(
            n=pl.len(),
            all=pl.struct("target", "item", "reply").hash().implode().hash(),
            # Two seeds that collapsed to one option agree without being copies.
            fallen=pl.col("option").eq(pl.col("option").first()).all(ignore_nulls=False),
            margin=pl.col("margin").mean().fill_null(0.0),
        )
    )
    first: dict[tuple[str, int, bool], list[tuple[tuple[str, str], float]]] = {}
    for model, seed, source, n, replies, fallen, margin in whole.sort("source", "seed").rows():
        if n >= FEWEST and (model, seed, source) not in idle:
            seen = first.setdefault((model, replies, fallen), [])
            twin = next((run for run, other in seen if abs(other - margin) <= APART), None)
            if twin is None:
                seen.append(((seed, source), margin))
            elif not (fallen and source == twin[1]):
                yield _twins(model, twin, (seed, source))


def _twins(model: str, one: tuple[str, str], two: tuple[str, str]) -> Check:
    """The check on two runs, (seed, source), that give the same answers."""
    first, second = shown(one[1]), shown(two[1])
    if first == second:
        seeds = f"seeds {one[0]} and {two[0]} of {first} give the same answers to all items"
        check = _runs("caution", f"{seeds}: they count as one seed", model, one[1])
        return replace(check, copied=two[0])
    # Late checkpoints of one finetune may well agree; two finetunes do not.
    finetunes = {checkpoint(one[1]).task, checkpoint(two[1]).task}
    both = f"{first} and {second} give the same answers to all items"
    severity = "void" if len(finetunes) > 1 else "caution"
    return _runs(severity, f"{both}. Is it one evaluation under two names?", model, one[1], two[1])


def _same_averages(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs whose average equals the base's, or another seed's, on every target."""
    rows = rows.select(*CELL, "accuracy")
    for model, _, source, n, equal, _ in _equal_to_base(rows, "accuracy"):
        if n >= FEWEST_AVERAGES and n == equal:
            average = f"{shown(source)} has the base's average on all {n} tasks"
            yield _runs("void", f"{average}. Was the adapter loaded?", model, source)
    runs = rows.drop_nulls().sort("target").group_by(_RUN, maintain_order=True)
    whole = runs.agg(n=pl.len(), all=pl.struct("target", "accuracy").hash().implode().hash())
    first: dict[tuple[Any, ...], str] = {}
    for model, seed, source, n, averages in whole.sort("seed").rows():
        kept = first.setdefault((model, source, averages), seed)
        if kept != seed and n >= SEEDS_AVERAGES:
            same = f"seeds {kept} and {seed} of {shown(source)} have the same averages"
            message = f"{same} on all {n} tasks: they count as one seed"
            yield replace(_runs("caution", message, model, source), copied=seed)


def _same_files(logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """One set of files that is given as two runs."""
    known: dict[str, RunKey] = {}
    for key, log in logs.items():
        first = known.setdefault(log.sha256, key)
        items = sum(map(len, log.samples.values()))
        if first is not key and items < FEWEST:  # of more items, the answers show it
            both = f"{_name(first.source)} and {_name(key.source)} are the same files ({log.label})"
            sources = (each.source for each in (first, key) if each.source)
            yield _runs("void", both, key.model, *sources)


def _harnesses(logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """Targets that runs of several harnesses, or of several versions of one, answered."""
    for target in dict.fromkeys(target for log in logs.values() for target in log.harnesses):
        used = {log.harnesses[target] for log in logs.values() if target in log.harnesses}
        versions = {log.versions[target] for log in logs.values() if target in log.versions}
        cells = tuple((key.source, target) for key in logs if key.source is not None)
        evaluated = f"{shown(target)} was evaluated"
        if len(used) > 1:
            harnesses = f"{evaluated} by {' and by '.join(sorted(used))}, whose prompts differ"
            alone = "a difference between such runs is not the finetune's alone"
            yield Check("caution", f"{harnesses}: {alone}", cells)
        if len(versions) > 1:
            different = f"{evaluated} in different versions: {some(sorted(versions))}"
            yield Check("caution", different, cells)


def _fewer_items(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs that answered fewer items than another run of the target did."""
    size = rows.group_by("target").agg(all=pl.col("item").n_unique())
    runs = (
        rows.group_by(CELL, maintain_order=True)
        .agg(n=pl.len())
        .join(size, on="target", maintain_order="left")
        .filter(pl.col("n") < pl.col("all"))
        .unique(["model", "source", "target"], keep="first", maintain_order=True)
    )
    alike: dict[tuple[str, str], list[tuple[str | None, list[str]]]] = {}
    for (model, source), part in runs.group_by("model", "source", maintain_order=True):
        each = [f"{shown(t)} {n} of {all}" for t, n, all in part["target", "n", "all"].rows()]
        more = f" and {len(each) - 3} more" if len(each) > 3 else ""
        same = alike.setdefault((model, ", ".join(each[:3]) + more), [])
        same.append((source, part["target"].to_list()))
    for (model, which), same in alike.items():  # one line for all runs that lack the same
        names = [_name(source) for source, _ in same]
        listed = f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else None
        yield Check(
            "caution",
            f"{listed or ' and '.join(names)} answered only some items ({which}). Effects are on "
            f"the items that base and run share",
            tuple((source, t) for source, targets in same if source for t in targets),
            model,
        )


def _unreadable(rows: pl.DataFrame) -> Iterator[Check]:
    """Cells with so many unreadable replies that only bounds are known, or many worth nothing."""
    if "unreadable" not in rows.columns:
        return
    share, unknown = pl.col("unreadable").fill_null(False).mean(), unread(rows).mean()
    cells = rows.group_by(CELL, maintain_order=True).agg(share=share, bounded=unknown > 0)
    high = cells.filter(pl.col("share") > MOST_UNREADABLE)
    kinds = high.group_by("model", "source", "bounded", maintain_order=True)
    for (model, source, bounded), part in kinds:
        bounds = "name no option, so only bounds are known"
        what = bounds if bounded else "hold no answer of the right kind; each is worth 0"
        worst = part.sort("share", descending=True).row(0, named=True)
        targets = part["target"].unique(maintain_order=True).to_list()
        where = "" if len(targets) == 1 else f" and on {len(targets) - 1} more"
        yield Check(
            "caution",
            f"{worst['share']:.0%} of the replies of {_name(source)} on {shown(worst['target'])}"
            f"{where} {what}",
            tuple((s, t) for s in _compared_with(source, model, rows) for t in targets),
            model,
        )


def _questions(logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """Runs that answered other questions than the base of their model did."""
    # The first base of a model counts.
    bases = {key.model: log for key, log in reversed([*logs.items()]) if key.source is None}
    for key, log in logs.items():
        if key.source is None or key.model not in bases:
            continue
        base = bases[key.model].samples
        shared = {
            target: [(base[target][i], kept) for i, kept in items.items() if i in base[target]]
            for target, items in log.samples.items()
            if target in base
        }
        found: list[tuple[Severity, str, str]] = []
        for target in (target for target, pairs in shared.items() if not pairs):
            ours, theirs = next(iter(log.samples[target])), next(iter(base[target]))
            apart = f"share no item of {shown(target)} (such as {ours!r} and {theirs!r})"
            one = f" and the base {apart}; evaluate both with one harness"
            found.append(("void", one, target))
        for differences in (_prompts, _orders, _groups):
            for target, pairs in shared.items():
                found += [(*each, target) for each in differences(target, pairs)]
        for severity, message, target in found:
            cells = ((key.source, target),)
            yield Check(severity, f"{shown(key.source)}{message}", cells, key.model)


Pairs = Sequence[tuple[HarnessSample, HarnessSample]]
"""The base's and the run's record of each item of a target that both answered."""


def _prompts(target: str, pairs: Pairs) -> Iterator[tuple[Severity, str]]:
    """Whether the questions were put in other words."""
    known = [(a.prompt, b.prompt) for a, b in pairs if a.prompt and b.prompt]
    other = [(one, two) for one, two in known if one.split() != two.split()]
    if known and len(other) >= OTHER_PROMPT * len(known):
        left, right = (text.split() for text in other[0])
        at = [*(a == b for a, b in zip(left, right, strict=False)), False].index(False)
        one, two = (" ".join(words[max(0, at - 1) : at + 4])[:50] for words in (left, right))
        yield (
            "void",
            f" got another prompt than the base on {len(other)} of {len(known)} items of "
            f"{shown(target)} ({two!r}, base {one!r}): evaluate both with one prompt",
        )


def _orders(target: str, pairs: Pairs) -> Iterator[tuple[Severity, str]]:
    """Whether the options stand in another order, or the right answers are others."""
    other: dict[str, bool] = {}  # by item: whether another answer is right
    for both in pairs:
        one, two = both
        before, after = (s.answer if s.logged_answer is None else s.logged_answer for s in both)
        if before is None or after is None:
            continue
        listed = all(one.choices) and sorted(one.choices) == sorted(two.choices)
        # Where the options are known, the right text is what must be the same.
        if one.choices[before] != two.choices[after] if listed else before != after:
            other[two.item] = True
        elif listed and one.choices != two.choices:
            other[two.item] = False
    changed = sum(other.values())
    of = f"of {len(pairs)} items of {shown(target)}"
    example = f"(such as {next(iter(other), '')!r})"
    if changed:
        # Of these the labels are known to have changed, not the questions.
        corrected = target in CORRECTED and any(
            sample.logged_answer is not None for both in pairs for sample in both
        )
        yield (
            "void" if changed > OTHER_KEY * len(pairs) and not corrected else "caution",
            f": {changed} {of} have another right answer than in the base's file {example}. Their "
            f"options stand in another order, or the data changed",
        )
    if moved := len(other) - changed:
        order = f": the options of {moved} {of} stand in another order than for the base {example}"
        yield "caution", order


def _groups(target: str, pairs: Pairs) -> Iterator[tuple[Severity, str]]:
    """Whether the questions name other images, so that the first file's groups may be wrong."""
    known = [(one, two) for one, two in pairs if one.group and two.group]
    if other := [two for one, two in known if one.group != two.group]:
        where = f"{len(other)} of {len(known)} items of {shown(target)}"
        example = f"(such as {other[0].item!r})"
        yield "caution", f": {where} name another image or video than in the base's file {example}"
