"""What stands below each figure in a paper, from the numbers; and which figure of the paper it is.

In:   an `Analysis`.
Out:  Markdown, in which names are text, and the stems of figures by the paper's numbers.
"""

import html
import re
from collections.abc import Mapping

from transferscope.analysis import Analysis
from transferscope.plots.gallery import Figure, gallery
from transferscope.plots.labels import clean, listed
from transferscope.plots.paper import wide
from transferscope.store import safe_name

PAPER = {
    "heatmap": (1,),
    "graph": (1,),
    "heatmaps": (2,),
    "categories-level": (3, 4),
    "categories-granularity": (3, 4),
    "scale": (5,),
    "clique-positive": (6,),
    "selection": (8,),
    "pgf-behaviour": (9,),
    "clique-negative": (10,),
}
"""Kinds of figures, and the numbers of the paper's that they answer to. The paper's Figure 7 is
its Figure 2 for targets of another suite."""
OPENING = """# Captions

Each figure is there as SVG, PNG (300 dpi) and PDF, 85 or 175 mm wide: one column or both. One that
is wider says so: its names would be below 6.5 pt otherwise.
"""


def captions(analysis: Analysis, pictures: Mapping[str, bytes] | None = None) -> str:
    """A caption for each figure, below the name of its files.

    Args:
        pictures: the printed SVG files by the figures' stems; one wider than a page is said to be.
    """
    answered = counterparts(analysis)
    taken: set[str] = set()
    parts = [OPENING]
    for figure in gallery(analysis):
        taken.add(file := safe_name(f"{figure.stem}.svg", taken))
        text = caption(figure)
        if numbers := [str(n) for n, stems in answered.items() if figure.stem in stems]:
            word = "Figure" if len(numbers) == 1 else "Figures"
            text += f" As {word} {listed(numbers)} of Sachdeva et al. (CVPR 2026)."
        picture = (pictures or {}).get(figure.stem)
        if picture and (mm := wide(picture)):
            text += f" {mm:.0f} mm wide, for a page on its side or a poster: its names are 6.5 pt."
        parts.append(f"## {escaped(file.removesuffix('.svg'))}\n\n{text}\n")
    return "\n".join(parts)


def caption(figure: Figure) -> str:
    """What the figure shows, how to read it, its key, and what its intervals account for."""
    title, lines = figure.spec["title"]["text"], figure.spec["title"]["subtitle"]
    says = figure.spec["description"].removeprefix(title).lstrip(":. ")
    key = [line.replace(" · ", "; ") for line in lines if line.rstrip(".") not in says]
    sentences = [says, figure.reading, *key, figure.caption]
    rest = " ".join(_sentence(each) for each in sentences if each)
    return f"**{escaped(title)}.** {escaped(rest)}"


def counterparts(analysis: Analysis) -> dict[int, list[str]]:
    """Stems of the figures that answer to each of the paper's, by its number; none is left out."""
    elsewhere = not any(task.source and task.target for task in analysis.tasks)
    found: dict[int, list[str]] = {number: [] for number in range(1, 11)}
    for figure in gallery(analysis):
        kinds = [figure.stem, *(figure.stem.removesuffix(f"-{model}") for model in analysis.models)]
        kind = next((kind for kind in reversed(kinds) if kind in PAPER), None)
        heat = kind in ("heatmap", "heatmaps")
        for number in (7,) if heat and elsewhere else PAPER.get(kind or "", ()):
            found[number].append(figure.stem)
    return found


def escaped(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(clean(text), quote=False))


def _sentence(text: str) -> str:
    """The text with a full stop and, where it begins with a plain word and no name, a capital."""
    plain = re.match("[a-z]+[ :;]", text) is not None
    return (text.capitalize()[:1] if plain else text[:1]) + text[1:] + "." * (text[-1:] != ".")
