"""Weights on their way into a base: files of a training, older vocabularies, mixtures.

A training keeps its weights as one safetensors file: the model's own names without the tied
output embedding, and the number of words that the embedding knew. Rows of the embedding belong to
words, so weights outlive a longer vocabulary.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from tools.glimpse_bases.tokenizer import rows, vocabulary
from transferscope.errors import DataError

EMBEDDING = "model.language_model.embed_tokens.weight"
TIED = "lm_head.weight"
HEAD = "dense_head."
"""Prefix of the weights of the head that reads the dense labels; no part of a base."""

PROTOTYPE_WORDS = 228
"""The prototype's vocabulary: the first words of ours, in the same order."""

_RESIDUAL = ("attn.proj.", "mlp.down_proj.")


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights without the tied output embedding."""
    return {name: weight.detach() for name, weight in model.state_dict().items() if name != TIED}


def base_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the head for the dense labels."""
    return {name: weight for name, weight in weights.items() if not name.startswith(HEAD)}


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> Path:
    """Write weights whole or not at all, with the number of words that their embedding knows."""
    metadata = {"words": str(len(vocabulary()))}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        ready = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
        save_file(ready, temporary, metadata)
        temporary.chmod(0o644)  # safetensors leaves files that only their owner may read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights from a file, float32, with an embedding of today's vocabulary.

    A file without the number of words is a prototype's.

    Raises:
        DataError: there is no such file, it is no safetensors file, or its vocabulary is longer
            than ours.
    """
    weights, metadata = _read(path)
    words = int(metadata.get("words", PROTOTYPE_WORDS))
    if words > len(vocabulary()):
        raise DataError(
            f"{path}: its embedding knows {words} words, vocabulary.json only {len(vocabulary())}"
        )
    weights = {name: weight.float() for name, weight in weights.items()}
    if EMBEDDING in weights:
        weights[EMBEDDING] = embedding(weights[EMBEDDING], words)
    return weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors from a file as they are.

    Raises:
        DataError: there is no such file, or it is no safetensors file.
    """
    return _read(path)[0]


def embedding(old: Tensor, words: int) -> Tensor:
    """An embedding of `words` words, grown to the whole vocabulary.

    A new word that an old one spells in lower case starts at that one's row, any other near the
    mean row.
    """
    known = {word: index for index, word in enumerate(vocabulary()[:words])}
    mean, spread = old[:words].mean(0), old[:words].std()
    generator = torch.Generator().manual_seed(0)
    new = torch.randn(rows(len(vocabulary())), old.shape[1], generator=generator)
    new = mean + 0.3 * spread * new
    new[:words] = old[:words]
    for index, word in enumerate(vocabulary()[words:], words):
        if word.lower() in known:
            new[index] = old[known[word.lower()]]
    return new


def load_weights(model: Qwen2_5_VLForConditionalGeneration, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a model; vision layers that they lack start as the identity.

    Raises:
        DataError: the weights are of another shape, or lack more than last vision layers.
    """
    try:
        result = model.load_state_dict(base_weights(weights), strict=False)
    except RuntimeError as error:
        raise DataError(f"weights of another size: {str(error).splitlines()[1].strip()}") from None
    absent = [name for name in result.missing_keys if name != TIED]
    odd = [name for name in absent if ".visual.blocks." not in name] + result.unexpected_keys
    if odd:
        raise DataError(f"weights of another model: {odd[0]} is missing or unknown")
    model.tie_weights()
    with torch.no_grad():
        for name in absent:
            if any(part in name for part in _RESIDUAL):
                model.get_parameter(name).zero_()


def mix(early: Mapping[str, Tensor], late: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) x early + share x late, weight by weight.

    Weights on a straight line between two points of one training: `share` picks how much the base
    can do already, and so how much room it leaves to finetuning.

    Raises:
        DataError: the two do not hold the same weights, dense heads aside.
    """
    first, second = base_weights(early), base_weights(late)
    odd = set(first) ^ set(second) or {
        name for name in first if first[name].shape != second[name].shape
    }
    if odd:
        raise DataError(f"cannot mix: {min(odd)} is not of one shape in both")
    return {name: (1 - share) * first[name] + share * second[name] for name in first}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as safetensors: {error}") from None
