"""VLMEvalKit: result tables (`index, question, A .. D, answer, prediction`), the same with `hit`
after scoring, and score files (`*_acc.csv`).

Its rule finds a lone letter near the end of a reply; what it cannot read goes to a judge model, and
after three failures a random option is taken: raw replies are read again. Score files of VSI-Bench
are in percent, and separated by tabs whatever they are called.
"""

from typing import Any

from transferscope.readers.harness.record import (
    FAILED,
    Content,
    Log,
    Sample,
    Score,
    fraction_of,
    letter_index,
    number_of,
    text_of,
)
from transferscope.readers.harness.samples import MRA
from transferscope.readers.harness.tasks import (
    first_known,
    is_blink,
    options_of,
    target_name,
    target_of_item,
)
from transferscope.suite import LETTERS

NAME = "VLMEvalKit"
NOT_READ = ("Failed to predict, thus randomly generate", "Failed in Prefetch, no GPT-based")
"""What its log says where it read no option: it took a random one, or none."""
_TABLE = {"index", "answer", "prediction"}


def recognise(content: Content) -> bool:
    """Whether the file is one of VLMEvalKit's."""
    return content.first.keys() >= _TABLE or _are_scores(content) or _are_vsi_scores(content)


def _are_scores(content: Content) -> bool:
    return {"split", "Overall"} <= content.first.keys()


def _are_vsi_scores(content: Content) -> bool:
    keys = content.first.keys()
    return "overall" in keys and any(str(key).endswith(f"_{MRA}") for key in keys)


def read(content: Content) -> Log:
    """The samples of a result table, or the averages of a score file.

    Raises:
        DataError: a row lacks its index or its task, or a score file has several splits.
    """
    if _are_scores(content):
        return _scores(content)
    if _are_vsi_scores(content):
        return Log(scores=list(_vsi_scores(content.first)))
    failed, found = 0, []
    for row, values in content.rows:
        if text_of(values.get("prediction")).startswith(FAILED):
            failed += 1
            continue
        prompt = text_of(values.get("question")) or None
        found.append(_sample(content, row, values)._replace(prompt=prompt))
    note = f"{content.name}: {failed} items that the model could not be asked are left out"
    return Log(found, notes=(note,) if failed else ())


def _sample(content: Content, row: int, values: dict[str, Any]) -> Sample:
    item = text_of(values.get("index")).strip()
    if not item:
        raise content.refuse(row, "index is empty")
    reply, hit = text_of(values.get("prediction")), fraction_of(values.get("hit"))
    answer = letter_index(text_of(values.get("answer")))
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
    return Sample(
        *(_target(content, row, item, values), item, row, reply),
        choices=first_known(_options(values)),
        answer=answer,
        score=hit,
    )


def _options(values: dict[str, Any]) -> tuple[str, ...]:
    """The columns A, B, ... as far as they are filled."""
    options: list[str] = []
    for letter in LETTERS:
        if not (text := text_of(values.get(letter))):
            break
        options.append(text)
    return tuple(options)


def _target(content: Content, row: int, item: str, values: dict[str, Any]) -> str:
    """The task: BLINK's where a column or the index names one, else the category."""
    columns = [text_of(values.get(c)).strip() for c in ("category", "l2-category", "split")]
    named = next((name for name in columns[:2] if is_blink(name)), None)
    target = target_of_item(item) or named or next(filter(None, columns), None)
    if target is None:
        raise content.refuse(row, "no category says which task it is; add a column 'category'")
    return target_name(target)


def _scores(content: Content) -> Log:
    rows = [values for _, values in content.rows]
    if len(rows) > 1:
        rows = [values for values in rows if values["split"] in ("val", "validation")]
    if len(rows) != 1:
        raise content.refuse(1, "several splits, none called val; keep the row that counts")
    columns = [column for column in rows[0] if column not in ("split", "Overall")]
    tasks = [column for column in columns if is_blink(column)] or columns
    scores, notes = [], []
    for column in tasks:
        if (value := fraction_of(rows[0][column])) is not None:
            scores.append(Score(target_name(column), value))
        elif number_of(rows[0][column]) is not None:
            notes.append(f"{content.name}: {column} is no fraction in [0, 1] and is left out")
    return Log(scores=scores, notes=tuple(notes))


def _vsi_scores(values: dict[str, Any]) -> list[Score]:
    scores = []
    for column, value in values.items():
        name = column.removesuffix(f"_{MRA}").removesuffix("_accuracy")
        percent = number_of(value)
        if name != column and percent is not None and 0 <= percent <= 100:
            scores.append(Score(name, percent / 100))
    return scores
