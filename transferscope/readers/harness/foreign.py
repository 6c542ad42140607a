"""What a file is that no reader takes, in words for a note.

In:   a file's path and its content, where it has one.
Out:  a few words, or None for what lies in every checkpoint's folder and is no result.
"""

from pathlib import Path

from transferscope.readers.harness.record import Content

_KEYS: dict[str, tuple[str, ...]] = {
    "an Inspect log": ("eval", "status", "version"),
    "an Inspect log ": ("eval", "samples", "results"),
    "a report of EvalScope": ("dataset_name", "model_name", "metrics"),
    "predictions of EvalScope": ("sample_score", "index"),
    "a file of HELM": ("adapter_spec",),
    "a file of HELM ": ("instance", "request_states"),
    "per-instance results of HELM": ("instance_id", "stats"),
    "predictions of OpenCompass": ("origin_prompt", "prediction"),
    "a training log": ("log_history", "global_step"),
}
"""Keys of a file's first object that tell what it is."""
_RESULTS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".eval", ".pkl", ".parquet")
_CHECKPOINT = (
    *("config", "tokenizer", "token", "vocab", "merges", "preprocessor", "processor", "generation"),
    *("adapter", "special_tokens", "added_tokens", "chat_template", "trainer_state", "training"),
    *("model.safetensors", "pytorch_model", "train_results", "all_results", "image_processor"),
    *("video_preprocessor", "quantize", "zero", "scheduler", "run", "args", "log"),
)
"""How the files begin that lie in every checkpoint's folder."""


def described(path: Path, content: Content | None) -> str | None:
    """What a file is that is no result of a known harness; None where that needs no word."""
    ending = path.suffix.lower()
    if content is None and ending == ".pkl":
        return "a pickle, which is never opened; let the harness write tables or JSON"
    if content is None and ending == ".eval":
        return "an Inspect log"
    if ending not in _RESULTS or path.name.lower().startswith(_CHECKPOINT):
        return None
    first = content.first if content is not None else {}
    for what, keys in _KEYS.items():
        if first.keys() >= set(keys):
            return what.strip()
    return "no file of a known harness"
