"""Which models of a study lack runs, because it was stopped or runs of it failed.

In:   the study file and the index's records of a results folder.
Out:  a note on each such model: how far it is, and how to go on.
"""

from collections.abc import Collection, Sequence

from transferscope.store import IndexedRun
from transferscope.study import Study
from transferscope.tasks.untrusted import load_yaml, shown


def unfinished_notes(
    study: bytes, records: Sequence[IndexedRun], analyzed: Collection[str]
) -> list[str]:
    """A note on each model that lacks a source, mixture or control of a seed, or a target of one.

    Args:
        study: the study file; of one that cannot be read nothing is known.
        analyzed: the models with at least one finetuned run; others are left out.
    """
    try:
        planned = Study.model_validate(load_yaml(study.decode()))
    except ValueError:
        return []
    targets, notes = set(planned.targets or ()), []
    names = [*(planned.sources or ()), *planned.mixtures, *planned.controls]
    seeds = {name: planned.mixture_seeds.get(name, planned.seeds) for name in names}
    wanted = {(name, seed) for name in names for seed in seeds[name]}
    for model in planned.models:
        runs = [one["run"] for one in records if targets <= one["cells"].keys()]
        done = wanted & {(run["source"], run["seed"]) for run in runs if run["model"] == model}
        if done == wanted:
            continue
        state = "unfinished, so some effects are unknown or have fewer seeds"
        if model not in analyzed:
            state = "left out, as no finetune of it is scored"
        notes.append(
            f"{shown(model)}: {state}; {len(done)} of {len(wanted)} runs are finished, and "
            "`transferscope run` with the same study and folder does the others"
        )
    return notes
