"""An adapter in PEFT's file format, which `PeftModel.from_pretrained` loads with equal outputs."""

import json
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.engine.base_model import Base
from transferscope.engine.devices import to_device
from transferscope.engine.linears import language_linears
from transferscope.engine.lora import Stack
from transferscope.engine.loss_curve import FACTOR, LossCurve, adds_something
from transferscope.engine.peft_layers import with_peft
from transferscope.errors import DataError
from transferscope.study import Recipe
from transferscope.study.strengths import STARTS, scaled_config
from transferscope.tasks.untrusted import load_json, read_text

WEIGHTS = "adapter_model.safetensors"
CHANGED = "changed_weights{suffix}.safetensors"
"""The files of a finetuned model's weights, as far as they differ from the base's."""
CONFIG = "adapter_config.json"

_KEY = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")

_PLAIN = ("use_dora", "modules_to_save", "target_parameters", "trainable_token_indices")
"""Settings with which an adapter is more than two factors per layer."""

_UNSUPPORTED = (
    *("fan_in_fan_out", "layer_replication", "alora_invocation_tokens", "arrow_config"),
    *("use_bdlora", "use_qalora"),
)
"""Settings that need more than PEFT's layers in the base's place."""

_SPLITS = ("pissa", "olora")
"""Values whose change PEFT repeats from the base's weights alone; not so CorDA, LoftQ, LoRA-GA and
PiSSA's faster form, which is random."""

_MAX_ALPHA = 1e30
_ENDLESS = re.compile(r"\)[*+?{]|(?:[(*+?{][^(*+?{]*){5}")
"""Patterns whose search may take forever: Python's `re` has no time limit."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """The LoRA weights of one source and seed, or a finetuned model's."""

    config: dict[str, Any]
    """As in `adapter_config.json`."""
    tensors: dict[str, Tensor] = field(repr=False)
    """By PEFT's key, on the CPU; of a whole model, the weights that differ from the base's."""
    quantization: str | None = None
    """How the base was stored in training. Written beside the tensors, as PEFT's configuration
    has no field for it."""
    curve: LossCurve = field(default_factory=LossCurve)
    """The course of training; empty for an adapter from a folder."""
    snapshots: "dict[int, Adapter]" = field(default_factory=dict, repr=False)
    """The adapter as it was after some of its steps; empty for one from a folder."""
    plain: bool = False
    """Whether it is more than two factors per linear layer of the language model, so that only
    PEFT's own layers run it, or a whole model."""

    @property
    def whole(self) -> bool:
        """Whether it is a model in full; only an adapter has a configuration."""
        return not self.config


def peft_tensors(stack: Stack, index: int) -> dict[str, Tensor]:
    """The weights of one adapter of a stack by PEFT's keys, copied to the CPU."""
    return {
        f"base_model.model.{name}.lora_{letter}.weight": factor.detach()[index].to("cpu", copy=True)
        for name, factors in stack.factors.items()
        for letter, factor in zip("AB", factors, strict=True)
    }


def peft_config(base: Base, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """The `adapter_config.json` of a recipe for some linear layers."""
    ends = sorted({name.rpartition(".")[2] for name in names})
    start = names[0].split(".layers.")[0] + ".layers."
    pattern = f"{re.escape(start)}.*\\.({'|'.join(ends)})"
    matched = {name for name, _ in base.model.named_modules() if re.fullmatch(pattern, name)}
    exact = matched == set(names)  # else the pattern would adapt routers, experts or towers too
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base.name,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "target_modules": pattern if exact else list(names),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
    }


def save_adapter(adapter: Adapter, folder: Path) -> Path:
    """Write an adapter as PEFT does, or a model's changed weights, in shards; the folder appears
    whole or not at all.

    Raises:
        DataError: the folder cannot be written, or training failed.
    """
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import save

    if adapter.curve.failed:
        raise DataError(f"{folder}: not written: the adapter {adapter.curve.failed}")
    mark = uuid.uuid4().hex
    new, old = folder.with_name(f".new-{mark}"), folder.with_name(f".old-{mark}")
    try:
        new.mkdir(parents=True)
        # One entry if possible: safetensors writes several in any order.
        metadata = {"format": "pt"}
        if adapter.quantization:
            metadata["base_quantization"] = adapter.quantization
        if adapter.whole:
            save_torch_state_dict(adapter.tensors, new, filename_pattern=CHANGED)
        else:
            (new / WEIGHTS).write_bytes(save(adapter.tensors, metadata=metadata))
            text = json.dumps(adapter.config, indent=2) + "\n"
            (new / CONFIG).write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def load_adapter(base: Base, folder: Path) -> Adapter:
    """Read an adapter written by us or by PEFT, or a model's changed weights written by us.

    Raises:
        DataError: files are missing or damaged, the adapter changes nothing, or it belongs to
            another base.
    """
    if shards := sorted(folder.glob(CHANGED.format(suffix="*"))):
        return _load_changed(base, shards)
    config, path = _read_config(folder / CONFIG), folder / WEIGHTS
    linears = language_linears(base.model)
    config, tensors = _with_current_names(config, _read_tensors(path), next(iter(linears), ""))
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        _check_finite(path, key, tensor)
        if found := _KEY.fullmatch(key):
            pairs.setdefault(found[1], {})[found[2]] = tensor
    if not any(map(FACTOR.fullmatch, tensors)):
        raise DataError(f"{path}: no lora_A and lora_B weights")
    only_factors = all(map(FACTOR.fullmatch, tensors)) and config.get("init_lora_weights") in STARTS
    if only_factors and not (config["lora_alpha"] and adds_something(tensors)):
        raise DataError(
            f"{folder}: changes no answer: its lora_alpha is 0, or in every layer lora_A or lora_B"
        )
    others = any(map(config.get, _PLAIN)) or config.get("bias", "none") != "none"
    linear = all(map(_KEY.fullmatch, tensors)) and pairs.keys() <= linears.keys()
    if others or not only_factors or not linear:
        with_peft(base, config, tensors, folder)
        return Adapter(config, tensors, plain=True)
    for name, pair in sorted(pairs.items(), key=lambda one: [*linears].index(one[0])):
        rows, columns = linears[name].out_features, linears[name].in_features
        sizes = {letter: tuple(factor.shape) for letter, factor in sorted(pair.items())}
        if [len(size) for size in sizes.values()] != [2, 2] or 0 in sizes["A"]:
            raise DataError(f"{folder}: {name}: must be two matrices, A and B, got {sizes}")
        if sizes["A"][0] != sizes["B"][1]:
            raise DataError(f"{folder}: {name}: A and B must have one rank, got {sizes}")
        if sizes["A"][1] != columns or sizes["B"][0] != rows:
            raise DataError(
                f"{folder}: of another base than {base.name}: {name} is {rows} x {columns}, "
                f"got factors {sizes}"
            )
    return Adapter(config, tensors)


def _load_changed(base: Base, shards: Sequence[Path]) -> Adapter:
    own, tensors = dict(base.model.named_parameters()), dict[str, Tensor]()
    for path in shards:
        for name, tensor in _read_tensors(path).items():
            expected = list(own[name].shape) if name in own else "a weight of the base"
            if expected != (found := list(tensor.shape)):
                raise DataError(f"{path}: {name}: must be {expected}, got {found}")
            _check_finite(path, name, tensor)
            tensors[name] = tensor
    return Adapter({}, tensors, plain=True)


def _check_finite(path: Path, name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.float().isfinite().all():
        raise DataError(f"{path}: {name}: must be finite floating-point numbers")


def stacked(base: Base, adapters: Sequence[Adapter]) -> Stack:
    """Adapters of any rank, scaling and layers as one stack with scaling 1.

    Smaller ranks and missing layers are padded with zeros, which changes no output.
    """
    layers = [{m[1] for m in map(_KEY.fullmatch, one.tensors) if m} for one in adapters]
    adapted = set().union(*layers)
    linears = {n: one for n, one in language_linears(base.model).items() if n in adapted}
    rank = max((min(one.shape) for a in adapters for one in a.tensors.values()), default=1)
    dtype = torch.promote_types(base.dtype, torch.float32)
    stack = Stack(linears, len(adapters), rank, 1.0, dtype)
    for index, one in enumerate(adapters):
        for name in layers[index]:
            a = one.tensors[f"base_model.model.{name}.lora_A.weight"]
            b = one.tensors[f"base_model.model.{name}.lora_B.weight"]
            into_a, into_b = stack.factors[name]
            into_a[index, : len(a)] = to_device(a, into_a.device)
            # A layer's rank divides alpha, not `r`: PEFT's `rank_pattern`.
            divisor = len(a) ** 0.5 if one.config.get("use_rslora") else len(a)
            scaling = _alpha(one.config, name) / divisor
            into_b[index, :, : len(a)] = to_device(b, into_b.device).to(dtype) * scaling
    return stack


def scaled(adapter: Adapter, strength: float) -> Adapter:
    """An adapter whose alpha, and so what it adds to the base's weights, is `strength` times it.

    Raises:
        DataError: it is a whole model, or alpha does not scale all that it changes.
    """
    return replace(adapter, config=scaled_config(adapter.config, strength))


def _alpha(config: dict[str, Any], name: str) -> float:
    """alpha of one layer: that of the first pattern that matches its name, as PEFT chooses."""
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})$", name):
            return value
    return config["lora_alpha"]


def _read_config(path: Path) -> dict[str, Any]:
    text = read_text(path, missing="cannot be read: No such file or directory")
    try:
        config = load_json(text)
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise DataError(f"{path}: not a LoRA adapter; peft_type must be 'LORA'")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise DataError(f"{path}: alpha_pattern must be a number per pattern, got {patterns!r}")
    alphas: dict[str, Any] = {"lora_alpha": config.get("lora_alpha")}
    alphas |= {f"alpha_pattern.{pattern}": alpha for pattern, alpha in patterns.items()}
    for name, alpha in alphas.items():
        if type(alpha) not in (int, float) or not -_MAX_ALPHA < alpha < _MAX_ALPHA:
            raise DataError(f"{path}: {name} must be a finite number, got {repr(alpha)[:60]}")
    for key in _UNSUPPORTED:
        if config.get(key):
            raise DataError(f"{path}: {key} is not supported; merge the adapter into a checkpoint")
    start = config.get("init_lora_weights")
    if start not in (*STARTS, *_SPLITS):
        raise DataError(
            f"{path}: init_lora_weights {start!r} changes the base's weights in a way that the "
            "file does not tell; merge the adapter into a checkpoint"
        )
    named = [("alpha_pattern", pattern) for pattern in patterns]
    named += [("rank_pattern", pattern) for pattern in config.get("rank_pattern") or {}]
    for key, pattern in named:
        if _ENDLESS.search(pattern):
            raise DataError(
                f"{path}: {key} {pattern[:60]!r}: more than four groups or repetitions, or "
                "a repeated group, may take forever; list the layers' names instead"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise DataError(f"{path}: {key} {pattern!r}: not a pattern: {error}") from None
    return config


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise DataError(f"{path}: damaged: {error}") from None
    except KeyError as error:  # a type that torch does not have
        raise DataError(f"{path}: numbers of type {error.args[0]} are not supported") from None


def _with_current_names(
    config: dict[str, Any], tensors: Mapping[str, Tensor], first: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An adapter under names like that of the `first` layer: older ones lack `language_model`."""
    start = "base_model.model." + first.split("layers.")[0]
    older = ("base_model.model.model", "base_model.model.language_model.model")
    current: dict[str, Tensor] = {}
    alphas = {}
    for key, tensor in tensors.items():
        head, middle, tail = key.partition(".layers.")
        new = f"{start}layers.{tail}" if middle and head in older else key
        current[new] = tensor
        if (was := _KEY.fullmatch(key)) and (found := _KEY.fullmatch(new)):
            alphas[re.escape(found[1])] = _alpha(config, was[1])
    if current.keys() != tensors.keys():
        config = config | {"alpha_pattern": alphas}
    return config, current
