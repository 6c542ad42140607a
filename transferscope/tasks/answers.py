"""Read the option that a reply names as the answer.

A reply is read in three steps:

1. Thinking, special tokens, other speakers' turns, markdown, LaTeX and JSON are removed.
2. Each mention of an option, by its letter or its text, becomes one character.
3. The reply is cut into clauses. A clause *labels* the answer ("Answer: B"), *states* it with a
   word such as "answer" or "choose", or *concludes* with "therefore" or as nothing but an option.
   The last label counts, else the last statement, else the last conclusion. Without any, the reply
   must mention a single option in all, or in its first sentence.

Negated mentions and lists of all options do not count. A statement that names several options, or
one that the item does not have, names none. Nothing is guessed.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from transferscope.tasks import LETTERS
from transferscope.tasks.reply_text import MARKUP, SAME, answer_text

_OUTER = " .,:;!?"

# Step 2: one character for each mention, whose low byte is the option's index.
_TEXT, _FORM, _BARE = 0xE000, 0xE100, 0xE200
"""An option's text; a letter as only options have it, such as `(B)`; a letter alone."""
_M = "[\ue000-\ue2ff]"
_NO_OPTION = 0xFF
_LATIN = r"[0-9A-Za-z\u00c0-\u1fff]"
_SEEMS = re.compile(
    r"\b(?:is|appears|seems|looks)(?: to be)?(?: (?:slightly|much|likely|clearly|actually))?(?= \w)"
)
_LETTER = re.compile(
    r"[(\[<]\s?(?P<form>[A-Ja-j])\s?[)\]>](?<!\w...)"
    r"|^\(?(?P<entry>[A-Ja-j])(?=[).:、]\W|[).:]?\s*$|\s[-–—]\s)"
    r"|(?:[:=]|is |answer |option )\s*(?P<small>[a-j])(?=[^\w\ue000-\ue2ff]*$)"
    rf"|(?P<bare>[A-J])(?<!{_LATIN}.)(?<!{_LATIN}-.)(?!['-]?{_LATIN}|\.[A-Z]\b)",
    re.M,
)
_OPTION = re.compile(
    r"(?:option|choice|letter|alternativ[ea]|opci[oó]n|opção|opzione|选项|選項)\s*:?\s*\(?$", re.I
)
_ARTICLE = re.compile(
    r"[Aa] (?!(?:is|are|was|has|have|would|will|can|does|should|could|must|may|might|because|since"
    r"|as|and|or|but|while|which|due|in|on|at|for|with|to|from|by|than|not|if|when|that|ist|und"
    r"|oder|est|et|ou|es|y|o)\b)[a-z\ue000-\ue0ff]"
)
"""`A` before a word that cannot follow the name of an option."""
_PRONOUN = re.compile(r"I(?!\s*(?:[.):]|$))")
_LETTER_AND_TEXT = re.compile(r"([\ue100-\ue2ff])[\s.):,、–—-]*([\ue000-\ue0ff])")

# Step 3: clauses, and what makes one a statement.
_CUT = re.compile(
    rf"(?P<end>\n+|[.!?;](?=\s|$)|。)|,(?!\s*(?:and|or|und|oder|et|ou|y|o|e)?\s*{_M})\s*|[()]"
    r"|\s[-–—]+\s|\s(?=(?:because|since|while|whereas|although|though|but|if|when|which|where|so"
    r"|therefore|thus|hence|weil|denn|aber|porque|pero|parce|mais)\b)|(?=因为|因為|所以|因此|但)"
)
_FILLER = r"(?:(?:but|the|an?|option|choice|letter|point|image|picture|box|figure)\s+)*"
_ANSWER = re.compile(
    r"answer(?! (?:choice|option)s)|(?<!in)correct|\bright (?:option|choice|one)|\bselect"
    r"|\bcho(?:ose|ice is|sen?\b)|\bpick(?:ed|ing)?\b|\bgo with|\bopt for|\bfinal\b"
    r"|\bbest (?:option|choice|match)|conclu(?:de|sion)|\blean(?:ing)? towards?"
    r"|antwort|richtig|wähl|réponse|bonne|choisi|respuesta|elijo|escolho|scelgo|выбира"
    r"|resposta|corret[ao]|rispost|antwoord"
    r"|odpowied|odpověď|svar\b|vastaus|cevap|doğru|ответ|правильн|відповідь|đáp án|jawaban|benar"
    r"|答|正确|正確|正解|选|選|정답|답|उत्तर|إجابة|جواب|คำตอบ|תשובה|απάντηση"
)
_LABEL = re.compile(rf"(?:{_ANSWER.pattern})\w*\s*:\W*{_FILLER}{_M}")
_SO = re.compile(
    r"\W*(?:so|therefore|thus|hence|overall|finally|ultimately|accordingly|consequently|based on"
    r"|in (?:conclusion|summary|short)|(?:i|we) (?:\w+ )?(?:think|believe|say|guess)|daher|donc"
    r"|por (?:lo )?tanto|portanto|quindi|поэтому|따라서|所以|因此|故|したがって|よって)(?![a-z])"
)
_LEADING = re.compile(rf"\W*{_FILLER}{_M}(?:(?:\W|\b(?:and|or|und|oder)\b)*{_M})*\W*")
_LAST = re.compile(rf"{_M}\W{{0,9}}$")
_IS_LAST = re.compile(
    rf"(?:\b(?:is|be|are|was|es|est|ist|sei|é)\b|[:=]|是|为|為|->|→)\W{{0,9}}"
    rf"(?:(?:most )?(?:likely|probably|clearly|definitely|indeed|simply)\W)?{_FILLER}{_M}\W{{0,9}}$"
)
_DESCRIBED = re.compile(r"\W*(?:also )?(?:is|are|was|has|have|shows?|does|could|would|might)\b")
_NOT_AT_ALL = re.compile(
    r"\b(?:is|are|was|be|does|do|did|can|could|would|should|may|might)(?:n't| not)\b|\bcannot\b"
    r"|\bincorrect|\bwrong|\b(?:rul(?:e|ed|ing) out|eliminat|exclud|reject)|\bneither\b|\bnone of\b"
    r"|不是|不对|错|아니"
)
_NOT = re.compile(
    r"\bnot\b|\bnor\b|n't\b|\b(?:rather )?than\b|\binstead of\b|\bunlike\b|\bcompared (?:to|with)\b"
    r"|\bversus\b|\bvs\b|\bnicht\b|\bkein|\bni\b|\bpas\b|ではな"
)
_REFUSES = re.compile(
    r"\b(?:cannot|can't|unable to|impossible to|not possible to|not able to)\b[^.\n]{0,40}"
    r"\b(?:determine|identify|tell|select|choose|answer|say|decide)\b"
)
_SETUP = re.compile(r"\W*(?:in|on|from|at|to|looking|let)\b")

_LABELLED, _STATED, _CONCLUDED, _MENTIONED = 4, 3, 2, 1


class _Clause(NamedTuple):
    """The options that a clause names, and how plainly it gives them as the answer."""

    level: int
    named: frozenset[int]
    entry: bool = False
    """Whether it stands at the beginning of a line, as an entry of a list does."""
    opens: bool = False
    """Whether it belongs to the first sentence of the reply."""


def read_reply(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the option that a reply names as its answer; None where it names none.

    The choices' texts are "" where only the number of options is known.
    """
    text = answer_text(reply)
    texts, forms = _forms(tuple(choices))
    whole = text.lower().strip(_OUTER)
    if whole in texts and not re.fullmatch(r"\W*[A-J]\W*", text):
        return texts.index(whole) if texts.count(whole) == 1 else None
    marked = _SEEMS.sub("is", text)
    for form, mark in forms:
        marked = _replaced(marked, form, mark)
    marked = _LETTER.sub(_letter_mark, marked)
    # A letter counts before the text behind it, as in all harnesses: "(B) left" is B.
    marked = _LETTER_AND_TEXT.sub(lambda m: chr(_FORM + (ord(m[1]) & 0xFF)), marked).lower()
    clauses = [each for each in _clauses(marked) if each.named]
    every = frozenset(range(len(choices)))
    plain = [each for each in clauses if each.level > _MENTIONED and each.named != every]
    if plain:
        level = max(each.level for each in plain)
        stated = [each.named for each in plain if each.level == level]
        # An answer may be revised; one that goes through the options gives none of them.
        named = stated[-1] if len(set(stated)) < 3 else frozenset[int]()
    elif _REFUSES.search(marked):
        return None
    else:
        named = frozenset[int]().union(*(each.named for each in clauses))
        if len(named) > 1:
            named = frozenset[int]().union(*(each.named for each in clauses if each.opens))
    return next((index for index in named if len(named) == 1 and index < len(choices)), None)


@lru_cache
def _forms(choices: tuple[str, ...]) -> tuple[list[str], list[tuple[str, str]]]:
    """The options' texts as they are compared; and all forms of them, the longest first, each with
    the character that takes its place in a reply."""
    cleaned = (MARKUP.sub("", unicodedata.normalize("NFKC", c).translate(SAME)) for c in choices)
    texts = [" ".join(text.lower().split()).strip(_OUTER) for text in cleaned]
    found: dict[str, str] = {}
    for index, text in enumerate(texts):
        if len(text) > 1 or text.isdigit():
            # "Yes" and "no" are forms, not texts: they answer wherever they stand first.
            kind = _FORM if text in ("yes", "no") else _TEXT
            mark = chr(kind + (index if texts.count(text) == 1 else _NO_OPTION))
            bare = text[2:] if _ARTICLE.match(text) else re.sub(r"^(?:the|an) ", "", text)
            found |= {text: mark, bare: found.get(bare, mark)}
    return texts, sorted(found.items(), key=lambda pair: -len(pair[0]))


def _replaced(text: str, form: str, mark: str) -> str:
    """The text with a mark in place of each `form` that stands there as whole words."""
    lower, parts, start = text.lower(), [], 0
    for found in re.finditer(re.escape(form), lower):
        at, end = found.span()
        before, after = lower[max(at - 2, 0) : at], lower[end : end + 3]
        edges = ((before[-1:], form[0]), (form[-1], after[:1]))
        # Two characters below U+2E80 belong to one word; scripts such as Chinese have no words.
        part = any(a.isalnum() and b.isalnum() and max(a, b) < "\u2e80" for a, b in edges)
        if form.isdigit():  # 5 is not in 5.5, nor in -5
            part |= bool(re.match(r"[.,:/]\d", after) or re.search(r"\d[.,:/]$|-$", before))
        part |= form == "no" and bool(re.match(r"\s(?!or\b)\w", lower[end : end + 4]))  # "no car"
        if not part:
            parts += [text[start:at], mark]
            start = end
    return "".join([*parts, text[start:]])


def _letter_mark(found: re.Match[str]) -> str:
    """The mark of an option's letter; what was found where it is a word."""
    text, start, kind = found.string, found.start(), found.lastgroup
    letter = found[kind or 0]
    before = found[0].removesuffix(letter) if kind == "small" else ""
    form = kind in ("form", "entry") or _OPTION.search(text, max(0, start - 16), start)
    if kind == "bare" and not form and (_ARTICLE.match(text, start) or _PRONOUN.match(text, start)):
        return letter
    return f"{before}{chr((_FORM if form else _BARE) + LETTERS.index(letter.upper()))} "


def _clauses(text: str) -> list[_Clause]:
    """The clauses that mention an option; the entries of a list, line after line, are one."""
    clauses: list[_Clause] = []
    start, line, before = 0, 0, list[str]()  # `before`: the sentence's clauses, without mentions
    fresh, opening = True, _SETUP.match(text) is None
    listed: tuple[int, int] | None = None  # the last entry: its place in `clauses`, its line
    for cut in [*_CUT.finditer(text), None]:
        clause = text[start : cut.start() if cut else len(text)]
        end = (cut and cut["end"]) or ""
        if re.search(_M, clause):
            whole = fresh and (cut is None or bool(end) or cut[0].isspace() or start == 0)
            found = _clause(clause, before, start == 0 or text[start - 1] == "\n", whole)
            if found.entry and listed and listed[1] == line - 1:
                last = clauses.pop(listed[0])
                alike = last.named == found.named
                level = max(last.level, found.level) if alike else _MENTIONED
                found = _Clause(level, last.named | found.named, True)
            if found.entry:
                listed = len(clauses), line
            clauses.append(found._replace(opens=opening and not found.entry))
            before = []
        elif clause.strip():
            before.append(clause)
        if end:
            before = before[-1:] if end[0] == "\n" else []
            opening = False
            line += end.count("\n")
        fresh = cut is not None and (bool(end) or cut[0].isspace())
        start = cut.end() if cut else start
    return clauses


def _clause(clause: str, before: Sequence[str], starts_line: bool, whole: bool) -> _Clause:
    """The options that one clause names, and how plainly; `whole` if it is a sentence by itself.

    The clauses `before` lead to it, such as "therefore" or a line "Answer:".
    """
    if _NOT_AT_ALL.search(clause):
        return _Clause(_MENTIONED, frozenset())
    negated = _NOT.search(clause)
    clause = clause[: negated.start() if negated else None]
    if answer := _ANSWER.search(clause):
        level = _LABELLED if _LABEL.search(clause) else _STATED
        return _Clause(level, _options(clause[answer.end() :]) or _options(clause))
    leading = _LEADING.match(clause)
    if leading and before and _ANSWER.search(before[-1]) and not _NOT_AT_ALL.search(before[-1]):
        level = _LABELLED if before[-1].rstrip().endswith(":") else _STATED
        return _Clause(level, _options(leading[0]), starts_line)
    concludes = _SO.match(clause) or any(map(_SO.match, before))
    alone = leading and leading.end() == len(clause) and whole
    if leading and (alone or (starts_line and "\ue100" <= leading[0].lstrip()[:1] <= "\ue1ff")):
        plain = alone or concludes or not _DESCRIBED.match(clause, leading.end())
        return _Clause(_CONCLUDED if plain else _MENTIONED, _options(leading[0]), starts_line)
    named = _options(re.sub("[\ue200-\ue2ff]", "", clause))
    if last := (_LAST if concludes else _IS_LAST).search(clause):
        named |= _options(last[0])
    return _Clause(_CONCLUDED if last or concludes else _MENTIONED, named)


def _options(clause: str) -> frozenset[int]:
    return frozenset(ord(mark) & 0xFF for mark in re.findall(_M, clause))


def is_final(reply: str) -> bool:
    """Whether generation may stop: the reply begins with an option in parentheses."""
    return re.match(r"\W*\([A-J]\)", reply.strip()) is not None
