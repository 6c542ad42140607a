"""VLMEvalKit's score files: `MODEL_BENCHMARK_acc.csv` and `MODEL_BENCHMARK_score.csv`.

`_acc.csv` is in fractions and `_score.csv` mostly in percent; the numbers of a file decide. Score
files of VSI-Bench are separated by tabs whatever they are called.

In:   a `Content`.
Out:  a `Log` of scores, or a `DataError` that says what the file holds instead.
"""

import re
from collections.abc import Iterable
from typing import Any

from transferscope.predictions import some
from transferscope.readers.harness.averages import vsi_scores
from transferscope.readers.harness.metrics import unit_in
from transferscope.readers.harness.record import Content, Log, Score, number_of, text_of
from transferscope.readers.harness.samples import MRA
from transferscope.readers.harness.tasks import CHOICES, blink_name, blink_size

_SUFFIX = re.compile(
    r"_(?:acc|score|results?|auxmatch|judge"
    r"|(?:exact_matching|extract_matching|openai|chatgpt|gpt)[\w.-]*)$"
)
_SCORES = re.compile(r".+_(acc|score)\.(csv|tsv|json|xlsx)", re.I | re.S)
_BENCHMARK = re.compile(
    r"(?:^|_)((?:BLINK|MMBench|CCBench|MMStar|SEEDBench|POPE|MME|HallusionBench|RealWorldQA|MMMU|MMVP"
    r"|MathVista|MathVision|MathVerse|AI2D|ScienceQA|OCRBench|OCRVQA|TextVQA|ChartQA|DocVQA|InfoVQA"
    r"|MMVet|VSI|CV-?Bench|Q-?Bench|A-?Bench|MUIRBench|MMT-?Bench|VStarBench|R-?Bench|COCO_VAL|SEED"
    r"|LLaVABench|TaskMeAnything|SpatialEval|MMIU|MVBench|Video-?MME|GQA|VizWiz|CRPE|AMBER|VLMs|"
    r"MLLMGuard|DynaMath|LogicVista|WeMath|EMMA|ERQA|OmniSpatial|SpatialBench|3DSRBench|ZEROBench)"
    r"(?![a-z]).*)$",
    re.S,
)
"""Names of benchmarks, with the split that follows them."""
_MMBENCH_MEANS = ("AR", "CP", "FP-C", "FP-S", "LR", "RR")
"""Means of MMBench's categories, which stand beside them."""


def benchmark(content: Content, categories: Iterable[str]) -> str:
    """The benchmark that a file is of, by its name MODEL_BENCHMARK.

    MODEL is the name of the folder; else the names of known benchmarks are looked for, else
    BENCHMARK is what follows the last underscore. A file that was renamed is BLINK's where all its
    categories are spelled as BLINK spells them, as in `Relative_Depth`.
    """
    name = content.name.rsplit(".", 1)[0]
    while (cut := _SUFFIX.sub("", name)) != name:
        name = cut
    folder = f"{content.folder}_"
    if name.startswith(folder) and not _BENCHMARK.match(folder):
        name = name.removeprefix(folder)
    elif found := _BENCHMARK.search(name):
        name = found[1]
    elif (own := set(categories)) <= CHOICES.keys() and any("_" in category for category in own):
        return "BLINK"
    else:
        name = name.rpartition("_")[2]
    return "BLINK" if name.upper().startswith("BLINK") else name


def recognise(content: Content) -> bool:
    """Whether the file is one of VLMEvalKit's score files."""
    first = content.first.keys()
    if _are_vsi(content) or {"split", "Overall"} <= first or {"split", "aAcc"} <= first:
        return True
    table = content.value is None and bool(content.rows)
    name = content.name.rsplit(".", 1)[0]
    return table and _SCORES.fullmatch(content.name) is not None and bool(_BENCHMARK.search(name))


def _are_vsi(content: Content) -> bool:
    keys = content.first.keys()
    return "overall" in keys and any(str(key).endswith(f"_{MRA}") for key in keys)


def read(content: Content) -> Log:
    """The averages of a score file.

    Raises:
        DataError: it has several splits of which none counts, no accuracy, or no one unit.
    """
    if _are_vsi(content):
        return Log(scores=list(vsi_scores(content, content.first)))
    rows, first = [values for _, values in content.rows], content.first
    bench = benchmark(content, [name for name in first if name not in ("split", "Overall")])
    whole = next((v for v in rows if text_of(next(iter(v.values()))).strip() == "Overall"), None)
    if whole is not None and {"tot", "hit"} <= first.keys():  # MathVista, MathVision
        return _counted(content, whole, bench)
    for column in ("acc", "aAcc"):  # POPE's Overall is an F1 score; HallusionBench has three
        if whole is not None and column in first:
            value = number_of(whole[column])
            if value is None:
                raise content.refuse(1, f"{column} of all items is {whole[column]!r}, no number")
            column_values = (number_of(values[column]) for values in rows)
            unit = unit_in(content, (number for number in column_values if number is not None))
            others = [name for name in first if name not in ("split", column)]
            note = f"{content.name}: {column} of all items counts; left out: {some(others)}"
            return Log(scores=[Score(bench, value / unit)], notes=(note,))
    if "Overall" not in first:
        kind = (
            "sums of points, no fractions" if "perception" in first else "no column called Overall"
        )
        raise content.refuse(1, f"{kind}: {some(first)}; the result table has items")
    return _categories(content, _split(content, rows), bench)


def _counted(content: Content, whole: dict[str, Any], bench: str) -> Log:
    right, total = number_of(whole["hit"]), number_of(whole["tot"])
    if right is None or not total or not 0 <= right <= total:
        raise content.refuse(1, f"hit is {whole['hit']!r} of {whole['tot']!r}")
    return Log(scores=[Score(bench, right / total, int(total))])


def _split(content: Content, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row that counts."""
    if len(rows) > 1:
        rows = [values for values in rows if values.get("split") in ("val", "validation")]
    if len(rows) != 1:
        raise content.refuse(1, "several splits, none called val; keep the row that counts")
    return rows[0]


def _categories(content: Content, values: dict[str, Any], bench: str) -> Log:
    """A score for each category; for the whole where there is none."""
    numbers = {name: number_of(v) for name, v in values.items() if name != "split"}
    known = {name: number for name, number in numbers.items() if number is not None}
    unit = unit_in(content, known.values())
    categories = [name for name in known if name != "Overall"]
    scores: list[Score] = []
    left: list[str] = []
    if bench == "BLINK":
        left = [name for name in categories if blink_name(name) is None]
        for name in (name for name in categories if name not in left):
            task = blink_name(name) or name
            scores.append(Score(task, known[name] / unit, blink_size(task)))
    elif categories:
        means = _MMBENCH_MEANS if set(categories) - set(_MMBENCH_MEANS) else ()
        left = [name for name in categories if name in means]
        kept = [name for name in categories if name not in means]
        scores = [Score(f"{bench}/{n}", known[n] / unit) for n in kept]
    elif "Overall" in known:
        scores = [Score(bench, known["Overall"] / unit)]
    note = f"{content.name}: no tasks but means of tasks, left out: {some(left, 10)}"
    return Log(scores=scores, notes=(note,) if left else ())
