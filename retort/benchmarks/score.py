"""Scoring responses to a benchmark: by Retort's reading and, beside it, by the benchmark's own published rules."""

from __future__ import annotations

import logging
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from retort.benchmarks import official
from retort.benchmarks.disagreement import RowScore, difference
from retort.benchmarks.items import Item, Task
from retort.benchmarks.unanswerable import says_unanswerable
from retort.config.data import AnswerType
from retort.text.agreement import stated
from retort.text.extract import Answer
from retort.text.finish_reasons import is_whole
from retort.text.gold import readable_gold

KINDS: dict[Task, AnswerType] = {"gsm8k": "number", "gsm_plus": "number", "mmlu_pro": "choice"}
"""Kind of answer of each benchmark; for prompts of one's own the configuration says it."""

OFFICIAL: dict[Task, str] = {"gsm8k": "openai", "gsm_plus": "gsm_plus_cot", "mmlu_pro": "l1"}
"""The rule that `official_accuracy` is by; MMLU-Pro's l1 is also lm-evaluation-harness's, and draws no letters."""

_log = logging.getLogger(__name__)
_NONE = "None"


@dataclass(frozen=True)
class Scores:
    """Scores of the responses in a file; accuracies are shares of all rows, unparsed ones counted as wrong."""

    task: str
    rows: int
    """Responses that were scored."""
    without_gold: int
    """Responses that were not, because their prompt has no gold answer, or none of its kind."""
    not_whole: dict[str, int]
    """Scored responses that were cut off, filtered or stopped otherwise, by their finish reason; they are read as
    the published rules read them."""
    accuracy: float
    """By Retort's reading."""
    official_accuracy: float | None
    """By the published rule named in `official_rule`; None for prompts of one's own."""
    official_rule: str | None
    official_accuracies: dict[str, float]
    """By every published rule. `expected_with_guess` counts 1/options where MMLU-Pro's scripts draw a letter."""
    unparsed: int
    """Responses in which no answer could be read."""
    unparsed_share: float
    empty: int
    """Unparsed responses that are empty."""
    looser_reads: int
    """Unparsed responses in which MMLU-Pro's loosest rule (l2: the last letter that stands alone) reads a letter."""
    looser_right: int
    looser_expected: float
    """How many of them a letter drawn at random would get right: where `looser_right` is no more, abstaining cost
    nothing. 0 for other tasks."""
    looser_deviation: float
    """Standard deviation of that number."""
    beyond_options: int
    """Letters that were read but name no option."""
    ours_right_official_wrong: int
    official_right_ours_wrong: int
    differences: dict[str, int]
    """Rows on which the verdicts differ, by the kind of difference (`retort.benchmarks.disagreement`)."""
    labels: int
    """Rows for which the file says whether the response is right."""
    label_agreements: int
    label_agreement: float | None
    """Share of those rows on which Retort's reading says the same."""
    label_accuracy: float | None
    """Accuracy by the file's own labels."""
    rules: dict[str, int]
    """How many answers each extraction rule read."""
    by_model: dict[str, float]
    """Accuracy of each model, where the file has several."""


@dataclass
class _Tally:
    rows: int = 0
    without_gold: int = 0
    not_whole: Counter[str] = field(default_factory=Counter)
    right: int = 0
    unparsed: int = 0
    empty: int = 0
    looser_reads: int = 0
    looser_right: int = 0
    looser_expected: float = 0.0
    looser_variance: float = 0.0
    beyond: int = 0
    ours_only: int = 0
    official_only: int = 0
    labels: int = 0
    labelled_right: int = 0
    agreements: int = 0
    official: Counter[str] = field(default_factory=Counter)
    guesses: float = 0.0
    rules: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    model_rows: Counter[str] = field(default_factory=Counter)
    model_right: Counter[str] = field(default_factory=Counter)


def score(
    task: Task, items: Iterable[Item], *, each: Callable[[RowScore], None] | None = None, kind: AnswerType | None = None
) -> Scores:
    """Score responses one by one; nothing but counts is kept.

    Args:
        task: Benchmark.
        items: Responses.
        each: Called with the score of each response.
        kind: Kind of answer, for prompts of one's own.

    Responses without a readable gold answer are counted, warned about and left out.
    """
    tally = _Tally()
    for item, row in score_rows(task, _with_gold(items, kind or KINDS[task], tally), kind):
        _count(item, row, tally)
        if each is not None:
            each(row)
    rows = max(tally.rows, 1)
    accuracies = {rule: tally.official[rule] / rows for rule in _RULES.get(task, {})}
    if task == "mmlu_pro":
        accuracies["expected_with_guess"] = accuracies["l1"] + tally.guesses / rows
    return Scores(
        task=task,
        rows=tally.rows,
        without_gold=tally.without_gold,
        not_whole=dict(sorted(tally.not_whole.items())),
        accuracy=tally.right / rows,
        official_accuracy=accuracies.get(OFFICIAL.get(task, "")),
        official_rule=OFFICIAL.get(task),
        official_accuracies=accuracies,
        unparsed=tally.unparsed,
        unparsed_share=tally.unparsed / rows,
        empty=tally.empty,
        looser_reads=tally.looser_reads,
        looser_right=tally.looser_right,
        looser_expected=tally.looser_expected,
        looser_deviation=tally.looser_variance**0.5,
        beyond_options=tally.beyond,
        ours_right_official_wrong=tally.ours_only,
        official_right_ours_wrong=tally.official_only,
        differences=dict(sorted(tally.differences.items())),
        labels=tally.labels,
        label_agreements=tally.agreements,
        label_agreement=tally.agreements / tally.labels if tally.labels else None,
        label_accuracy=tally.labelled_right / tally.labels if tally.labels else None,
        rules=dict(sorted(tally.rules.items())),
        by_model={model: tally.model_right[model] / count for model, count in sorted(tally.model_rows.items())},
    )


def _with_gold(items: Iterable[Item], kind: AnswerType, tally: _Tally) -> Iterator[Item]:
    for item in items:
        if item.answer == _NONE or readable_gold(item.answer, kind):
            yield item
        else:
            tally.without_gold += 1
    if tally.without_gold:
        _log.warning(
            "%d responses are not scored: their prompts have no gold answer that is a %s", tally.without_gold, kind
        )


def read_item(task: Task, item: Item, kind: AnswerType | None = None) -> tuple[Answer | None, bool]:
    """The answer that Retort reads in a response, and whether it is right.

    GSM-Plus' "critical thinking" questions lack a condition; right is to say so, and to give no number as the answer.
    """
    said = stated(item.response, kind or KINDS[task], item.option_texts)
    if item.answer == _NONE and kind is None:
        refusal = says_unanswerable(item.response, said.answer)
        return refusal, refusal is not None
    return said.answer, said.agrees(item.answer)


def score_rows(task: Task, items: Iterable[Item], kind: AnswerType | None = None) -> Iterator[tuple[Item, RowScore]]:
    """Each response with both verdicts on it."""
    for item in items:
        answer, right = read_item(task, item, kind)
        verdicts = {rule: correct(item) for rule, correct in _RULES.get(task, {}).items()}
        official_answer = None if kind else _OFFICIAL_ANSWER[task](item)
        yield (
            item,
            RowScore(
                row=item.row,
                question=item.group,
                model=item.model,
                gold=item.answer,
                answer=answer.value if answer else None,
                rule=answer.rule if answer else None,
                start=answer.start if answer else None,
                end=answer.end if answer else None,
                right=right,
                official_answer=official_answer,
                official=verdicts,
                label=item.label,
                difference=None
                if kind
                else difference(answer, right, official_answer, verdicts[OFFICIAL[task]], KINDS[task]),
            ),
        )


def _count(item: Item, row: RowScore, tally: _Tally) -> None:
    tally.rows += 1
    if not is_whole(item.finish_reason):
        tally.not_whole[item.finish_reason] += 1
    tally.right += row.right
    tally.official.update(rule for rule, correct in row.official.items() if correct)
    tally.model_rows[item.model] += 1
    tally.model_right[item.model] += row.right
    if row.difference is not None:
        tally.differences[row.difference] += 1
        tally.ours_only += row.right
        tally.official_only += not row.right
    if row.answer is None or row.rule is None:
        tally.unparsed += 1
        tally.empty += not item.response.strip()
        if item.options and official.mmlu_pro_l2(item.response) is not None:
            _count_looser(item, row, tally)
    else:
        tally.rules[row.rule] += 1
        if item.options is not None and string.ascii_uppercase.index(row.answer) >= item.options:
            tally.beyond += 1
    if item.options and official.mmlu_pro_l1(item.response) is None:
        tally.guesses += 1 / item.options
    if item.label is not None:
        tally.labels += 1
        tally.labelled_right += item.label
        tally.agreements += item.label == row.right


def _count_looser(item: Item, row: RowScore, tally: _Tally) -> None:
    """What the loosest published rule makes of a response that we leave unread, beside a letter drawn at random."""
    assert item.options
    chance = 1 / item.options
    tally.looser_reads += 1
    tally.looser_right += row.official["l2"]
    tally.looser_expected += chance
    tally.looser_variance += chance * (1 - chance)


def _hashed(text: str) -> str:
    """OpenAI's example solutions end in `A: 18` where the data set, and so the rule, has `#### 18`."""
    head, mark, tail = text.rpartition("\nA: ")
    return f"{head}\n#### {tail}" if mark else text


def _openai(item: Item) -> bool:
    gold = _gold_solution(item)
    if official.gsm8k_answer(gold) == official.INVALID:  # the published rule refuses such a question
        return False
    return official.gsm8k_correct(_hashed(item.response), gold)


def _gold_solution(item: Item) -> str:
    marked = official.gsm8k_answer(item.solution) != official.INVALID
    return item.solution if marked else f"#### {item.answer.strip('$ ')}"


def _lm_eval_strict(item: Item) -> bool:
    return official.lm_eval_gsm8k_correct(_hashed(item.response), _gold_solution(item), "strict")


def _lm_eval_flexible(item: Item) -> bool:
    return official.lm_eval_gsm8k_correct(_hashed(item.response), _gold_solution(item), "flexible")


_RULES: dict[Task, dict[str, Callable[[Item], bool]]] = {
    "gsm8k": {"openai": _openai, "lm_eval_strict": _lm_eval_strict, "lm_eval_flexible": _lm_eval_flexible},
    "gsm_plus": {
        "gsm_plus_cot": lambda item: official.gsm_plus_correct(item.response, item.answer),
        "lm_eval_strict": _lm_eval_strict,
        "lm_eval_flexible": _lm_eval_flexible,
    },
    "mmlu_pro": {
        "l1": lambda item: official.mmlu_pro_l1(item.response) == item.answer,
        "l2": lambda item: official.mmlu_pro_l2(item.response) == item.answer,
        "last_match": lambda item: official.mmlu_pro_last(item.response) == item.answer,
    },
}

_OFFICIAL_ANSWER: dict[Task, Callable[[Item], str | None]] = {
    "gsm8k": lambda item: _valid(official.gsm8k_answer(_hashed(item.response))),
    "gsm_plus": lambda item: official.gsm_plus_answer(item.response) or None,
    "mmlu_pro": lambda item: official.mmlu_pro_l1(item.response),
}
"""What the rule in `OFFICIAL` reads."""


def _valid(answer: str) -> str | None:
    return None if answer == official.INVALID else answer
