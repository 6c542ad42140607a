"""What the engine knows about families of VLMs: one record per family, in one dict.

To give a family a fast path, write a module with a `ForwardPath` and name it here. A family that
is not listed has the defaults of `Family`, and runs on the reference path.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class LinearNames:
    """Patterns of module names by which a model's linear layers are grouped."""

    tower: re.Pattern[str] = re.compile(
        r"vision|visual|image|video|audio|speech|perceiver|resampler|qformer|project(or|ion)"
        r"|connector|aligner|merger|tower|generation|action|^dit$"
    )
    """Parts beside the language model, for models whose `get_decoder` returns the whole model."""
    router: re.Pattern[str] = re.compile(r"router|gate|shared_expert_gate|wg")
    attention: re.Pattern[str] = re.compile(r"attn|attention", re.I)
    mixer: re.Pattern[str] = re.compile(
        r"attn|attention|mixer|conv|mamba|ssm|rnn|recurrent|delta", re.I
    )
    """Token mixers, attention among them."""
    mlp: re.Pattern[str] = re.compile(r"(gate_up|gate|up|down)_proj|w[123]|fc[12]")


@dataclass(frozen=True)
class Family:
    """What differs between families beyond what transformers reports about a model."""

    path: str = "transferscope.engine.reference_path:ReferencePath"
    """The forward path, as `module:class`; imported when a base of the family is first run. All but
    the default encode an image once and keep its features."""
    linears: LinearNames = LinearNames()
    thinking_switches: tuple[str, ...] = ("enable_thinking", "thinking")
    """Variables of chat templates that switch thinking: of Qwen, Gemma, GLM and others; of
    DeepSeek, Kimi and Granite."""
    coordinates: int | None = 1000
    """The largest coordinate with which a reply names a place in an image, at the right and lower
    edges; None: the pixels of the resized image. Documented for Qwen2-VL, Qwen2.5-VL (pixels),
    Qwen3-VL, InternVL, GLM-4.xV and Gemma 4; for others the default is our choice."""
    y_first: bool = False
    """Whether a reply names y before x, as Gemma does: Google's answer in discussion 38 of
    google/gemma-3-4b-it ("likely follows the same format as the Gemini models"); for Gemma 4 its
    replies in Hugging Face's "Welcome Gemma 4", and FiftyOne's model (github.com/Burhan-Q/gemma4),
    which has [y1, x1, y2, x2] for boxes and [y, x] for points."""
    image_tokens: tuple[str, ...] = ("image_token_id", "video_token_id")
    """Settings of the configuration that name the tokens of images and videos."""

    @property
    def own_path(self) -> bool:
        """Whether the family has a path of its own."""
        return self.path != Family.path


OTHER = Family()
"""Any family that is not listed."""

_QWEN = "transferscope.engine.qwen_path:QwenPath"

GLIMPSE = "glimpse"
"""The embedded bases: a qwen2_5_vl by `model_type`, known by shape and tokenizer."""

FAMILIES: dict[str, Family] = {
    GLIMPSE: Family(
        path="transferscope.engine.glimpse.glimpse_path:GlimpsePath",
        coordinates=12,  # the numbers in its vocabulary
    ),
    "qwen2_vl": Family(path=_QWEN),
    "qwen2_5_vl": Family(path=_QWEN, coordinates=None),
    "qwen3_vl": Family(path=_QWEN),
    "gemma3": Family(y_first=True),
    "gemma4": Family(y_first=True),
}
"""Families by `model_type`, as a model's configuration names it."""


def family_of(config: object) -> Family:
    """The family of a transformers configuration."""
    return FAMILIES.get(getattr(config, "model_type", ""), OTHER)
