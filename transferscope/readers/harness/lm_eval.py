"""lm-evaluation-harness: `samples_<task>_<date>.jsonl` and `results_<date>.json`.

Its samples carry hashes of prompt and target, and say which metrics they have; its results carry
what was found out about the machine (before 0.4, `versions` and `config` alone). Options may be
compared by log-probability: then the choice is the likeliest option, and there is no reply to read.
"""

from transferscope.readers.harness import averages, samples
from transferscope.readers.harness.record import Content, Log

NAME = "lm-evaluation-harness"
_SAMPLE = ("prompt_hash", "target_hash", "metrics")
_RESULT = ("pretty_env_info", "transformers_version", "lm_eval_version", "eot_token_id")


def recognise(content: Content) -> bool:
    """Whether the file is one of lm-evaluation-harness's."""
    telling = _SAMPLE if samples.are_samples(content) else _RESULT
    if averages.are_results(content) and _old(content):
        return True
    ours = samples.are_samples(content) or averages.are_results(content)
    known_sibling = "lmms_eval_version" in content.first
    return ours and not known_sibling and any(key in content.first for key in telling)


def _old(content: Content) -> bool:
    """Whether a results file is of a version before 0.4, which did not list its tasks' settings."""
    if {"configs", "lmms_eval_version"} & content.value.keys():
        return False
    config = content.value.get("config")
    keys = {"model_args", "num_fewshot", "no_cache", "bootstrap_iters"}
    return isinstance(config, dict) and bool(keys & config.keys())


def read(content: Content, asked: str | None = None) -> Log:
    """The samples, or the averages, of the file.

    Args:
        asked: the metric to take in tasks that have it.
    """
    if samples.are_samples(content):
        return samples.read_samples(content, asked)
    return averages.read_results(content, asked)
