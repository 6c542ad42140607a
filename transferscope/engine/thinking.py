"""Models that think before they answer: switched off where their chat template can do so, and known
where a prompt leaves them in the middle of a thought.

An answer stands where thinking has ended. Option tokens scored, or trained, inside an open thinking
block are at the wrong place.
"""

import re
from typing import Any

from transferscope.errors import StudyError

SWITCHES = ("enable_thinking", "thinking")
"""What chat templates call it: Qwen, Gemma, GLM and others; DeepSeek, Kimi and Granite."""

_OPEN = re.compile(
    r"<[\w:]*(?:think|thought|reason)\w*>|\[think\]|◁think▷|<unused94>"
    r"|<\|channel\|?>\s*(?:thought|thinking|analysis)"
    r"|<\|(?:start_|begin_)?(?:of_)?(?:think|thought)(?!\w*end)\w*\|>",
    re.I,
)
_CLOSED = re.compile(
    r"</[\w:]*(?:think|thought|reason)\w*>|\[/think\]|◁/think▷|<unused95>"
    r"|<channel\|>|<\|end\|>|<\|channel\|>\s*final"
    r"|<\|(?:end_|/)(?:of_)?(?:think|thought)\w*\|>|<\|(?:think|thought)\w*end\|>",
    re.I,
)


def set_thinking(processor: Any, on: bool) -> str:
    """Have a processor's chat template let the model think, or not.

    Returns:
        What was put in front of the template; empty where it knows no switch.
    """
    templates = processor.chat_template
    several = isinstance(templates, dict)
    text = "\n".join(templates.values()) if several else templates
    known = [name for name in SWITCHES if re.search(rf"(?<![\w.'\"]){name}\b(?!['\"])", text)]
    lines = "".join(f"{{%- set {name} = {str(on).lower()} %}}" for name in known)
    if known and several:
        processor.chat_template = {name: lines + its for name, its in templates.items()}
    elif known:
        processor.chat_template = lines + templates
    return lines


def prompt_end(processor: Any) -> str:
    """What a chat template writes between a question and the place where the reply begins."""
    chat = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    whole = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return whole.rpartition("?")[2]


def open_block(text: str) -> str:
    """The tag that opens a thinking block and is not closed later in a text; empty: none is."""
    opened = [*_OPEN.finditer(text)]
    closed = max((its.end() for its in _CLOSED.finditer(text)), default=0)
    return opened[-1][0] if opened and opened[-1].start() >= closed else ""


def after_block(text: str) -> str:
    """What follows the last thinking block that is closed in a text."""
    return text[max((its.end() for its in _CLOSED.finditer(text)), default=0) :]


def refuse_open_block(base: Any, what: str) -> None:
    """Refuse what must not be done where prompts end inside an open thinking block.

    Args:
        what: as the end of "where ..".

    Raises:
        StudyError: they do.
    """
    tag = open_block(prompt_end(base.processor))
    if not tag:
        return
    remedy = "its chat template has no switch that closes it, such as enable_thinking"
    if base.thinking:
        remedy = "set thinking: false for this model"
    raise StudyError(
        f"{base.name}: prompts end inside an open thinking block ({tag}), where {what}; {remedy}"
    )
