"""Gold answers as data sets spell them: read by the rules for responses, so that both sides mean the same.

A gold answer may be "72", "72 clips", `\\boxed{72}`, "The answer is 72", or a whole solution that ends in one of these
or in `#### 72`.
"""

from __future__ import annotations

from retort.config.data import AnswerType
from retort.text.equal import as_fraction, canonical, number_key
from retort.text.extract import read_answer


def gold_answer(text: str) -> str:
    """The final answer of a gold solution; all of the text where nothing in it marks one.

    Marks are its last `####`, `A:` on its last line, its last `\\boxed{}`, and "the answer is".
    """
    text = text.strip()
    if "####" in text:
        return text.rpartition("####")[2].strip()
    last_line = text.rpartition("\n")[2]
    if last_line.startswith("A:") and last_line != text:  # alone it may be an option with its letter
        return last_line[2:].strip()
    if as_fraction(text) is not None:
        return text
    marked = read_answer(text, "expression")
    return marked.value if marked is not None and marked.rule != "formula" else text


def readable_gold(gold: str, kind: AnswerType) -> bool:
    """Whether a gold answer is one of its kind; a label is neither right nor wrong by one that is not."""
    if kind == "number":
        return number_key(gold) is not None or gold.strip().lower() == "none"
    if kind == "choice":  # an index, 0 or 1, is no letter: whether it counts from 0 or 1 is not known
        letter = canonical(gold, "choice")
        return len(letter) == 1 and letter.isalpha()
    return bool(gold.strip())
