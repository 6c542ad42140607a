"""The README of a bundle: what every file and column is, for people without this package.

In:   the names in the bundle, and what is missing.
Out:  text.
"""

import textwrap
from collections.abc import Iterable

from transferscope import store as results
from transferscope.store import bundle

_WIDTH = 88

_FILES = {
    bundle.CELLS: (
        "One row per cell: a base model, finetuned with one seed on one source task, and its "
        "accuracy on one target task. Comma-separated, UTF-8, one header row; an empty field is "
        "not measured or not known. Its columns are listed below."
    ),
    results.PREDICTIONS: (
        "One Parquet table per run with every single answer, and beside each a record (.json) of "
        "the run. A table whose column `source` is null holds the base's answers; where its "
        "`seed` is null too, they serve all seeds. Images and questions are not included: `item` "
        "is the item's id in its benchmark."
    ),
    results.CONTROLS: (
        "The same of runs that are no source: placebos (format-only: finetuned on random letters; "
        "shuffled: on exchanged answers), the base asked again with the choices in another order "
        "(reordered), and mixtures of tasks."
    ),
    results.ANALYSIS: (
        "Every number of the report, as JSON: effects with intervals and tests, transferability, "
        "malleability, cliques, personas, claims. null is not known."
    ),
    results.STUDY: (
        "The study as run: models, tasks, seeds, recipe, evaluation. Folders of the machine that "
        "ran it are given by their last name alone, as ./NAME."
    ),
    bundle.PROVENANCE: (
        "Where the numbers are from: versions of libraries, hashes of bases, adapters and right "
        "answers, the prompt, what training and scoring took, and what is missing."
    ),
    bundle.README: "This text.",
    bundle.SUMS: f"SHA-256 of every other file; check with: sha256sum -c {bundle.SUMS}",
}
_COLUMNS = {
    "model": "name of the base model in the study",
    "seed": "the replicate",
    "kind": "source; or what is no source: control, mixture",
    "source": "task finetuned on, or the name of the control or mixture",
    "target": "task evaluated",
    "items": "items that base and run both answered",
    "base_correct": "of these, the base has right (empty where answers are scored in parts)",
    "tuned_correct": "of these, the finetuned model has right (the same)",
    "base": "accuracy of the base on these items, a fraction in [0, 1]",
    "tuned": "accuracy after finetuning on these items, a fraction in [0, 1]",
    "ceiling": "best reachable accuracy of the target, a fraction",
    "pgf": "Perfection Gap Factor, (tuned - base) / (ceiling - base): the part of the gap that "
    "finetuning closed. 1 closes it, 0 changes nothing, negative is harm, down to -(items - 1). "
    "Empty where the base is at or above the ceiling",
}
_ANSWERS = {
    "model, seed, source, target": "as above",
    "item": "the item's id in its benchmark",
    "choice, answer": "index of the chosen and of the right option, 0 for A; choice is null "
    "where the reply could not be read",
    "correct, unreadable": "truth values; an unreadable reply is not correct",
    "margin": "log-probability of the best option minus that of the next",
    "logprobs": "log-probability of every option, in the item's order",
    "score": "part of full marks in [0, 1]; null where `correct` says all",
}


def readme(names: Iterable[str], study: str, missing: Iterable[str]) -> str:
    """The text.

    Args:
        names: of the files in the bundle.
        missing: what is not in it, in words.
    """
    there = {name.split("/")[0] for name in names} | {bundle.README, bundle.SUMS}
    title = f"Results of the study {study!r}" if study else "Results"
    lines = [f"{title}, written by transferscope (bundle format 1).", ""]
    opening = (
        "Finetuning a vision-language model on one task changes what it can do on others. This "
        "archive holds what was measured. No special software is needed to read it"
    )
    again = "; `transferscope analyze` reads the archive as it is."
    opening += again if results.PREDICTIONS in there else "."
    lines += [*textwrap.wrap(opening, _WIDTH), "", "FILES", ""]
    for name, text in _FILES.items():
        if name in there:
            folder = name in (results.PREDICTIONS, results.CONTROLS)
            lines += [f"{name}/" if folder else name, *_indented(text), ""]
    lines += [f"COLUMNS OF {bundle.CELLS}", "", *_listed(_COLUMNS), ""]
    if results.PREDICTIONS in there:
        lines += ["COLUMNS OF THE PARQUET TABLES", "", *_listed(_ANSWERS), ""]
    lines += ["NOT IN THIS ARCHIVE", ""]
    for text in [*missing, "images, adapters' weights, the report's page and figures"]:
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _listed(known: dict[str, str]) -> list[str]:
    return [
        line
        for name, text in known.items()
        for line in textwrap.wrap(f"{name}: {text}", _WIDTH, initial_indent="  ",
                                  subsequent_indent="      ")
    ]  # fmt: skip
