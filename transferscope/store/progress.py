"""How far a study is, from its folder alone: while another process works there, or afterwards.

In:   a results folder, whose log says what was begun, finished and given up.
Out:  a `Standing`, and one for each study that judges where the study is an experiment.

Reads, takes no lock and changes nothing.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.store import atomic

ENOUGH = 0.05
"""The share of all work that says how long the rest will take."""

State = Literal["running", "done", "failed in part", "stopped"]


class Place(NamedTuple):
    """A worker and what it does."""

    worker: str
    """Empty where the process that holds the folder works itself."""
    node: str
    doing: str
    since: str
    """When it began the shard."""


class Standing(NamedTuple):
    """Where a study stands."""

    study: str
    state: State
    begun: str
    """When the last run began (ISO 8601, UTC)."""
    updated: str
    """When its log was last written."""
    cells: int
    of: int
    failed: list[dict[str, Any]]
    """`runs` and `error` of each shard that the last run gave up."""
    places: list[Place]
    """Empty unless it is running."""
    again: int
    """Shards that were tried again: out of memory, or a worker was lost."""
    seconds_left: float | None
    """None where nobody knows: it is not running, or has done too little yet."""
    stopped_by: str
    """What ended a run that stopped; empty where nothing was written, as when it is killed."""


def standing(folder: str | Path, held: bool | None = None) -> Standing:
    """Where the study in a folder stands.

    Args:
        held: whether a process works on it; None: as the folder's lock says.

    Raises:
        DataError: no study was run there.
    """
    lines = results.logged(folder)
    begins = [place for place, line in enumerate(lines) if line.get("event") == "begin"]
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder; expected a study's results folder")
    if not begins:
        raise DataError(f"{folder}: no study was run in this folder; `transferscope run` does")
    lines = lines[begins[-1] :]
    ended = next((line for line in lines if line.get("event") in ("end", "stopped")), None)
    last = [line for line in lines if "of" in line][-1:] or [{}]
    failed = [
        {"runs": line.get("runs", []), "error": line.get("error", "")}
        for line in lines
        if line.get("event") == "failed"
    ]
    held = atomic.is_locked(folder) if held is None else held
    state: State = "running" if ended is None and held else "stopped"
    if ended is not None and ended["event"] == "end":
        state = "failed in part" if failed else "done"
    return Standing(
        study=str(lines[0].get("study", "")),
        state=state,
        begun=_text(lines[0]),
        updated=_text(lines[-1]),
        cells=int(last[0].get("cells", 0)),
        of=int(last[0].get("of", 0)),
        failed=failed,
        places=_places(lines) if state == "running" else [],
        again=sum(line.get("event") in ("again", "lost") for line in lines),
        seconds_left=_left(lines[0], last[0]) if state == "running" else None,
        stopped_by=str((ended or {}).get("error", "")),
    )


def judging(folder: str | Path, held: bool | None = None) -> dict[str, Standing]:
    """Where an experiment's second stage stands: what judges a choice, by model and target.

    Args:
        held: as for `standing`.
    """
    return {
        f"{one.parent.name}, {one.name}": standing(one, held)
        for one in sorted(Path(folder, results.JUDGING).glob("*/*"))
        if any(line.get("event") == "begin" for line in results.logged(one))
    }


def _places(lines: Iterable[dict[str, Any]]) -> list[Place]:
    """The shards that were begun and not ended, and by whom."""
    found: dict[str, Place] = {}
    for line in lines:
        worker, event = str(line.get("worker", "")), line.get("event")
        if event == "start":
            runs = line.get("runs") or [""]
            more = f" and {len(runs) - 1} more" if runs[1:] else ""
            found[worker] = Place(worker, str(line.get("node", "")), runs[0] + more, _text(line))
        elif event == "failed" and line.get("alone"):
            continue  # the others of its shard go on
        elif event in ("finished", "failed", "again", "lost"):
            found.pop(worker, None)
        elif event == "progress" and isinstance(line.get("doing"), dict):
            for name, doing in line["doing"].items():
                if name in found:
                    found[name] = found[name]._replace(doing=str(doing))
    return list(found.values())


def _left(first: dict[str, Any], last: dict[str, Any]) -> float | None:
    """Seconds that the rest takes at the pace so far."""
    work, total = float(last.get("work", 0)), float(last.get("total", 0))
    try:
        begun, now = (datetime.fromisoformat(_text(line)) for line in (first, last))
    except ValueError:
        return None
    return seconds_left((now - begun).total_seconds(), work, total)


def seconds_left(passed: float, work: float, total: float) -> float | None:
    """Seconds that the rest takes at the pace so far; None where too little is done to tell.

    The first items are drawn and looked at, which the later ones are spared.
    """
    if work < ENOUGH * total or work <= 0:
        return None
    return round(passed * (total - work) / work, 1)


def measured(folder: str | Path) -> dict[str, dict[str, float]]:
    """What training and scoring took so far in a results folder, by model, from its log."""
    found: dict[str, dict[str, float]] = {}
    for line in results.logged(folder):
        if line.get("event") in ("train", "score") and isinstance(line.get("model"), str):
            own = found.setdefault(line["model"], {})
            for field in ("items", "tokens", "flops", "seconds"):
                value = line.get(field)
                if isinstance(value, int | float):
                    key = f"{line['event']}_{field}"
                    own[key] = own.get(key, 0) + value
    return found


def _text(line: dict[str, Any]) -> str:
    return str(line.get("time", ""))
