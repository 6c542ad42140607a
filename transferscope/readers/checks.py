"""What must be known before any effect: are these the runs, items and questions that they claim?

The worst errors of a comparison leave no trace in its numbers: an adapter that was never loaded,
one evaluation under two names, another prompt, options in another order. Each is looked for here.

In:   the rows of predictions or accuracies, and the logs behind them where there are any.
Out:  `Check`s; those of severity `void` name the cells of which nothing can be concluded.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from transferscope.analysis.verdict import Check
from transferscope.predictions import CELL, MOST_UNREADABLE, some, spread_base
from transferscope.readers.harness.evaluations import Evaluated
from transferscope.readers.harness.runs import RunKey, RunLog
from transferscope.readers.harness.samples import CORRECTED, HarnessSample
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
OTHER_KEY = 0.05
"""Share of items with another right answer up to which labels may have been corrected; beyond it
the options stand in another order, or the items are others."""
OTHER_PROMPT = 0.5
"""Share of items with another prompt from which the prompt, not the finetune, may be the cause."""
_RUN = ("model", "seed", "source")
_ANSWER = ("choice", "correct", "score", "logprobs")


def check_runs(evaluated: Evaluated) -> list[Check]:
    """Everything that is wrong with the runs of a mapping, in no order."""
    rows, logs = evaluated.rows, evaluated.logs
    found = [*_same_files(logs), *_harnesses(logs), *_questions(logs)]
    found += check_rows(rows, logs) if evaluated.items else _same_averages(rows)
    return found


def check_table(kind: str, rows: pl.DataFrame) -> list[Check]:
    """What the rows of one table give away; `kind` is its format, as `readers.formats` names it."""
    if kind == "predictions":
        return check_rows(rows)
    return list(_same_averages(rows)) if "accuracy" in rows.columns else []


def check_rows(rows: pl.DataFrame, logs: Mapping[RunKey, RunLog] | None = None) -> list[Check]:
    """What the rows of a predictions table give away.

    Args:
        rows: as `predictions.check_predictions` returns them.
        logs: the runs' logs, whose replies tell equal choices from equal answers.
    """
    rows = spread_base(rows)
    found = [*_all_right(rows), *_same_answers(rows, logs or {})]
    return [*found, *_fewer_items(rows), *_unreadable(rows)]


def _all_right(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs without an error, as the answer key itself would be."""
    runs = rows.group_by(_RUN, maintain_order=True).agg(n=pl.len(), right=pl.col("correct").sum())
    tuned = rows.drop_nulls("source").select("model", "source").unique(maintain_order=True)
    flawless = runs.filter((pl.col("n") >= ALL_RIGHT) & (pl.col("n") == pl.col("right")))
    for model, source, n in flawless.unique(("model", "source"), maintain_order=True)[
        "model", "source", "n"
    ].rows():
        of = [source] if source is not None else tuned.filter(model=model)["source"].to_list()
        name = "the base" if source is None else shown(source)
        yield Check(
            "void",
            f"{name} has all {n:,} items right. Is its file the answer key?",
            tuple((each, None) for each in of),
            model,
        )


def _same_answers(rows: pl.DataFrame, logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """Runs that answer as the base does, or as another run does, item by item."""
    answer = pl.struct(*(pl.col(c) for c in _ANSWER if c in rows.columns)).hash()
    rows = rows.select(*CELL, "item", answer=answer)
    base = rows.filter(pl.col("source").is_null()).drop("source")
    tuned = rows.drop_nulls("source")
    pairs = tuned.join(base, on=["model", "seed", "target", "item"], suffix="_base")
    same = pairs.group_by(_RUN, maintain_order=True).agg(
        n=pl.len(), equal=(pl.col("answer") == pl.col("answer_base")).sum()
    )
    idle = set()
    several = tuned.group_by("model", "source").agg(pl.col("seed").n_unique() > 1).rows()
    seeds = {(model, source) for model, source, more in several if more}
    for model, seed, source, n, equal in same.rows():
        run, untuned = _log(logs, model, source, seed), _log(logs, model, None, seed)
        name = shown(source) + f" (seed {shown(seed)})" * ((model, source) in seeds)
        if n >= FEWEST and n == equal and _same_replies(run, untuned):
            idle.add((model, seed, source))
            message = f"{name} gives the base's answer to all {n:,} items. Was the adapter loaded?"
            yield Check("void", message, ((source, None),), model)
        elif n >= MANY and n > equal >= (1 - HARDLY) * n:
            message = f"{name} changes only {n - equal} of the base's {n:,} answers"
            yield Check(
                "caution", f"{message}. Was the whole adapter loaded?", ((source, None),), model
            )
    whole = (
        tuned.sort("target", "item")
        .group_by(_RUN, maintain_order=True)
        .agg(n=pl.len(), all=pl.struct("target", "item", "answer").hash().implode().hash())
    )
    alike: dict[tuple[str, int], list[tuple[str | None, str]]] = {}
    for model, seed, source, n, all_answers in whole.sort("source", maintain_order=True).rows():
        if n >= FEWEST and (model, seed, source) not in idle:
            alike.setdefault((model, all_answers), []).append((seed, source))
    for (model, _), runs in alike.items():
        first, *others = runs
        for seed, source in others:
            one, two = (_log(logs, model, run, at) for at, run in (first, (seed, source)))
            if _same_replies(one, two):
                yield _twins(model, first, (seed, source))


def _twins(model: str, one: tuple[str | None, str], two: tuple[str | None, str]) -> Check:
    if one[1] == two[1]:
        return Check(
            "caution",
            f"seeds {one[0]} and {two[0]} of {shown(one[1])} give the same answers to all "
            f"items: they count as one seed",
            ((one[1], None),),
            model,
        )
    # Late checkpoints of one finetune may well agree; two finetunes do not.
    finetunes = {checkpoint(one[1]).task, checkpoint(two[1]).task}
    return Check(
        "void" if len(finetunes) > 1 else "caution",
        f"{shown(one[1])} and {shown(two[1])} give the same answers to all items. Is it "
        f"one evaluation under two names?",
        ((one[1], None), (two[1], None)),
        model,
    )


def _log(
    logs: Mapping[RunKey, RunLog], model: str, source: str | None, seed: str | None
) -> RunLog | None:
    return logs.get(RunKey(model, source, seed)) or logs.get(RunKey(model, source, None))


def _same_replies(one: RunLog | None, two: RunLog | None) -> bool:
    """Whether no reply differs; the same choice in other words is not the same answer."""
    if one is None or two is None:
        return True
    return all(
        sample.reply == two.samples[target][item].reply
        for target, items in one.samples.items()
        for item, sample in items.items()
        if item in two.samples.get(target, {})
    )


def _same_averages(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs whose average equals the base's on every target."""
    rows = spread_base(rows)
    base = rows.filter(pl.col("source").is_null()).select(
        "model", "seed", "target", base="accuracy"
    )
    pairs = rows.drop_nulls("source").join(base, on=["model", "seed", "target"])
    same = pairs.group_by(_RUN, maintain_order=True).agg(
        n=pl.len(), equal=(pl.col("accuracy") == pl.col("base")).sum()
    )
    for model, _, source, n, equal in same.rows():
        if n >= FEWEST_AVERAGES and n == equal:
            yield Check(
                "void",
                f"{shown(source)} has the base's average on all {n} tasks. Was the adapter loaded?",
                ((source, None),),
                model,
            )


def _same_files(logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """One set of files that is given as two runs."""
    known: dict[str, RunKey] = {}
    for key, log in logs.items():
        first = known.setdefault(log.sha256, key)
        items = sum(map(len, log.samples.values()))
        if first is not key and items < FEWEST:  # of more items, the answers tell
            sources = [each.source for each in (first, key) if each.source]
            yield Check(
                "void",
                f"{_name(first)} and {_name(key)} are the same files ({log.label})",
                tuple((source, None) for source in sources),
                key.model,
            )


def _harnesses(logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """Targets that runs of several harnesses, or of several versions of one, answered."""
    for target in dict.fromkeys(target for log in logs.values() for target in log.harnesses):
        used = {log.harnesses[target] for log in logs.values() if target in log.harnesses}
        versions = {log.versions[target] for log in logs.values() if target in log.versions}
        cells = tuple((key.source, target) for key in logs if key.source is not None)
        if len(used) > 1:
            yield Check(
                "caution",
                f"{shown(target)} was evaluated by {' and by '.join(sorted(used))}, whose prompts "
                f"differ: a difference between such runs is not the finetune's alone",
                cells,
            )
        if len(versions) > 1:
            yield Check(
                "caution",
                f"{shown(target)} was evaluated in different versions: {some(sorted(versions))}",
                cells,
            )


def _fewer_items(rows: pl.DataFrame) -> Iterator[Check]:
    """Runs that answered fewer items than another run of the target did."""
    size = rows.group_by("target").agg(all=pl.col("item").n_unique())
    runs = (
        rows.group_by(CELL, maintain_order=True)
        .agg(n=pl.len())
        .join(size, on="target", maintain_order="left")
        .filter(pl.col("n") < pl.col("all"))
    )
    alike: dict[tuple[str, str], list[tuple[str | None, list[str]]]] = {}
    for (model, source), part in runs.group_by("model", "source", maintain_order=True):
        by_target = part.unique("target", keep="first", maintain_order=True)
        each = [f"{shown(t)} {n} of {all}" for t, n, all in by_target["target", "n", "all"].rows()]
        more = f" and {len(each) - 3} more" if len(each) > 3 else ""
        run = None if source is None else str(source)
        which = str(model), ", ".join(each[:3]) + more
        alike.setdefault(which, []).append((run, by_target["target"].to_list()))
    for (model, which), same in alike.items():  # one line for all runs that lack the same
        names = ["the base" if source is None else shown(source) for source, _ in same]
        listed = f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else None
        yield Check(
            "caution",
            f"{listed or ' and '.join(names)} answered only some items ({which}). Effects are on "
            f"the items that base and run share",
            tuple((source, t) for source, targets in same if source for t in targets),
            model,
        )


def _unreadable(rows: pl.DataFrame) -> Iterator[Check]:
    """Cells with so many unreadable replies that only bounds are known."""
    if "unreadable" not in rows.columns:
        return
    share = rows.group_by(CELL, maintain_order=True).agg(
        share=pl.col("unreadable").fill_null(False).mean()
    )
    high = share.filter(pl.col("share") > MOST_UNREADABLE)
    tuned = rows.drop_nulls("source").select("model", "source").unique(maintain_order=True)
    for (model, source), part in high.group_by("model", "source", maintain_order=True):
        worst = part.sort("share", descending=True).row(0, named=True)
        targets = part["target"].unique(maintain_order=True).to_list()
        of = [str(source)]
        if source is None:
            of = tuned.filter(pl.col("model") == model)["source"].to_list()
        name = "the base" if source is None else shown(str(source))
        where = "" if len(targets) == 1 else f" and on {len(targets) - 1} more"
        yield Check(
            "caution",
            f"{worst['share']:.0%} of the replies of {name} on {shown(worst['target'])}{where} "
            f"name no option, so only bounds are known",
            tuple((each, target) for each in of for target in targets),
            str(model),
        )


def _questions(logs: Mapping[RunKey, RunLog]) -> Iterator[Check]:
    """Runs that answered other questions than the base of their model did."""
    bases: dict[str, tuple[RunKey, RunLog]] = {}
    for key, log in logs.items():
        if key.source is None:
            bases.setdefault(key.model, (key, log))
    for key, log in logs.items():
        if key.source is None or key.model not in bases:
            continue
        base = bases[key.model][1]
        shared = {
            target: [
                (base.samples[target][i], kept)
                for i, kept in items.items()
                if i in base.samples[target]
            ]
            for target, items in log.samples.items()
            if target in base.samples
        }
        yield from _apart(key, log, base, shared)
        yield from _prompts(key, shared)
        yield from _orders(key, shared)


Shared = Mapping[str, list[tuple[HarnessSample, HarnessSample]]]


def _apart(key: RunKey, log: RunLog, base: RunLog, shared: Shared) -> Iterator[Check]:
    for target in (target for target, pairs in shared.items() if not pairs):
        ours, theirs = next(iter(log.samples[target])), next(iter(base.samples[target]))
        yield Check(
            "void",
            f"{_name(key)} and the base share no item of {shown(target)} (such as {ours!r} and "
            f"{theirs!r}); evaluate both with one harness",
            ((str(key.source), target),),
            key.model,
        )


def _prompts(key: RunKey, shared: Shared) -> Iterator[Check]:
    """Targets whose questions were put in other words."""
    for target, pairs in shared.items():
        known = [(a.prompt, b.prompt) for a, b in pairs if a.prompt and b.prompt]
        other = [(one, two) for one, two in known if one.split() != two.split()]
        if known and len(other) >= OTHER_PROMPT * len(known):
            one, two = _difference(*other[0])
            yield Check(
                "void",
                f"{_name(key)} got another prompt than the base on {len(other)} of {len(known)} "
                f"items of {shown(target)} ({two!r}, base {one!r}): evaluate both with one prompt",
                ((str(key.source), target),),
                key.model,
            )


def _difference(one: str, two: str) -> tuple[str, str]:
    """Where two texts begin to differ, a few words of each."""
    left, right = one.split(), two.split()
    at = next(
        (n for n, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]),
        min(len(left), len(right)),
    )
    start = max(0, at - 1)
    return " ".join(left[start : at + 4])[:50], " ".join(right[start : at + 4])[:50]


def _orders(key: RunKey, shared: Shared) -> Iterator[Check]:
    """Targets whose options stand in another order, or whose answers are others."""
    for target, pairs in shared.items():
        moved = changed = 0
        example = ""
        # Of these the labels are known to have changed, not the questions.
        corrected = target in CORRECTED and any(
            sample.logged_answer is not None for pair in pairs for sample in pair
        )
        for one, two in pairs:
            before = one.answer if one.logged_answer is None else one.logged_answer
            after = two.answer if two.logged_answer is None else two.logged_answer
            if before is None or after is None:
                continue
            listed = all(one.choices) and sorted(one.choices) == sorted(two.choices)
            # Where the options are known, the right text is what must be the same.
            if one.choices[before] != two.choices[after] if listed else before != after:
                changed += 1
            elif listed and one.choices != two.choices:
                moved += 1
            else:
                continue
            example = example or two.item
        if changed:
            yield Check(
                "void" if changed > OTHER_KEY * len(pairs) and not corrected else "caution",
                f"{_name(key)}: {changed} of {len(pairs)} items of {shown(target)} have another "
                f"right answer than in the base's file (such as {example!r}). Their options "
                f"stand in another order, or the data changed",
                ((str(key.source), target),),
                key.model,
            )
        if moved:
            yield Check(
                "caution",
                f"{_name(key)}: the options of {moved} of {len(pairs)} items of {shown(target)} "
                f"stand in another order than for the base (such as {example!r})",
                ((str(key.source), target),),
                key.model,
            )


def _name(key: RunKey) -> str:
    return "the base" if key.source is None else shown(key.source)
