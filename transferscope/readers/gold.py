"""Which right answers results were judged by, and whether two results had the same.

Benchmarks correct their labels: BLINK replaced those of one task in 2025. Results by the old and by
the new ones answer different questions, so a reader is told where they stand side by side.

In:   predictions, and the record that a study keeps beside a table.
Out:  a hash of the right answers of each target, and sentences for the notes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from transferscope.predictions import shown, some
from transferscope.tasks import gold_hash

_LONGEST = 500  # characters of a note; a record is a file that anybody may have written


def gold_of(rows: pl.DataFrame, records: Iterable[Mapping[str, Any]] = ()) -> dict[str, str]:
    """The hash of each target's right answers: the record's, else that of the rows' own answers.

    Targets whose right answers are not known are left out. Of several hashes, all are named.
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
    return {target: ", ".join(sorted(its)) for target, its in found.items()}


def record_notes(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a study noted of its items, each once."""
    notes: dict[str, None] = {}
    for record in records:
        listed = record.get("notes")
        for note in listed if isinstance(listed, list) else ():
            if isinstance(note, str):
                notes[shown(note[:_LONGEST])] = None
    return list(notes)


def gold_notes(
    rows: Sequence[pl.DataFrame], gold: Sequence[tuple[str, Mapping[str, str]]]
) -> list[str]:
    """What must be known where results were judged by different right answers.

    Args:
        rows: the predictions of each input.
        gold: each input's name and hashes.
    """
    differing = _differing(rows)
    notes = [
        f"{shown(target)}: {count} of its items have different right answers in different results: "
        "their labels were changed in between, and effects across them mean nothing"
        for target, count in differing.items()
    ]
    known = {target for _, its in gold for target in its}
    compared = {target for part in rows if "answer" in part.columns for target in _judged(part)}
    for target in sorted(known - compared - set(differing)):
        owners = {name: its[target] for name, its in gold if target in its}
        if len({one for its in owners.values() for one in its.split(", ")}) > 1:
            notes.append(
                f"{shown(target)}: the results of {some(owners)} were judged by different right "
                "answers, or on different items"
            )
    return notes


def _judged(rows: pl.DataFrame) -> list[str]:
    """Targets whose rows say what is right."""
    known = rows.group_by("target").agg(pl.col("answer").is_not_null().all())
    return known.filter("answer")["target"].to_list()


def _differing(rows: Sequence[pl.DataFrame]) -> dict[str, int]:
    """Targets with the number of their items that have two right answers."""
    parts = [
        part.select("target", "item", "answer").drop_nulls().unique()
        for part in rows
        if "answer" in part.columns
    ]
    if not parts:
        return {}
    several = pl.concat(parts).unique().group_by("target", "item").len().filter(pl.col("len") > 1)
    return dict(several.group_by("target").len().sort("target").iter_rows())
