"""lm-evaluation-harness: `samples_<task>_<date>.jsonl` and `results_<date>.json`.

Its samples carry hashes of prompt and target, and say which metrics they have; its results carry
what was found out about the machine. Options may be compared by log-probability: then the choice is
the likeliest option, and there is no reply to read.
"""

from transferscope.readers.harness import samples
from transferscope.readers.harness.record import Content, Log

NAME = "lm-evaluation-harness"
_SAMPLE = ("prompt_hash", "target_hash", "metrics")
_RESULT = ("pretty_env_info", "transformers_version", "lm_eval_version", "eot_token_id")


def recognise(content: Content) -> bool:
    """Whether the file is one of lm-evaluation-harness's."""
    telling = _SAMPLE if samples.are_samples(content) else _RESULT
    ours = samples.are_samples(content) or samples.are_results(content)
    known_sibling = "lmms_eval_version" in content.first
    return ours and not known_sibling and any(key in content.first for key in telling)


def read(content: Content) -> Log:
    """The samples, or the averages, of the file."""
    if samples.are_samples(content):
        return samples.read_samples(content)
    return samples.read_results(content)
