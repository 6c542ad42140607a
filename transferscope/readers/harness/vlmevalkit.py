"""VLMEvalKit: result tables, before or after scoring, and score files.

    tables  index, question, A .. D, answer, category, prediction; after scoring also hit and log
    scores  `MODEL_BENCHMARK_acc.csv` (fractions) and `.._score.csv` (mostly percent), a column for
            each category; VSI-Bench's are separated by tabs under any name

Its rule reads a lone letter near the end of a reply. The rest goes to a judge model, and after
three failures a random option is taken: raw replies are therefore read again.

A file is called MODEL_BENCHMARK, and benchmarks share names of categories: targets are called
`MMBench_DEV_EN/object_localization`, but BLINK's and VSI-Bench's have their plain names.
"""

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from transferscope.predictions import some
from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.lm_eval import MRA, vsi_scores
from transferscope.readers.harness.metrics import unit_in
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options
from transferscope.tasks import LETTERS

NAME = "VLMEvalKit"
_FAILED = "Failed to obtain answer"
"""The reply where the model did not answer."""
_NOT_READ = ("Failed to predict, thus randomly generate", "Failed in Prefetch, no GPT-based")
"""The column `log` where no option was read: a random one was taken, or none."""
_TABLE = {"index", "answer", "prediction"}
_SCORED = r"auxmatch|judge|(?:exact_matching|extract_matching|openai|chatgpt|gpt)[\w.-]*"
SCORED = re.compile(rf"_(?:{_SCORED})$")
"""Endings of a table's name after scoring."""
_SUFFIX = re.compile(rf"_(?:acc|score|results?|{_SCORED})$")
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
_MMBENCH_MEANS = {"AR", "CP", "FP-C", "FP-S", "LR", "RR"}
"""Means of MMBench's categories, in columns beside the categories."""


def recognize(file: ForeignFile) -> bool:
    keys = file.first.keys()
    if keys >= _TABLE or ("split" in keys and {"Overall", "aAcc"} & keys) or _is_vsi(file):
        return True
    name = file.name.rsplit(".", 1)[0]
    named = _SCORES.fullmatch(file.name) is not None and _BENCHMARK.search(name) is not None
    return named and file.value is None and bool(file.rows)


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    return _read_table(file) if file.first.keys() >= _TABLE else _read_scores(file)


def _benchmark(file: ForeignFile, categories: Iterable[str]) -> str:
    """The benchmark in a file's name MODEL_BENCHMARK.

    MODEL is the folder's name; else known benchmarks are searched for, else BENCHMARK is the text
    after the last underscore. A renamed file is BLINK's if all its categories are spelled as BLINK
    spells them, as in `Relative_Depth`.
    """
    name = file.name.rsplit(".", 1)[0]
    while (cut := _SUFFIX.sub("", name)) != name:
        name = cut
    folder = f"{file.folder}_"
    if name.startswith(folder) and not _BENCHMARK.match(folder):
        name = name.removeprefix(folder)
    elif found := _BENCHMARK.search(name):
        name = found[1]
    elif (own := set(categories)) <= terms.CHOICES.keys() and "_" in "".join(own):
        return "BLINK"
    else:
        name = name.rpartition("_")[2]
    return "BLINK" if name.upper().startswith("BLINK") else name


# Result tables


def _read_table(file: ForeignFile) -> HarnessLog:
    bench = _benchmark(file, (raw.text(values, "category").strip() for _, values in file.rows))
    found = []
    for row, values in file.rows:
        if raw.text(values, "prediction").startswith(_FAILED):
            continue
        sample, group = _sample(file, row, values, bench), terms.group_of(values)
        parts = sample.item.split("_")
        if group is None and sample.target.startswith("HallusionBench") and len(parts) == 6:
            # The kit's accuracy by figure reads the index so: .., set, figure, question.
            group = "/".join((raw.text(values, "l2-category"), *parts[:5]))
        prompt = raw.text(values, "question") or None
        found.append(sample._replace(prompt=prompt, group=group))
    failed = len(file.rows) - len(found)
    note = f"{file.name}: {failed} items that the model did not answer are left out"
    return HarnessLog(found, notes=(note,) if failed else ())


def _sample(file: ForeignFile, row: int, values: dict[str, Any], bench: str) -> HarnessSample:
    item = raw.text(values, "index").strip()
    if not item:
        raise file.refuse(row, "index is empty")
    reply, gold = raw.text(values, "prediction"), raw.text(values, "answer").strip()
    hit, answer = raw.fraction(values.get("hit", values.get("score"))), terms.letter_index(gold)
    if any(words in raw.text(values, "log") for words in _NOT_READ):
        hit = None
    if target := raw.text(values, "question_type"):  # VSI-Bench
        mra = raw.fraction(values, MRA)
        if mra is not None or answer is None:
            return HarnessSample(target, item, row, reply, score=hit if mra is None else mra)
        choices = terms.first_known(terms.options_of(values.get("candidates")))
        parsed = raw.text(values, "pred_extracted") or None
        return HarnessSample(target, item, row, reply, choices, answer, parsed, hit)
    columns = [raw.text(values, column).strip() for column in ("category", "l2-category")]
    target = terms.target_of_item(item)
    if target is None and bench == "BLINK":
        target = next(filter(None, map(terms.blink_name, columns)), None)
    target = target or "/".join(filter(None, (bench, columns[0] or columns[1])))
    options = list(takewhile(bool, (raw.text(values, letter) for letter in LETTERS)))
    if not options and gold.lower() in terms.YES_NO:
        options, answer = [*terms.YES_NO], terms.YES_NO.index(gold.lower())
    parsed = raw.text(values, "extracted") or None
    return HarnessSample(target, item, row, reply, terms.first_known(options), answer, parsed, hit)


# Score files


def _is_vsi(file: ForeignFile) -> bool:
    keys = file.first.keys()
    return "overall" in keys and any(str(key).endswith(f"_{MRA}") for key in keys)


def _read_scores(file: ForeignFile) -> HarnessLog:
    if _is_vsi(file):
        return HarnessLog(scores=vsi_scores(file, file.first))
    rows, first = [values for _, values in file.rows], file.first
    bench = _benchmark(file, first.keys() - {"split", "Overall"})
    whole = next((v for v in rows if raw.text(next(iter(v.values()))).strip() == "Overall"), None)
    if whole is not None and {"tot", "hit"} <= first.keys():  # MathVista, MathVision
        right, total = raw.number(whole, "hit"), raw.number(whole, "tot")
        if right is None or not total or not 0 <= right <= total:
            raise file.refuse(1, f"hit is {whole['hit']!r} of {whole['tot']!r}")
        return HarnessLog(scores=[HarnessScore(bench, right / total, int(total))])
    # POPE's Overall is an F1 score; HallusionBench has three columns.
    column = next((name for name in ("acc", "aAcc") if name in first), None)
    if whole is not None and column is not None:
        value = raw.number(whole, column)
        if value is None:
            raise file.refuse(1, f"{column} of all items must be a number, got {whole[column]!r}")
        numbers = (raw.number(values, column) for values in rows)
        unit = unit_in(file, (number for number in numbers if number is not None))
        others = [name for name in first if name not in ("split", column)]
        note = f"{file.name}: {column} of all items counts; left out: {some(others)}"
        return HarnessLog(scores=[HarnessScore(bench, value / unit)], notes=(note,))
    if "Overall" not in first:
        sums = "perception" in first  # MME
        kind = "sums of points, not fractions" if sums else "no column called Overall"
        raise file.refuse(1, f"{kind}: {some(first)}; the result table has items")
    if len(rows) > 1:
        rows = [values for values in rows if values.get("split") in ("val", "validation")]
    if len(rows) != 1:
        raise file.refuse(1, "several splits, none called val; keep the row that counts")
    return _categories(file, rows[0], bench)


def _categories(file: ForeignFile, values: dict[str, Any], bench: str) -> HarnessLog:
    """A score for each category; one for the whole if there are no categories."""
    numbers = ((name, raw.number(v)) for name, v in values.items() if name != "split")
    known = {name: number for name, number in numbers if number is not None}
    unit = unit_in(file, known.values())
    whole = known.pop("Overall", None)
    means: list[str] = []
    if bench == "BLINK":
        tasks = {name: terms.blink_name(name) for name in known}
        means = [name for name, task in tasks.items() if task is None]
        scores = [
            HarnessScore(t, known[n] / unit, terms.SIZES.get(t)) for n, t in tasks.items() if t
        ]
    elif known:
        if known.keys() - _MMBENCH_MEANS:
            means = [name for name in known if name in _MMBENCH_MEANS]
        scores = [
            HarnessScore(f"{bench}/{n}", v / unit) for n, v in known.items() if n not in means
        ]
    else:
        scores = [] if whole is None else [HarnessScore(bench, whole / unit)]
    note = f"{file.name}: means of tasks, left out: {some(means, 10)}"
    return HarnessLog(scores=scores, notes=(note,) if means else ())
