"""lmms-eval: `<date>_samples_<task>.jsonl` and `<date>_results.json`.

BLINK's tasks name their items under `blink_acc`; VSI-Bench repeats the question's record under each
metric. Its parser takes the first letter of a reply, so that "The answer is B" is read as T: raw
replies are read again.
"""

from transferscope.readers.harness import lm_eval, samples
from transferscope.readers.harness.record import Content, Log

NAME = "lmms-eval"


def recognise(content: Content) -> bool:
    """Whether the file is one of lmms-eval's."""
    ours = samples.are_samples(content) or samples.are_results(content)
    return ours and not lm_eval.recognise(content)


def read(content: Content) -> Log:
    """The samples, or the averages, of the file."""
    if samples.are_samples(content):
        return samples.read_samples(content)
    return samples.read_results(content)
