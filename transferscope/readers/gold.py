"""Which right answers judged the results, and whether two results used the same.

Benchmarks correct their labels: BLINK replaced those of one task in 2025. Results by old and by
new labels answer different questions, so a note must warn where they stand side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from transferscope.predictions import some
from transferscope.tasks import gold_hash
from transferscope.tasks.untrusted import shown

_LONGEST = 500  # characters of a note; anybody may have written a record


def gold_of(rows: pl.DataFrame, records: Iterable[Mapping[str, Any]] = ()) -> dict[str, str]:
    """The hash of each target's right answers: the record's, else from the rows' `answer`.

    Targets with unknown right answers are left out. If there are several hashes, all are named.
    """
    found: dict[str, set[str]] = {}
    for record in records:
        gold = record.get("gold")
        for target, value in gold.items() if isinstance(gold, dict) else ():
            if isinstance(value, str):
                found.setdefault(str(target), set()).add(value[:64])
    if "answer" in rows.columns:
        for (target,), part in rows.group_by("target", maintain_order=True):
            right = part.select("item", "answer").unique()
            if target not in found and not right["answer"].has_nulls():
                found[str(target)] = {gold_hash(str(target), right.iter_rows())}
    return {target: ", ".join(sorted(hashes)) for target, hashes in found.items()}


def record_notes(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """A study's notes on its items, each once."""
    lists = (listed for each in records if isinstance(listed := each.get("notes"), list))
    notes = (note for listed in lists for note in listed if isinstance(note, str))
    return list(dict.fromkeys(shown(note[:_LONGEST]) for note in notes))


def gold_notes(
    rows: Sequence[pl.DataFrame], gold: Sequence[tuple[str, Mapping[str, str]]]
) -> list[str]:
    """A note for each target that was judged by different right answers, by the inputs'
    predictions, and by their names and hashes."""
    parts = [part.select("target", "item", "answer") for part in rows if "answer" in part.columns]
    differing: dict[str, int] = {}
    compared: set[str] = set()
    if parts:
        right = pl.concat(parts).drop_nulls().unique().group_by("target", "item").len()
        several = right.filter(pl.col("len") > 1).group_by("target").len().sort("target")
        differing = dict(several.iter_rows())
    for part in parts:
        known = part.group_by("target").agg(pl.col("answer").is_not_null().all())
        compared |= set(known.filter("answer")["target"])
    notes = [
        f"{shown(target)}: {count} of its items have different right answers in different results: "
        "their labels were changed in between, and effects across them mean nothing"
        for target, count in differing.items()
    ]
    for target in sorted({target for _, hashes in gold for target in hashes}):
        owners = {name: hashes[target] for name, hashes in gold if target in hashes}
        several = {each for hashes in owners.values() for each in hashes.split(", ")}
        if target not in compared and target not in differing and len(several) > 1:
            notes.append(
                f"{shown(target)}: the results of {some(owners)} were judged by different right "
                "answers, or on different items"
            )
    return notes
