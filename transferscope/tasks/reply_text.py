"""The text of a reply that may hold its answer: without thinking, other turns and formatting."""

import re
import unicodedata

LONGEST = 20_000
"""Characters of a reply that are read, after its thinking: the first and the last half of them."""

_THINKING = re.compile(
    r"(<think(?:ing)?>|<reasoning>|◁think▷|\[THINK\]|<\|channel\|>analysis<\|message\|>)"
    r"|</think(?:ing)?>|</reasoning>|◁/think▷|\[/THINK\]|<\|channel\|>final<\|message\|>",
    re.I,
)
_BOX = re.compile(r"\\f?boxed\b|<\|begin_of_box\|>")
_TURN = re.compile(
    r"(?:^|(?<=[\n>\]]))[ #]{0,5}(?i:(assistant|model|gpt)|user|human|system)\s*[:\n]"
    r"|(?<=\s)(?:(ASSISTANT)|USER):"
)
"""The start of a speaker's turn; a group matches where the speaker is the model."""
_TOKEN = re.compile(r"<(?![A-J]>)[/|]?[A-Za-z][^<>\n]{0,40}>|\[/?INST\]")
MARKUP = re.compile(
    r"\\(?:text|math|display)?(?:bf|it|rm|sf|tt|style)?(?![a-z])|\\|[*`$\"{}«»「」『』【】]+"
    r"|(?<![A-Za-z])'|'(?![A-Za-z])|^[ \t]*[#>]+|[\ue000-\uf8ff]",
    re.M,
)
SAME = str.maketrans("‘’“”İ_", "''\"\"I ")
"""Characters that mean the same here; each is replaced by one other."""


def answer_text(reply: str) -> str:
    """The reply after its thinking, without the marks that only format it."""
    after, opened = 0, None
    for tag in _THINKING.finditer(reply):
        if tag[1] is None:
            after, opened = tag.end(), None
        elif opened is None:
            opened = tag.start()
    text = reply[after:]
    if opened is not None and not text.rstrip().lower().endswith("</answer>"):
        text = reply[after:opened]
    text = re.split("<answer>", text, flags=re.I)[-1]
    text = re.split("</answer>", text, maxsplit=1, flags=re.I)[0]
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    text = unicodedata.normalize("NFKC", _BOX.sub(" answer: ", text)).translate(SAME)
    # The prompt may stand before the model's turn, and made-up turns after it.
    first, *rest = _TURN.split(re.sub(r"\\n(?![a-z])", "\n", text))
    turns = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    own = [first, *(turn for model, vicuna, turn in turns if model or vicuna)]
    text = MARKUP.sub("", next(filter(str.strip, (_TOKEN.sub(" ", turn) for turn in own)), ""))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
