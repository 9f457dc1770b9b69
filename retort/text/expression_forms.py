r"""One form for what is written in several: boxes, matrices, equations either way round, alternatives, degrees, words.

Everything here keeps an expression's value; what is left is compared by `retort.text.latex` and by algebra.
"""

from __future__ import annotations

import re
from itertools import pairwise

from retort.text.number_words import MAGNITUDES, read_words
from retort.text.numerals import prepare
from retort.text.quantities import read_quantity

_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_MATRIX = re.compile(r"\\(begin|end)\{(?:b|B|small|psmall)?matrix\}")
_ARRAY = re.compile(r"[\[(]\s?\\begin\{array\}\s?\{[clr| ]{0,40}\}(.*?)\\end\{array\}\s?[\])]", re.DOTALL)
_EQUATION = re.compile(r"([^=<>]{1,400}[^=<>\\:!])=([^=<>]{1,400})")
_VARIABLE = re.compile(r"\s*[A-Za-z](?:_\{?\w\}?)?\s*")
_OR = re.compile(
    r"\s*,?\s*(?:\\(?:text|mathrm|mbox|textrm)\s?\{\s*,?\s*(?:or|and)\s*\}|\\lor\b|\\vee\b|\b(?:or|and)\b)\s*|\s*[,;]\s*"
)
_JOINED = re.compile(r"(?:\b|\{\s?)(?:or|and)\b|\\lor\b|\\vee\b")
_VALUE = re.compile(r"[\d\\=]")
_PERCENT = re.compile(r"\s*(?:\\text\s?\{\s*)?\b(?:percent|per cent)\b\}?")
_ASSIGNED = re.compile(r"\s*(?P<name>[A-Za-z](?:_\{?\w\}?)?)\s*=\s*(?P<value>[^=<>]+)")
_TRIG = re.compile(
    r"(?P<function>\\?(?:sin|cos|tan|cot|sec|csc))\s*[({]?\s*(?P<degrees>\d{1,4}(?:\.\d{1,6})?)\s*"
    r"(?:\^\{?\s?\\circ\s?\}?|\u00b0|\\degree)\s*[)}]?"
)
_SCALED = re.compile(
    rf"-?\d[\d,.]*\s*(?:\\text\s?\{{\s*)?(?:{'|'.join(sorted(MAGNITUDES, key=len, reverse=True))})\b\}}?", re.IGNORECASE
)
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s?\{([^{}]*)\}")
_MODULUS = re.compile(
    r"(?P<value>[^()]{1,200}?)\s*(?:\\pmod\s?\{?\s?(?P<a>\w{1,20})\s?\}?|\(?\s?(?:\\(?:text|mathrm)\s?\{\s*\(?\s*mod\s*\}"
    r"|\\?b?mod\b)\s*(?P<b>\w{1,20})\s*\))\s*"
)
_MONEY = {"\\$": "dollar", "\u20ac": "euro", "\u00a3": "pound", "\u00a5": "yen", "\\euro": "euro", "\\pounds": "pound"}
_PRICED = re.compile(rf"(?P<sign>-?)\s?(?P<money>{'|'.join(map(re.escape, _MONEY))})\s?(?P<rest>-?[\d.].*)", re.DOTALL)


def one_form(plain: str) -> str:
    """The expression in one form.

    Args:
        plain: LaTeX without dollars around it.
    """
    text = unboxed(plain)
    text = _MATRIX.sub(r"\\\1{pmatrix}", _ARRAY.sub(r"\\begin{pmatrix}\1\\end{pmatrix}", text))
    text = _TRIG.sub(r"\g<function>(\\frac{\g<degrees>\\pi}{180})", text)
    return _alternatives(_turned(_PERCENT.sub(r"\\%", text)))


def unboxed(text: str) -> str:
    r"""What a `\boxed{}` around all of the text holds."""
    match = _BOX.match(text)
    while match and text.endswith("}") and _closes_at_the_end(text, match.end() - 1):
        text = text[match.end() : -1].strip()
        match = _BOX.match(text)
    return text


def _closes_at_the_end(text: str, start: int) -> bool:
    depth = 0
    for place in range(start, len(text)):
        if text[place] in "{}" and (place == 0 or text[place - 1] != "\\"):
            depth += 1 if text[place] == "{" else -1
            if not depth:
                return place == len(text) - 1
    return False


def _turned(text: str) -> str:
    """5 = x and 2x + 1 = y as x = 5 and y = 2x + 1."""
    match = _EQUATION.fullmatch(text)
    if match and _VARIABLE.fullmatch(match[2]) and not _VARIABLE.fullmatch(match[1]):
        return f"{match[2].strip()} = {match[1].strip()}"
    return text


def _alternatives(text: str) -> str:
    """1, 2 for what says "x = 1 or x = 2" or "1 and 2"; other variables keep their names."""
    if not (_JOINED.search(text) or text.count("=") > 1) or any(sign in text for sign in "<>"):
        return text
    parts = _OR.split(text)
    if len(parts) < 2 or not all(_VALUE.search(part) and part.count("{") == part.count("}") for part in parts):
        return text
    assigned = [_ASSIGNED.fullmatch(part) for part in parts]
    names = {match["name"] for match in assigned if match}
    if not names and not any("=" in part for part in parts):
        return ", ".join(part.strip() for part in parts)
    if (
        len(names) == 1
        and assigned[0]
        and all(match or "=" not in part for match, part in zip(assigned, parts, strict=True))
    ):
        return ", ".join(
            (match["value"] if match else part).strip() for match, part in zip(assigned, parts, strict=True)
        )
    return text


def number_in_words(plain: str) -> str:
    """Numbers of words, or before a word of magnitude, in digits: "five", "3 million", r"5\\text{ million}"."""
    bare = " ".join(_TEXT.sub(r" \1 ", plain).split())
    words = read_words(bare, 0, len(bare)) if bare[:1].isalpha() else None
    if words is not None and words.end == len(bare):
        return (
            f"\\frac{{{words.value.numerator}}}{{{words.value.denominator}}}"
            if words.value.denominator > 1
            else str(words.value)
        )
    if _SCALED.match(plain):
        prepared = prepare(bare)
        found = read_quantity(prepared, 0, len(bare))
        if found is not None and not found.percent:
            return f"{found.value}{bare[found.end :]}"
    return plain


def modulus(plain: str) -> tuple[str, str]:
    """A residue without its modulus, and the modulus as a unit: "mod 7"."""
    match = _MODULUS.fullmatch(plain)
    return (match["value"].strip(), f"mod {match['a'] or match['b']}") if match else (plain, "")


def money(plain: str) -> tuple[str, str]:
    """An amount without the sign of its currency before it, and the currency as a unit."""
    match = _PRICED.fullmatch(plain)
    return (f"{match['sign']}{match['rest']}", _MONEY[match["money"]]) if match else (plain, "")


def brackets(text: str) -> str:
    r"""Kind of the brackets around a list: `{}`, `()`, `[)` ...; empty where there are none, or no list inside."""
    text = text.strip()
    opened = "{" if text.startswith("\\{") else text[:1]
    closed = "}" if text.endswith("\\}") else text[-1:]
    inner = text[2:-2] if opened == "{" else text[1:-1]
    if opened not in tuple("({[") or closed not in tuple(")}]") or "," not in inner:
        return ""
    depth, least = 0, 0
    for before, sign in pairwise(f" {inner}"):
        if before != "\\" or sign in "()[]":
            depth += (sign in "([") - (sign in ")]")
        least = min(least, depth)
    return opened + closed if least == 0 else ""
