"""A base with PEFT's own layers, for adapters that are more than two factors per linear layer."""

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from transferscope.engine.base_model import Base
from transferscope.engine.processors import first_line
from transferscope.errors import DataError

_LAYER = re.compile(r"base_model\.model\.(.+?)\.lora_")

RUNTIME = {
    *("auto_mapping", "base_model_name_or_path", "runtime_config", "peft_version"),
    *("revision", "inference_mode"),
}
"""Settings of a file that say nothing about the adapter's layers."""


def with_peft(
    base: Base, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: object
) -> Base:
    """A copy of the base with an adapter's layers, run by the reference path.

    Args:
        where: names the adapter in messages.

    Raises:
        DataError: PEFT does not know such an adapter, or it is of another base.
    """
    from peft import set_peft_model_state_dict

    base = base.complete
    # By name, not by the file's pattern, whose search might take forever.
    names = sorted({found[1] for found in map(_LAYER.match, tensors) if found})
    layers = {"target_modules": names, "exclude_modules": None, "layers_to_transform": None}
    try:
        model = peft_model(base, {**config, **layers})
        found = set_peft_model_state_dict(model, dict(tensors))
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{where}: {base.name}: {first_line(error)}") from None
    lacking = [name for name in found.missing_keys if "lora_" in name or "modules_to_save" in name]
    for what, names in (("lacks", lacking), ("has the unknown", found.unexpected_keys)):
        if names:
            raise DataError(f"{where}: of another base than {base.name}: {what} {min(names)}")
    return replace(base, model=model.get_base_model(), paths={}, plain=True)


def peft_model(base: Base, settings: Mapping[str, Any]) -> Any:
    """A copy of the base with new layers of PEFT, from the settings of a file or a recipe.

    Raises:
        ValueError: PEFT refuses the settings for this base.
    """
    from peft import LoraConfig, get_peft_model

    known = {field.name for field in fields(LoraConfig)} - RUNTIME
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PEFT about transformers
            config = LoraConfig(**{name: settings[name] for name in known & settings.keys()})
            return get_peft_model(copied(base.model), config)
    except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"PEFT refuses it: {first_line(error)}") from None


def copied(model: Any) -> Any:
    """A copy of a model, which runs by the code of its class."""
    # A fast path's forward, set on a module, would run the original's layers from the copy.
    forwards = {one: vars(one).pop("forward") for one in model.modules() if "forward" in vars(one)}
    try:
        return copy.deepcopy(model)
    finally:
        for module, forward in forwards.items():
            module.forward = forward
