"""VLMEvalKit: result tables (`index, question, A .. D, answer, prediction`), the same with `hit`
after scoring, and score files (`vlmevalkit_scores`).

Its rule finds a lone letter near the end of a reply; what it cannot read goes to a judge model, and
after three failures a random option is taken: raw replies are read again.

A file is called MODEL_BENCHMARK, and categories of different benchmarks share names: targets are
called `MMBench_DEV_EN/object_localization`, but BLINK's and VSI-Bench's by their own names.
"""

from typing import Any

from transferscope.readers.harness import vlmevalkit_scores
from transferscope.readers.harness.record import (
    FAILED,
    Content,
    Log,
    Sample,
    fraction_of,
    letter_index,
    text_of,
)
from transferscope.readers.harness.samples import MRA, YES_NO
from transferscope.readers.harness.tasks import blink_name, first_known, options_of, target_of_item
from transferscope.tasks import LETTERS

NAME = "VLMEvalKit"
NOT_READ = ("Failed to predict, thus randomly generate", "Failed in Prefetch, no GPT-based")
"""What its log says where it read no option: it took a random one, or none."""
_TABLE = {"index", "answer", "prediction"}


def recognise(content: Content) -> bool:
    """Whether the file is one of VLMEvalKit's."""
    return content.first.keys() >= _TABLE or vlmevalkit_scores.recognise(content)


def read(content: Content) -> Log:
    """The samples of a result table, or the averages of a score file.

    Raises:
        DataError: a row lacks its index, or a score file is not understood.
    """
    if not content.first.keys() >= _TABLE:
        return vlmevalkit_scores.read(content)
    failed, found = 0, []
    categories = (text_of(values.get("category")).strip() for _, values in content.rows)
    bench = vlmevalkit_scores.benchmark(content, categories)
    for row, values in content.rows:
        if text_of(values.get("prediction")).startswith(FAILED):
            failed += 1
            continue
        prompt = text_of(values.get("question")) or None
        found.append(_sample(content, row, values, bench)._replace(prompt=prompt))
    note = f"{content.name}: {failed} items that the model could not be asked are left out"
    return Log(found, notes=(note,) if failed else ())


def _sample(content: Content, row: int, values: dict[str, Any], bench: str) -> Sample:
    item = text_of(values.get("index")).strip()
    if not item:
        raise content.refuse(row, "index is empty")
    reply, mark = text_of(values.get("prediction")), values.get("hit", values.get("score"))
    hit, written = fraction_of(mark), text_of(values.get("answer")).strip()
    answer = letter_index(written)
    if any(words in text_of(values.get("log")) for words in NOT_READ):
        hit = None
    if text_of(values.get("question_type")):
        target = text_of(values["question_type"])
        if (score := fraction_of(values.get(MRA))) is not None:
            return Sample(target, item, row, reply, score=score)
        if answer is None:
            return Sample(target, item, row, reply, score=hit)
        options = first_known(options_of(values.get("candidates")))
        said = values.get("pred_extracted")
        return Sample(target, item, row, reply, options, answer, text_of(said) or None, hit)
    target, options = _target(item, values, bench), _options(values)
    if not options and written.lower() in YES_NO:
        options, answer = YES_NO, YES_NO.index(written.lower())
    said = text_of(values.get("extracted")) or None
    return Sample(target, item, row, reply, first_known(options), answer, said, hit)


def _options(values: dict[str, Any]) -> tuple[str, ...]:
    """The columns A, B, ... as far as they are filled."""
    options: list[str] = []
    for letter in LETTERS:
        if not (text := text_of(values.get(letter))):
            break
        options.append(text)
    return tuple(options)


def _target(item: str, values: dict[str, Any], bench: str) -> str:
    """The task: BLINK's where the file or the index says so, else benchmark and category."""
    columns = [text_of(values.get(c)).strip() for c in ("category", "l2-category")]
    if named := target_of_item(item):
        return named
    if bench == "BLINK" and (named := next(filter(None, map(blink_name, columns)), None)):
        return named
    return "/".join(filter(None, (bench, columns[0] or columns[1])))
