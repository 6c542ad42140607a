"""The command that shows how far a study is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from transferscope.cli.app import app
from transferscope.cli.costs import duration
from transferscope.cli.options import AsJson
from transferscope.cli.places import Place, held, read_from

if TYPE_CHECKING:
    from transferscope.store.progress import Standing

MOST = 20
"""Failures that are shown; `--json` has them all."""


@app.command(epilog="Example: `transferscope status out/`")
def status(
    place: Place,
    as_json: AsJson = False,
) -> None:
    """How far a study is, running or not: from any terminal that sees its folder or address."""
    from transferscope.store.mirror import is_log
    from transferscope.store.progress import judging, standing

    with read_from(place, is_log) as folder:
        by = held(place)
        found, second = standing(folder, by), judging(folder, by)
    if as_json:
        more = {"judging": {name: _record(one) for name, one in second.items()}} if second else {}
        print(json.dumps(_record(found) | more))
        return
    print("\n".join(_lines(found)))
    for name, one in second.items():
        print("\n".join(["", *_lines(one._replace(study=f"judging {name}"))]))


def _record(found: Standing) -> dict[str, Any]:
    return found._asdict() | {"places": [place._asdict() for place in found.places]}


def _lines(found: Standing) -> list[str]:
    count = ""
    if found.of:  # a log of an earlier version does not say
        count = f", {found.cells} of {found.of} cells ({found.cells / found.of:.0%})"
    begun, updated = _ago(found.begun), _ago(found.updated)
    lines = [f"{found.study}: {found.state}{count}"]
    lines.append(f"begun {begun}, last heard of {updated}")
    if found.stopped_by:
        lines.append(f"stopped by: {found.stopped_by.replace('KeyboardInterrupt', 'Ctrl-C')}")
    if found.state == "stopped":
        lines.append("the command that began it continues")
    if found.seconds_left is not None:
        lines.append(f"about {duration(found.seconds_left)} left")
    if found.again:
        lines.append(f"tried again: {found.again}")
    if found.places:
        who = [f"{place.worker} on {place.node}" if place.worker else "" for place in found.places]
        wide = max(map(len, who))
        lines += ["", "now:"]
        for name, place in zip(who, found.places, strict=True):
            lines.append(f"  {name:{wide}}  {place.doing}, since {_ago(place.since)}".rstrip())
    if found.failed:
        lines += ["", "failed:", *failures([(one["runs"], one["error"]) for one in found.failed])]
    return lines


def failures(failed: list[tuple[list[str], str]]) -> list[str]:
    """What failed and why, a line each."""
    what = [
        f"{runs[0]}{f' and {len(runs) - 1} more' if runs[1:] else ''}" for runs, _ in failed[:MOST]
    ]
    wide = max(map(len, what))
    lines = [f"  {name:{wide}}  {error}" for name, (_, error) in zip(what, failed, strict=False)]
    more = len(failed) - MOST
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _ago(moment: str) -> str:
    """A moment as a person says it."""
    try:
        passed = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return "at an unknown time"
    return f"{duration(max(0.0, passed))} ago"
