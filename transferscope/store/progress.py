"""How far a study is, from the log in its folder: while it runs, or afterwards.

Takes no lock and changes nothing. Each line of `run.jsonl` has `time` and `event`; most have
`model`, `runs`, `worker`, and how far the run is: `cells` of `of`, `work` of `total`.

    begin      a run of the study began: `study`, `versions`
    notes      what a reader must know of the items
    damaged    a table whose checksum differs: `file`
    start      a worker began a shard: `node`
    train      what training took: `items`, `seconds`
    curve      how an adapter learned; its `key`, or why it `failed` and was not kept
    score      what scoring took
    finished   a shard is finished
    progress   what each worker does, every 30 seconds: `doing`
    again      a shard ran out of memory and is tried with less at once: `error`, `how`
    lost       a worker went away over a shard, which is tried again
    failed     a shard was given up: `error`, `traceback`; with `alone`, one adapter that diverged
               or changes no answer
    stopped    the run ended by an error or Ctrl-C
    end        the run ended
"""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.store import atomic

MIN_SHARE = 0.05
"""The share of all work that must be done before the remaining time is estimated."""
State = Literal["running", "unfinished", "done", "failed in part", "stopped"]
"""`unfinished` where a folder at an address does not show whether a process works on it."""


class ActiveShard(NamedTuple):
    """A worker and what it does."""

    worker: str
    """Empty where the process that holds the folder works itself."""
    node: str
    doing: str
    since: str
    """When it began the shard."""


class StudyProgress(NamedTuple):
    """How far a study is."""

    study: str
    state: State
    started: str
    """When the last run began (ISO 8601, UTC)."""
    updated: str
    """When its log was last written."""
    cells: int
    total_cells: int
    failed: list[dict[str, Any]]
    """`runs` and `error` of each shard that the last run gave up."""
    active: list[ActiveShard]
    """Empty unless the study is running."""
    retries: int
    """Shards that were tried again: out of memory, or a worker was lost."""
    seconds_left: float | None
    """None where unknown: the study is not running, or too little is done."""
    stopped_by: str
    """The error that stopped the run; empty where none was logged, as when it is killed."""


def progress_of(folder: str | Path, *, remote: bool = False) -> StudyProgress:
    """How far the study in a folder is; `remote` if it is a copy, whose lock means nothing.

    Raises:
        DataError: no study was run there.
    """
    lines = results.logged(folder)
    begins = [number for number, line in enumerate(lines) if line.get("event") == "begin"]
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder; expected a study's results folder")
    if not begins:
        raise DataError(f"{folder}: no study was run in this folder; `transferscope run` does")
    lines = lines[begins[-1] :]
    ended = next((line for line in lines if line.get("event") in ("end", "stopped")), {})
    last = next((line for line in reversed(lines) if "of" in line), {})
    given_up = [line for line in lines if line.get("event") == "failed"]
    state: State = "stopped"
    if not ended and (remote or atomic.is_locked(folder)):
        state = "unfinished" if remote else "running"
    elif ended.get("event") == "end":
        state = "failed in part" if given_up else "done"
    left = None
    if state == "running":
        with suppress(ValueError):  # a damaged line may have no time
            begun, now = (datetime.fromisoformat(str(a.get("time"))) for a in (lines[0], last))
            passed = (now - begun).total_seconds()
            left = seconds_left(passed, float(last.get("work", 0)), float(last.get("total", 0)))
    return StudyProgress(
        study=str(lines[0].get("study", "")),
        state=state,
        started=str(lines[0].get("time", "")),
        updated=str(lines[-1].get("time", "")),
        cells=int(last.get("cells", 0)),
        total_cells=int(last.get("of", 0)),
        failed=[{"runs": a.get("runs", []), "error": a.get("error", "")} for a in given_up],
        active=_active_shards(lines) if state == "running" else [],
        retries=sum(line.get("event") in ("again", "lost") for line in lines),
        seconds_left=left,
        stopped_by=str(ended.get("error", "")),
    )


def judging_progress(folder: str | Path, *, remote: bool = False) -> dict[str, StudyProgress]:
    """How far an experiment's second stage is, by model and target; `remote` as `progress_of`."""
    return {
        f"{one.parent.name}, {one.name}": progress_of(one, remote=remote)
        for one in sorted(Path(folder, results.JUDGING).glob("*/*"))
        if any(line.get("event") == "begin" for line in results.logged(one))
    }


def _active_shards(lines: list[dict[str, Any]]) -> list[ActiveShard]:
    """The shards that were begun and not ended, and by whom."""
    found: dict[str, ActiveShard] = {}
    for line in lines:
        worker, event = str(line.get("worker", "")), line.get("event")
        if event == "start":
            runs = line.get("runs") or [""]
            more = f" and {len(runs) - 1} more" if runs[1:] else ""
            since, node = str(line.get("time", "")), str(line.get("node", ""))
            found[worker] = ActiveShard(worker, node, runs[0] + more, since)
        elif event in ("finished", "failed", "again", "lost") and not line.get("alone"):
            found.pop(worker, None)  # `alone`: the others of its shard go on
        elif event == "progress" and isinstance(line.get("doing"), dict):
            for name in found.keys() & line["doing"].keys():
                found[name] = found[name]._replace(doing=str(line["doing"][name]))
    return list(found.values())


def seconds_left(passed: float, work: float, total: float) -> float | None:
    """Seconds that the remaining work takes at the pace so far; None where too little is done.

    The first cells also wait for items to be drawn and images to be encoded; later ones do not.
    """
    if work < MIN_SHARE * total or work <= 0:
        return None
    return round(passed * (total - work) / work, 1)


def measured_costs(folder: str | Path) -> dict[str, dict[str, float]]:
    """What training and scoring took so far by model, e.g. `train_seconds`, from the log."""
    found: dict[str, dict[str, float]] = {}
    for line in results.logged(folder):
        if line.get("event") in ("train", "score") and isinstance(line.get("model"), str):
            costs = found.setdefault(line["model"], {})
            for field in ("items", "seconds"):
                if isinstance(value := line.get(field), int | float):
                    key = f"{line['event']}_{field}"
                    costs[key] = costs.get(key, 0) + value
    return found
