"""The command that shows how far a study is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferscope.cli.app import app
from transferscope.cli.costs import duration
from transferscope.cli.options import AsJson
from transferscope.cli.places import Place, read_from

if TYPE_CHECKING:
    from transferscope.store.progress import StudyProgress

MAX_FAILURES = 20
"""Failures that are shown; `--json` has them all."""


@app.command(epilog="Example: `transferscope status out/`")
def status(place: Place, as_json: AsJson = False) -> None:
    """Show how far a study is, running or not, from any terminal that sees its folder."""
    from transferscope.store.progress import judging_progress, progress_of
    from transferscope.store.remote import is_address, is_log

    remote = is_address(place)
    with read_from(place, is_log) as folder:
        first = progress_of(folder, remote=remote)
        second = judging_progress(folder, remote=remote)
        advice = _advice(folder) if first.state == "done" else {}
    if as_json:
        judging = {"judging": {name: _record(one) for name, one in second.items()}}
        more = {"seeds_or_items": advice} if advice else {}
        print(json.dumps(_record(first) | (judging if second else {}) | more))
        return
    judged = [one._replace(study=f"judging {name}") for name, one in second.items()]
    print("\n\n".join("\n".join(_lines(one)) for one in (first, *judged)))
    for model, sentence in advice.items():
        print(f"{model}: {sentence}")


def _advice(folder: Path) -> dict[str, str]:
    """{model: whether seeds or items would help more}, from the analysis, where there is one."""
    from transferscope import store as results
    from transferscope.analysis.verdicts import seeds_or_items

    models = results.read_json(folder / results.ANALYSIS).get("models")
    found = {}
    for name, model in (models if isinstance(models, dict) else {}).items():
        if sentence := seeds_or_items(len(model.get("seeds", ())), model.get("seed_share", {})):
            found[name] = sentence
    return found


def _record(found: StudyProgress) -> dict[str, Any]:
    return found._asdict() | {"active": [shard._asdict() for shard in found.active]}


def _lines(found: StudyProgress) -> list[str]:
    count = ""
    if found.total_cells:
        share = found.cells / found.total_cells
        count = f", {found.cells} of {found.total_cells} cells ({share:.0%})"
    lines = [
        f"{found.study}: {found.state}{count}",
        f"started {_ago(found.started)}, last update {_ago(found.updated)}",
    ]
    if found.stopped_by:
        lines.append(f"stopped by: {found.stopped_by.replace('KeyboardInterrupt', 'Ctrl-C')}")
    if found.state == "stopped":
        lines.append("the same command continues it")
    if found.state == "unfinished":
        lines.append("an address does not show whether a run is active")
    if found.seconds_left is not None:
        lines.append(f"about {duration(found.seconds_left)} left")
    if found.retries:
        lines.append(f"tried again: {found.retries}")
    if found.active:
        who = [f"{one.worker} on {one.node}" if one.worker else "" for one in found.active]
        wide = max(map(len, who))
        lines += ["", "now:"]
        for name, shard in zip(who, found.active, strict=True):
            lines.append(f"  {name:{wide}}  {shard.doing}, since {_ago(shard.since)}".rstrip())
    if found.failed:
        lines += ["", "failed:", *failures([(one["runs"], one["error"]) for one in found.failed])]
    return lines


def failures(failed: list[tuple[list[str], str]]) -> list[str]:
    """What failed and why, a line each."""
    some = [runs for runs, _ in failed[:MAX_FAILURES]]
    what = [f"{one}{f' and {len(more)} more' if more else ''}" for one, *more in some]
    wide = max(map(len, what))
    lines = [f"  {name:{wide}}  {error}" for name, (_, error) in zip(what, failed, strict=False)]
    more = len(failed) - MAX_FAILURES
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _ago(moment: str) -> str:
    try:
        passed = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return "at an unknown time"
    return f"{duration(max(0.0, passed))} ago"
