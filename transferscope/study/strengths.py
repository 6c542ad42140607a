"""LoRA's alpha at another strength, and the adapters of which alpha scales only a part.

Needs no torch: the study file, the engine and `export-adapter` ask it.
"""

from collections.abc import Mapping
from typing import Any

from transferscope.errors import DataError

STARTS = (None, True, False, "gaussian", "eva", "mica", "orthogonal")
"""Values of PEFT's `init_lora_weights` with which the base's weights stay. With the others the
adapter belongs to weights that were changed first."""

_BESIDE = (
    *("use_dora", "modules_to_save", "trainable_token_indices"),
    *("kasa_config", "layer_replication"),
)
"""Settings that change the base beside alpha: DoRA's magnitudes, say, stay as they were trained."""


def beyond_alpha(config: Mapping[str, Any]) -> str:
    """The setting of an adapter with which alpha does not scale all of its change to the base, so
    that at a small strength it is no small change, and why; empty where alpha scales all."""
    if (start := config.get("init_lora_weights")) not in STARTS:
        return f"init_lora_weights {start!r}, which changes the base's own weights"
    bias = ("bias",) if config.get("bias", "none") != "none" else ()
    found = next((name for name in (*bias, *_BESIDE) if config.get(name)), "")
    return found and f"{found}, which LoRA's alpha does not scale"


def scaled_config(config: Mapping[str, Any], strength: float) -> dict[str, Any]:
    """An adapter's configuration with every alpha times `strength`.

    Raises:
        DataError: alpha does not scale all that the adapter changes.
    """
    if why := beyond_alpha(config) if config else "a whole model":
        raise DataError(f"strength {strength:g}: must be 1 with {why}")
    patterns = {name: strength * one for name, one in (config.get("alpha_pattern") or {}).items()}
    alphas = {"lora_alpha": strength * config["lora_alpha"], "alpha_pattern": patterns}
    return {**config, **alphas}
