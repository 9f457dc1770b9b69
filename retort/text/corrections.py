"""Which of several claims of a response counts: a correction has a reason, a change without one is none.

A response corrects itself by going on to reason ("wait", a calculation, "however") and then names another letter.
Some chat models, asked with solved examples before the question, answer it ("... The answer is (D).") and then go on
as if they had been asked several questions: "Now, combining all the answers: The answer is (F)." Nothing between
the two speaks for F, so D counts. What announces an answer is no reason, in whatever language; a sentence about the
matter is one, and so is a word that takes back what was said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from retort.text.claims import Claim

_TAKES_BACK = re.compile(
    r"\b(?:wait|hmm+|oops|however|actually|apologi[sz]e|sorry|mistake|mistaken|misread|error|incorrect|wrong"
    r"|correction|"
    r"instead|rather|reconsider\w*|re-?check\w*|double-?check\w*|check(?:ing)? again|recalculat\w*|on second thought|"
    r"second look|closer look|upon (?:further|closer)|further review|not correct|not true|closest|most (?:accurate"
    r"|appropriate|precise|"
    r"likely|suitable|fitting)|but since|no,|nope|no option|none of|not (?:in|among) the|scratch that"
    r"|let me (?:re|check|verify)|pero|mais|aber|sin embargo|cependant|"
    r"jedoch|perd\u00f3n|d\u00e9sol\u00e9|no es correct\w*)(?!\w)"
    r"|\u4f46\u662f|\u4e0d\u8fc7|\u7136\u800c|\u7b49\u7b49|\u9519|\u4fee\u6b63",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"(?:\b(?:because|since|as (?:it|the|this|that|they)|due to|given that|which (?:is|are|would))\b|\u56e0\u4e3a)",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\b(?:not (?:the )?(?:correct|right|answer)|incorrect|wrong)\b", re.IGNORECASE)
_ANNOUNCES = re.compile(
    r"\b(?:answers?|final|finally|summar\w+|conclu\w+|combin\w+|questions?|choices?|options?|overall|together|"
    r"respuesta|r\u00e9ponse|antwort|risposta|resposta|\u043e\u0442\u0432\u0435\u0442\w*|respond\w*|in short"
    r"|in mind|result|based on|reasoning|analysis|consider\w*|above|explanations?|steps)\b"
    r"|\u7b54\u6848|\u7efc\u4e0a|\u603b\u7ed3|\u6700\u7ec8|\u7b54\u3048|\uc815\ub2f5",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;:])[\s*_`\"')\]]{1,8}|\n+|(?<=[\u3002\uff01\uff1f\uff1b\uff1a])")
_LIST_ITEM = re.compile(
    r"[\s*_>#-]{0,6}(?:\d{1,2}|[A-Ja-j])[.):][\s*_(]{0,6}(?:[A-J]\b|answer\b|the answer\b)", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_FORMULA = re.compile(r"[\w)}]\s{0,2}(?:=|\\approx|\u2248|\\times|\\cdot|[<>\u2264\u2265])\s{0,2}[-\\\w({$]")
_DECLINES = re.compile(
    r"(?:cannot|can't|can not|unable to|not possible to)\s(?:\w+\s){0,4}?(?:answer\w*|solution)\s(?:\w+\s){0,4}?"
    r"(?:last|sixth|final|that|this|6)\b"
    r"|answers? (?:for|to) (?:only )?(?:the )?(?:first|previous|other)(?: five| four)?(?: questions| are)?\b",
    re.IGNORECASE,
)
_SUMS_UP = re.compile(
    r"\b(?:combin|summari[sz]|collect)\w*\b[^.\n]{0,60}\banswers?\b|\banswers?\b[^.\n]{0,30}\b(?:each|all"
    r"|every)\b[^.\n]{0,20}"
    r"\bquestions?\b|\u603b\u7ed3[^\n]{0,20}\u7b54\u6848|(?:\u6240\u6709|\u4ee5\u4e0a)[^\n]{0,10}\u7b54\u6848",
    re.IGNORECASE,
)
"""What begins the answers to several questions; the first of them has been answered."""
_OPTION_BEHIND = re.compile(r"[.:][*_]{0,2}[ \t][^\n]{0,600}\n")
_OPTION_LINE = re.compile(r"^[ \t*_>-]{0,6}\(?[A-J][.):][*_]{0,2}[ \t][^\n]*$", re.MULTILINE)
_FEW_WORDS = 4
_FEW_SIGNS = 8
_LONGEST = 4000


def answers_in_a_row(text: str, claims: Sequence[Claim]) -> int:
    """How many claims follow each other from the first on with nothing but their own words between them.

    Three or more with other letters each answer the questions of a prompt in their order, the last one being asked.
    """
    count = 1
    while count < len(claims):
        between = text[claims[count - 1].end : claims[count].start]
        if len(_WORD.findall(between)) > _FEW_WORDS or not _ANNOUNCES.search(between):
            break
        count += 1
    return count if len({claim.letters for claim in claims[:count]}) > 2 else 1


def declines_the_last(text: str, start: int, end: int) -> bool:
    """Whether a response says that it does not answer the last of several questions, which is the one asked."""
    return _DECLINES.search(text, start, end) is not None


def last_reasoned(text: str, claims: Sequence[Claim], end: int) -> Claim:
    """The last of the claims that is the first, repeats it, or has a reason before it or right behind.

    Args:
        text: The response.
        claims: At least one, in order.
        end: Where the part of the response ends that answers.
    """
    first = answers_in_a_row(text, claims) - 1
    kept, before, reasoned = claims[first], claims[first], {claims[first].letters}
    for place, claim in enumerate(claims[first + 1 :], start=first + 1):
        if _SUMS_UP.search(text, before.end, claim.start):
            break
        following = claims[place + 1].start if place + 1 < len(claims) else end
        repeated = set(claim.letters) == set(kept.letters)
        narrowed = bool(claim.letters) and set(claim.letters) < set(kept.letters)
        same_as_before = before is not kept and claim.letters == before.letters
        if (
            repeated
            or narrowed
            or not claim.letters
            or claim.letters in reasoned
            or _reasons(text, before, claim)
            or (not same_as_before and _explained(text, claim, following))
        ):
            kept = claim
            reasoned.add(claim.letters)
        before = claim
    return kept


def _reasons(text: str, before: Claim, claim: Claim) -> bool:
    """Whether anything between two claims speaks about the matter, or takes the first back."""
    between = text[before.end : claim.start][-_LONGEST:]
    of_option = _OPTION_BEHIND.match(between)  # "The answer is H. cognitive": the option's text is no reason
    own, between = (of_option.group(), between[of_option.end() :]) if of_option else ("", between)
    between = _OPTION_LINE.sub(_unless_it_reasons, between)
    parts = [part for part in _SENTENCE.split(between) if part and part.strip()]
    if not own and parts:
        own, parts = parts[0], parts[1:]
    rest = parts
    # what the first claim's own sentence goes on with is its reason, unless it takes the claim back
    if _TAKES_BACK.search(own) and len(_WORD.findall(own)) >= _FEW_WORDS:
        return True
    return any(_speaks(part) for part in rest) or (not rest and _TAKES_BACK.search(own) is not None)


def _unless_it_reasons(line: re.Match[str]) -> str:
    return line.group() if _TAKES_BACK.search(line.group()) or _REASON.search(line.group()) else "\n"


def _speaks(sentence: str) -> bool:
    if _TAKES_BACK.search(sentence) or _REASON.search(sentence):
        return True
    if _LIST_ITEM.match(sentence):
        return False
    return any(_says_enough(clause) for clause in re.split(r",\s|\uff0c", sentence))


def _says_enough(clause: str) -> bool:
    if _ANNOUNCES.search(clause):
        return False
    enough = len(_WORD.findall(clause)) >= _FEW_WORDS or len(_WIDE.findall(clause)) >= _FEW_SIGNS
    return enough or _FORMULA.search(clause) is not None


def _explained(text: str, claim: Claim, end: int) -> bool:
    """Whether the claim's own sentence, or the next one, goes on with its reason."""
    after = text[claim.end : min(end, claim.end + 400)]
    line = after.lstrip("\n").partition("\n")[0]
    return _REASON.search(line) is not None and not _DENIES.search(line)
