"""A finetuned checkpoint: a whole model, merged with an adapter or trained in full.

It becomes a `Base` with the processor of its base, so that both get equal prompts. Of a model that
a study trains in full, the weights that differ from the base's are kept; an export adds the others.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.engine.adapter import load_adapter
from transferscope.engine.base_model import (
    Base,
    base_folder,
    hash_folder,
    load_base,
    load_model,
    model_files,
)
from transferscope.engine.devices import layers_by_device
from transferscope.engine.peft_layers import copied
from transferscope.engine.processors import first_line
from transferscope.engine.records import Precision, Quantization
from transferscope.errors import DataError

_MAY_DIFFER = {
    *("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path"),
    *("use_cache", "initializer_range", "tie_word_embeddings", "attention_dropout"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings"),
}
"""Settings that do not change what a forward computes from given weights."""


def load_checkpoint(base: Base, folder: Path) -> Base:
    """A checkpoint made from a base, with the processor of the base.

    Raises:
        DataError: the folder has no safetensors, is damaged, or differs from the base in
            architecture, in a weight's name or shape, or in a token's id, or not at all; the
            message names the first difference.
    """
    base = base.complete
    model = _checked_model(base, folder, list(layers_by_device(base.model)), base.quantization)
    if next(_changed(base, model), None) is None:
        raise DataError(
            f"{folder}: changes no answer: all of its weights equal those of the base {base.name}"
        )
    return replace(base, model=model, weights_hash=hash_folder(folder), paths={})


def check_checkpoint(base: Base, folder: Path) -> None:
    """Refuse a checkpoint as `load_checkpoint` does, without reading weights."""
    _checked_model(base.complete, folder, [torch.device("meta")])  # names and shapes only


def finetuned(base: Base, tensors: Mapping[str, Tensor]) -> Base:
    """A copy of a base with some other weights, run by the reference path."""
    base = base.complete
    model = copied(base.model)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    return replace(base, model=model, paths={}, plain=True)


def changed_weights(base: Base, model: Any) -> dict[str, Tensor]:
    """The weights of a finetuned model that differ from its base's, in the base's precision, copied
    to the CPU."""
    names = {name for name, _ in base.model.named_parameters()}  # a tied weight once
    found = _changed(base, model)
    return {name: weight.to("cpu", copy=True) for name, weight in found if name in names}


def _changed(base: Base, model: Any) -> Iterator[tuple[str, Tensor]]:
    weights = dict(model.named_parameters(remove_duplicate=False))  # one may be tied, the other not
    for name, before in base.model.named_parameters(remove_duplicate=False):
        after = weights[name].detach().to(before.dtype)
        if not torch.equal(before, after):
            yield name, after


def export_checkpoint(
    where: str, changed: Path, out: Path, *, precision: Precision, trust_remote_code: bool
) -> None:
    """Write a finetuned model in full, which transformers' `from_pretrained` loads.

    Args:
        where: its base, as for `load_base`.
        changed: the folder of its changed weights.

    Raises:
        DataError: the weights are damaged, or of another base.
    """
    base = load_base(where, precision=precision, trust_remote_code=trust_remote_code)
    finetuned(base, load_adapter(base, changed).tensors).model.save_pretrained(out)
    for path in model_files(base_folder(where, trust_remote_code)):
        if ".safetensors" not in path.name:
            shutil.copyfile(path, out / path.name)


def _checked_model(
    base: Base,
    folder: Path,
    devices: list[torch.device],
    quantization: Quantization | None = None,
) -> Any:
    for pattern in ("config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise DataError(
                f"{folder}: no {pattern}; a finetuned checkpoint has config.json and safetensors"
            )
    _check_config(base, folder)
    _check_tokenizer(base, folder)
    model, unused = load_model(folder, base.dtype, devices, quantization)
    if unused:
        raise DataError(
            f"{folder}: not of the base {base.name}, which has no weight {unused[0]}; "
            "merge adapters and remove heads before saving"
        )
    return model


def _check_config(base: Base, folder: Path) -> None:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        theirs = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise DataError(f"{folder}: not a checkpoint: {first_line(error)}") from None
    ours = base.model.config
    if ours.model_type != theirs.model_type:
        raise DataError(
            f"{folder}: a {theirs.model_type}, but the base {base.name} is a {ours.model_type}"
        )
    for name, own, other in _differences(ours.to_dict(), theirs.to_dict()):
        if name == "image_grid_pinpoints" and base.max_pixels is not None:
            continue  # `max_pixels` has changed the base's
        raise DataError(
            f"{folder}: not of the base {base.name}: {name} must be {own!r}, got {other!r}"
        )


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Settings that differ, by full name; a setting that one side omits does not differ."""
    for name in ours:
        own, other = ours[name], theirs.get(name, ours[name])
        if name in _MAY_DIFFER or str(name).startswith("_"):
            continue
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            yield from _differences(own, other, f"{above}{name}.")
        elif own != other and list(own if isinstance(own, tuple) else [own]) != other:
            yield f"{above}{name}", own, other


def _check_tokenizer(base: Base, folder: Path) -> None:
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        return  # assumed to be the base's
    try:
        theirs: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: tokenizer: {first_line(error)}") from None
    ours = base.processor.tokenizer.get_vocab()
    for token in sorted({*ours, *theirs}, key=lambda token: ours.get(token, len(ours))):
        if ours.get(token) != theirs.get(token):
            raise DataError(
                f"{folder}: the tokenizer is not that of the base {base.name}: token {token!r} "
                f"must be {ours.get(token)}, got {theirs.get(token)}"
            )
