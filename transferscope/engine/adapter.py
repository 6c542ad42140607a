"""An adapter: the LoRA weights of one source and seed, always in PEFT's own file format.

In:   factors from training, or a folder that PEFT or we have written.
Out:  a folder that `PeftModel.from_pretrained` loads with the same outputs.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.engine.devices import sent
from transferscope.engine.linears import language_linears
from transferscope.engine.lora import Stack
from transferscope.engine.loss_curve import Curve
from transferscope.engine.vlm import Base
from transferscope.errors import DataError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_KEY = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")

_NOT_RUN = (
    *("use_dora", "modules_to_save", "fan_in_fan_out", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "use_bdlora", "use_qalora"),
)
"""Settings with which an adapter is more than its two factors."""

_STARTS = (None, True, False, "gaussian", "eva", "mica", "orthogonal")
"""What factors may start from: the others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base's
own weights first, and what is saved is of that base."""


_MOST_ALPHA = 1e30
_ENDLESS = re.compile(r"\)[*+?{]|(?:[(*+?{][^(*+?{]*){5}")
"""Patterns on which a search may not end: Python's has no limit of time."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """The LoRA weights from one source and seed."""

    source: str
    seed: int
    config: dict[str, Any]
    """As in `adapter_config.json`."""
    tensors: dict[str, Tensor] = field(repr=False)
    """By PEFT's key, on the CPU."""
    quantization: str | None = None
    """How the base was stored under it in training; kept beside the tensors, as PEFT's
    configuration has no word for it."""
    curve: Curve = field(default_factory=Curve)
    """How it was trained; empty where it comes from a folder."""


def adapter_of(stack: Stack, index: int, job: Any, config: dict[str, Any], base: Base) -> Adapter:
    """One adapter of a stack, copied out.

    Args:
        job: for its `source` and `seed`.
    """
    tensors = {}
    for name, factors in stack.factors.items():
        for letter, factor in zip("AB", factors, strict=True):
            key = f"base_model.model.{name}.lora_{letter}.weight"
            tensors[key] = factor.detach()[index].to("cpu", copy=True)
    return Adapter(job.source, job.seed, config, tensors, base.quantization)


def peft_config(base: Base, recipe: Any, names: Sequence[str]) -> dict[str, Any]:
    """The `adapter_config.json` of a recipe for some linear layers."""
    ends = sorted({name.rpartition(".")[2] for name in names})
    start = names[0].split(".layers.")[0] + ".layers."
    pattern = f"{re.escape(start)}.*\\.({'|'.join(ends)})"
    matched = {name for name, _ in base.model.named_modules() if re.fullmatch(pattern, name)}
    whole = matched == set(names)  # else routers, experts or towers would be adapted with them
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base.name,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "target_modules": pattern if whole else list(names),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
    }


def save_adapter(adapter: Adapter, folder: Path) -> Path:
    """Write an adapter as PEFT does; the folder is there whole or not at all.

    Raises:
        DataError: the folder cannot be written, or training failed.
    """
    from safetensors.torch import save

    folder = Path(folder)
    if adapter.curve.failed:
        raise DataError(f"{folder}: not written: the adapter {adapter.curve.failed}")
    mark = uuid.uuid4().hex
    new, old = folder.with_name(f".new-{mark}"), folder.with_name(f".old-{mark}")
    try:
        new.mkdir(parents=True)
        about = {"format": "pt"}  # alone where it can be: several are written in any order
        if adapter.quantization:
            about["base_quantization"] = adapter.quantization
        (new / WEIGHTS).write_bytes(save(adapter.tensors, metadata=about))
        (new / CONFIG).write_text(json.dumps(adapter.config, indent=2) + "\n", encoding="utf-8")
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


def load_adapter(base: Base, folder: Path, *, source: str = "", seed: int = 0) -> Adapter:
    """Read an adapter that we or PEFT have written.

    Args:
        source: its source; else the name of the folder above, as in `SOURCE/SEED`.

    Raises:
        DataError: files are missing or damaged, the adapter is of a kind that the fleet does not
            run, or it belongs to another base.
    """
    folder = Path(folder)
    config = _read_config(folder)
    read = _read_tensors(folder / WEIGHTS)
    today = _todays_keys(base, read)
    config = _with_todays_names(config, today)
    tensors = {today[key]: its for key, its in read.items()}
    linears = language_linears(base.model)
    shapes = {name: (its.out_features, its.in_features) for name, its in linears.items()}
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found = _KEY.fullmatch(key)
        if not found:
            raise DataError(
                f"{folder / WEIGHTS}: unknown tensor {key!r}; LoRA factors alone are run"
            )
        if not tensor.is_floating_point() or not tensor.float().isfinite().all():
            raise DataError(f"{folder / WEIGHTS}: {key}: expected finite floating-point numbers")
        pairs.setdefault(found[1], {})[found[2]] = tensor
    if not pairs:
        raise DataError(f"{folder / WEIGHTS}: holds no LoRA factor")
    for name, pair in sorted(pairs.items(), key=lambda its: [*shapes, its[0]].index(its[0])):
        if name not in shapes:
            raise DataError(
                f"{folder}: changes {name!r}, no linear layer of {base.name}'s language model; "
                "merge the adapter into a checkpoint and name that"
            )
        rows, columns = shapes[name]
        sizes = {letter: tuple(its.shape) for letter, its in sorted(pair.items())}
        if [len(size) for size in sizes.values()] != [2, 2] or 0 in sizes["A"]:
            raise DataError(f"{folder}: {name}: factors {sizes}; expected two matrices, A and B")
        if sizes["A"][0] != sizes["B"][1]:
            raise DataError(f"{folder}: {name}: factors {sizes} are of different ranks")
        if sizes["A"][1] != columns or sizes["B"][0] != rows:
            raise DataError(
                f"{folder}: of another base than {base.name}: {name} is {rows} x {columns}, "
                f"its factors {sizes}"
            )
    return Adapter(source or folder.resolve().parent.name, seed, config, tensors)


def stacked(base: Base, adapters: Sequence[Adapter]) -> Stack:
    """Adapters of any rank, scaling and layers as one stack with scaling 1.

    Smaller ranks and missing layers are filled with zeros, which changes no output.
    """
    linears = language_linears(base.model)
    parts = [{_KEY.fullmatch(key)[1]: key for key in one.tensors} for one in adapters]  # pyright: ignore[reportOptionalSubscript]
    names = [name for name in linears if any(name in part for part in parts)]
    rank = max((min(its.shape) for one in adapters for its in one.tensors.values()), default=1)
    shapes = {name: (linears[name].out_features, linears[name].in_features) for name in names}
    dtype = torch.promote_types(base.dtype, torch.float32)
    devices = {name: linears[name].weight.device for name in names}
    stack = Stack(shapes, len(adapters), rank, 1.0, dtype=dtype, devices=devices)
    for index, one in enumerate(adapters):
        for name in parts[index]:
            a = one.tensors[f"base_model.model.{name}.lora_A.weight"]
            b = one.tensors[f"base_model.model.{name}.lora_B.weight"]
            into_a, into_b = stack.factors[name]
            into_a[index, : len(a)] = sent(a, into_a.device)
            scaled = sent(b, into_b.device).to(dtype) * _scaling(one.config, name, len(a))
            into_b[index, :, : len(a)] = scaled
    return stack


def _scaling(config: dict[str, Any], name: str, rank: int) -> float:
    """alpha / rank of one layer, with PEFT's exceptions by pattern."""
    return _alpha(config, name) / (rank**0.5 if config.get("use_rslora") else rank)


def _alpha(config: dict[str, Any], name: str) -> float:
    """alpha of one layer, by the first pattern that its name fits."""
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})$", name):
            return value
    return config["lora_alpha"]


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON: {error}") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise DataError(f"{path}: no LoRA adapter; peft_type must be 'LORA'")
    for key in _NOT_RUN:
        if config.get(key):
            raise DataError(f"{path}: {key} is not run by the fleet; merge it into a checkpoint")
    if config.get("bias", "none") != "none":
        raise DataError(f"{path}: bias {config['bias']!r}; only 'none' is run by the fleet")
    if (start := config.get("init_lora_weights")) not in _STARTS:
        raise DataError(
            f"{path}: init_lora_weights {start!r} changes the base's own weights; "
            "merge it into a checkpoint"
        )
    _check_alphas(config, path)
    return config


def _check_alphas(config: dict[str, Any], path: Path) -> None:
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise DataError(f"{path}: alpha_pattern {patterns!r}; expected a number for each pattern")
    alphas: dict[str, Any] = {"lora_alpha": config.get("lora_alpha")}
    alphas |= {f"alpha_pattern.{pattern}": alpha for pattern, alpha in patterns.items()}
    for name, alpha in alphas.items():
        if type(alpha) not in (int, float) or not -_MOST_ALPHA < alpha < _MOST_ALPHA:
            raise DataError(f"{path}: {name} is {repr(alpha)[:60]}; expected a finite number")
    for pattern in patterns:
        if _ENDLESS.search(pattern):
            raise DataError(
                f"{path}: alpha_pattern {pattern[:60]!r}: more than four groups or repetitions, or "
                "a repeated group, may take for ever; name layers instead"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise DataError(f"{path}: alpha_pattern {pattern!r}: no pattern: {error}") from None


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
        raise DataError(f"{path}: numbers of type {error.args[0]} cannot be read") from None


def _todays_keys(base: Base, keys: Iterable[str]) -> dict[str, str]:
    """Keys by today's module names: older transformers left out `language_model`."""
    start = next(iter(language_linears(base.model)), "").split("layers.")[0]
    older = ("base_model.model.model", "base_model.model.language_model.model")
    today = {}
    for key in keys:
        head, middle, tail = key.partition(".layers.")
        old = middle and head in older
        today[key] = f"base_model.model.{start}layers.{tail}" if old else key
    return today


def _with_todays_names(config: dict[str, Any], today: Mapping[str, str]) -> dict[str, Any]:
    """A configuration whose exceptions by layer, which go by the names in its file, hold today."""
    if all(key == new for key, new in today.items()):
        return config
    pairs = [(_KEY.fullmatch(key), _KEY.fullmatch(new)) for key, new in today.items()]
    alphas = {re.escape(new[1]): _alpha(config, key[1]) for key, new in pairs if key and new}
    return config | {"alpha_pattern": alphas}
