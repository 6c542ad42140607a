"""Make docs/gallery.md and its images: the paper's figures, from its published tables.

    python docs/make_gallery.py PUBLISHED               # a folder of the authors' tables; a minute
    python docs/make_gallery.py PUBLISHED --selection DIR    # and a finished selection study

Without such a study Figure 8 stays as it is.

The tables (`seed, ft_task, task, perfection_gap_factor`, one file for each size, such as
`qwen2.5-vl-3b.csv`) are the authors' and no part of this project. They cannot show transfer to
video and data selection: these come from a simulated study and from the study that you name.
"""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

import transferscope as ts
from transferscope.analysis import Analysis
from transferscope.analysis.json_file import from_json
from transferscope.plots.composition import render
from transferscope.plots.gallery import caption, escaped, gallery
from transferscope.plots.numbers import percent
from transferscope.report.tables import claim_rows
from transferscope.store import read_analysis
from transferscope.suites.blink import BLINK
from transferscope.suites.vsi import VSI

DOCS = Path(__file__).parent


class Plate(NamedTuple):
    """One figure of the paper, and what ours adds."""

    shows: str
    better: str
    stems: tuple[str, ...] = ()
    """Stems of ours; {} is the largest model."""
    claims: tuple[str, ...] = ()
    """Ids of the paper's findings that the figure shows."""
    simulated: bool = False


PLATES = {
    1: Plate(
        "The PGF heatmap of the 32B model and the graph of its strongest effects.",
        "In points. A cell that may be noise is hollow. The graph is only a view of "
        "the strongest 20%.",
        ("heatmap-{}", "graph-{}"),
    ),
    2: Plate(
        "PGF heatmaps of all model sizes.",
        "One color scale for all sizes. Cells that may be noise are hollow: at 3B most are.",
        ("heatmaps",),
    ),
    3: Plate(
        "Positive transferability by perceptual level and by granularity, for each size.",
        "Upper rows. Intervals, negative transferability, and diamonds without a task's effect on "
        "itself. A dagger marks an order that changes without it.",
        ("categories-level", "categories-granularity"),
        (
            *("low-level-transferable", "image-level-transferable"),
            "crop-level-least-transferable",
        ),
    ),
    4: Plate(
        "Positive malleability by perceptual level and by granularity, for each size.",
        "The lower rows of the two figures above, with the same intervals and diamonds.",
        (),
        ("low-level-malleable", "crop-level-least-malleable"),
    ),
    5: Plate(
        "Average positive and negative transferability over model size.",
        "Intervals, a dashed line where a step may be no change, the averages without any "
        "transfer, and malleability beside it.",
        ("scale",),
        (
            *("scale-positive-transferability", "scale-negative-transferability"),
            "scale-positive-malleability",
        ),
    ),
    6: Plate(
        "The positive clique of nine tasks at 32B.",
        "The size of cliques without any transfer, and with easy and hard targets alone. Under the "
        "second null model, nine is common.",
        ("clique-positive-{}",),
        ("clique-32b",),
    ),
    7: Plate(
        "PGF heatmaps for the video tasks of VSI-Bench, at 3B and 7B.",
        "The same heatmaps as above, for targets of another suite. There are no published numbers: "
        "**these are simulated**, to show the figure and nothing else.",
        ("heatmaps",),
        simulated=True,
    ),
    8: Plate(
        "Accuracy after finetuning on a PGF-informed mixture, on random mixtures, on the task "
        "itself, and before.",
        "Intervals over seeds and draws, and a verdict. There are no published numbers; a study "
        "of the kind `studies/glimpse-selection.yaml` draws it.",
    ),
    9: Plate(
        "PGF as a function of the accuracy before finetuning and of the change.",
        "Ticks below: the base accuracies of this study's targets, where the curves matter.",
        ("pgf-behavior",),
    ),
    10: Plate(
        "A negative clique of four tasks at 32B.",
        "The same null models as for the positive one.",
        ("clique-negative-{}",),
        ("clique-32b-negative",),
    ),
}
OPENING = """# Gallery: the paper's figures, from its published data

The figures of "Understanding Task Transfer in Vision-Language Models" (Sachdeva et al., CVPR 2026)
and ours, drawn from the authors' per-seed tables ({models}; the third size has none). Captions are
made from the numbers too. [`transferscope figures`](report.md#figures) writes both for any results.

This page is made by `python docs/make_gallery.py PUBLISHED --selection OUT`.
"""


def main() -> None:
    """Read the tables, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("published", type=Path, help="a folder with a table for each model size")
    parser.add_argument("--selection", type=Path, help="results of a selection study")
    arguments = parser.parse_args()
    analysis = ts.analyze(ts.read_results(tables(arguments.published)))
    chosen = from_json(read_analysis(arguments.selection)) if arguments.selection else None
    for old in (DOCS / "gallery").glob("*.svg"):
        if chosen is not None or not old.name.startswith("8-"):
            old.unlink()
    file = DOCS / "gallery.md"
    made = page(analysis, video(), chosen)
    if chosen is None:
        eighth = re.compile(r"## Figure 8\n.*?(?=## Figure 9\n)", re.DOTALL)
        made = eighth.sub(lambda _: eighth.findall(file.read_text(encoding="utf-8"))[0], made)
    file.write_text(made, encoding="utf-8")


def tables(folder: Path) -> dict[str, str]:
    """The published tables by model, the smallest first: `3B` for `qwen2.5-vl-3b.csv`."""
    found = {
        int(m[1]): path for path in folder.glob("*.csv") if (m := re.search(r"(\d+)b$", path.stem))
    }
    return {f"{size}B": str(found[size]) for size in sorted(found)}


def video() -> Analysis:
    """A simulated study of BLINK's tasks as sources and VSI-Bench's as targets, two models."""
    random = np.random.default_rng(0)
    rows = ["model,seed,source,target,correct,total"]
    base = random.uniform(0.25, 0.5, len(VSI))
    pull = random.normal(0, 0.05, (len(BLINK), 1)) + random.normal(0, 0.05, len(VSI))
    for model, strength in (("3B", 1.0), ("7B", 1.6)):
        for seed in range(4):
            for source, effects in (
                ("", 0 * base),
                *zip((t.name for t in BLINK), pull, strict=True),
            ):
                right = random.binomial([t.items for t in VSI], base + strength * effects)
                rows += [
                    f"{model},{seed},{source},{task.name},{count},{task.items}"
                    for task, count in zip(VSI, right, strict=True)
                ]
    with TemporaryDirectory() as folder:
        path = Path(folder, "video.csv")
        path.write_text("\n".join(rows), encoding="utf-8")
        return ts.analyze(ts.read_results([str(path)]))


def page(analysis: Analysis, simulated: Analysis, chosen: Analysis | None) -> str:
    """The page; images are written on the way."""
    parts = [OPENING.format(models=" and ".join(analysis.models))]
    largest = list(analysis.models)[-1]
    for number, plate in PLATES.items():
        study = simulated if plate.simulated else analysis
        stems = [stem.format(largest) for stem in plate.stems]
        if number == 8 and chosen is not None:
            study, stems = chosen, [e.stem for e in gallery(chosen) if 8 in e.kind.paper]
        parts += [
            f"## Figure {number}",
            f"**The paper:** {plate.shows} **Ours:** {plate.better}",
        ]
        drawn = {each.stem for each in gallery(study)}
        missing = "No figure: chance alone gives one as large."
        parts += [
            shown(study, stem, f"{number}-{stem}") if stem in drawn else missing for stem in stems
        ]
        parts += claims(analysis, plate.claims)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def shown(analysis: Analysis, stem: str, name: str) -> str:
    """An image and its caption; writes the image."""
    figure = next(each for each in gallery(analysis) if each.stem == stem)
    image = light(render(figure.spec, "svg").decode())
    (DOCS / "gallery" / f"{name}.svg").write_text(image, encoding="utf-8")
    return f"![{escaped(figure.spec['title']['text'])}](gallery/{name}.svg)\n\n{caption(figure)}"


def light(svg: str) -> str:
    """The same image in fewer bytes: two decimals, and no marks that only a page's reader needs."""
    svg = re.sub(r'<path[^>]* (?:d=""|display="none")[^>]*/>', "", svg)
    svg = re.sub(r' (?:aria-\w+|role|class|pointer-events)="[^"]*"', "", svg)
    svg = re.sub(r' (?:opacity="1"|font-weight="normal")', "", svg)
    svg = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{round(float(found[0]), 2):g}", svg)
    fonts = re.findall(r' font-family="[^"]*"', svg)
    if len(set(fonts)) == 1:  # once for all texts
        svg = svg.replace(fonts[0], "").replace("<svg", "<svg" + fonts[0], 1)
    return svg


def claims(analysis: Analysis, ids: tuple[str, ...]) -> list[str]:
    """The verdicts on the paper's findings, a line each."""
    rows, lines = {claim.id: (verdict, claim) for _, verdict, claim in claim_rows(analysis)}, []
    for verdict, claim in (rows[each] for each in ids if each in rows):
        ways, support = f"; in {claim.held} of {claim.tried} analysis variants", claim.support
        ways += f", and in {percent(support)} of random draws" if support == support else ""
        says = f"“{claim.statement}” ({claim.source}): {verdict}{ways} ({claim.evidence})"
        lines.append(f"- {escaped(says)}.")
    return ["\n".join(lines)] if lines else []


if __name__ == "__main__":
    main()
