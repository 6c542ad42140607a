"""The words that are out: a reader should meet the field's terms, not a dialect.

Read in every identifier, string, comment and page. The left column is what to write instead.
"""

import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

INSTEAD = {
    "reports, gives, shows, is": ("told", "tells", "said", "says", "nobody"),
    "evaluated, evaluation items": ("asked",),
    "training set": ("lesson", "lessons"),
    "adapter group": ("squad", "crew"),
    "is, is beside": ("lies",),
    "for any, every": ("whatever",),
    "vision cache": ("eyes",),
    "run state, items, profiling": ("ledger", "shelf", "desk", "standing"),
    "remaining": ("what is left",),
    "available": ("at hand", "there is none", "to be had"),
    "at most": ("no more than",),
    "examined, encoded": ("looked at",),
    "a noun": ("its_.*",),
}
"""{what to write instead: words and phrases that are out}"""

OUT = re.compile(
    r"\b(?:" + "|".join(word for words in INSTEAD.values() for word in words) + r")\b",
    re.IGNORECASE,
)


def complaints(path: Path) -> list[str]:
    """Words that are out, with file and line; in code, identifiers count as their parts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1)]
    else:
        with path.open(encoding="utf-8") as file:
            lines = [
                (token.start[0], token.string)
                for token in tokenize.generate_tokens(file.readline)
                if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT)
            ]
    found = []
    for number, line in lines:
        parts = line if line.startswith("its_") else line.replace("_", " ")
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match[0]!r}"
            for match in OUT.finditer(" ".join(parts.split()))
        ]
    return found


def pages() -> list[Path]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    code = (ROOT / "transferscope").rglob("*")
    found += [path for path in code if path.suffix in (".py", ".jinja", ".js")]
    return [path for path in found if path.name != "vega.js"]  # not ours


def test_no_word_that_is_out_is_used():
    assert [line for path in pages() for line in complaints(path)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("its_letters = letters  # as told\n", ["its_letters", "told"]),
        ("'''What is\nleft of it.'''\n", ["What is left"]),
        ("asked_items = task.items\n", ["asked"]),
        ("label, task = 1, 'soldier'\n", []),
    ],
)
def test_a_word_that_is_out_is_found(tmp_path, monkeypatch, text, words):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "a.py"
    file.write_text(text, encoding="utf-8")
    assert [line.rpartition(": ")[2].strip("'") for line in complaints(file)] == words
