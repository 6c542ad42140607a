"""The end of the page: published claims, tasks, settings, inputs and hashes of the answers.

Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Sequence

from transferscope.analysis import Analysis, Claim
from transferscope.plots.against_chance import SUPPORT
from transferscope.plots.labels import MEASURES, clean, labels
from transferscope.plots.numbers import UNKNOWN, percent
from transferscope.report.tables import CellLine, PageTable, task_line


def claim_rows(analysis: Analysis) -> list[tuple[str, str, Claim]]:
    """The published findings that can be decided here: `yes`, `mixed` or `no`, the verdict in
    words, and the finding.

    A finding of known support holds at `SUPPORT` or more, and does not hold where its reverse has
    that support.
    """
    rows = []
    for claim in analysis.claims:
        if claim.holds is None:
            continue
        kind, verdict = ("yes", "holds") if claim.holds else ("no", "does not hold")
        if (claim.support if claim.holds else 1 - claim.support) < SUPPORT:
            kind, verdict = "mixed", f"not sure (support {percent(claim.support)})"
        elif claim.holds and claim.held < claim.tried:
            kind, verdict = "mixed", "depends"
        rows.append((kind, verdict, claim))
    return rows


def undecided(analysis: Analysis) -> str:
    """How many published findings cannot be decided here, and why; empty where all can."""
    gaps = [claim.evidence for claim in analysis.claims if claim.holds is None]
    reasons = "; ".join(dict.fromkeys(gaps))
    return f"{len(gaps)} of {len(analysis.claims)} cannot be decided: {reasons}." if gaps else ""


def record_tables(analysis: Analysis) -> list[PageTable]:
    """Tasks, settings, inputs and answer hashes."""
    names = labels(analysis)
    tasks = []
    for task in analysis.tasks:
        use = " and ".join(["source"] * task.source + ["target"] * task.target)
        bases = (model.base_accuracy.get(task.name, math.nan) for model in analysis.models.values())
        texts = (names.short[task.name], task.level or UNKNOWN, task.granularity or UNKNOWN, use)
        long = names.long[task.name]
        tasks.append([[task_line(long)], *([CellLine(t)] for t in (*texts, *map(percent, bases)))])
    values = vars(analysis.settings).items()
    settings = {name.replace("_", " "): _setting(value) for name, value in values}
    for name, label in names.models.items():
        gaps = analysis.models[name].gaps
        settings[f"cells of {label}"] = (
            f"{gaps.cells:,}, of which {gaps.missing:,} not measured and {gaps.undefined:,} "
            "undefined (base at or above the ceiling)"
        )
    inputs = [(each.model, each.file, each.kind, each.sha256) for each in analysis.inputs]
    gold = [
        (names.long.get(target, clean(target)), each.file, value)
        for each in analysis.inputs
        for target, value in each.gold.items()
    ]
    heads = ["Task", "Short", "Level", "Granularity", "Used as"]
    heads += [f"Base accuracy, {label}" for label in names.models.values()]
    compare = "Results with different correct answers do not compare"
    hashes = f"{compare}; equal answers have equal hashes."
    plain: list[tuple[str, str, str, list[str], Sequence[Sequence[str]]]] = [
        ("pairs", "Settings", "", [], list(settings.items())),
        ("hashes", "Inputs", "", ["Model", "File", "Kind", "SHA-256"], inputs),
        ("hashes", "Correct answers", hashes, ["Task", "File", "SHA-256"], gold),
    ]
    tables = [PageTable("", "Tasks", "", heads, tasks)]
    for kind, title, intro, heads, texts in plain:
        rows = [[[CellLine(each)] for each in row] for row in texts]
        tables += [PageTable(kind, title, intro, heads, rows)] if rows else []
    return tables


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{clean(str(key))} {each:g}" for key, each in value.items())
    if value in MEASURES:
        return MEASURES[str(value)]
    return f"{value:,}" if isinstance(value, int) else str(value)
