"""Scores of real model outputs: GSM8K's labelled solutions (all), MMLU-Pro's of three models (an extract)."""

from pathlib import Path

import pytest

from retort.benchmarks.items import Item, read_items
from retort.benchmarks.score import read_item, score

ROOT = Path(__file__).parents[3]
SOLUTIONS = ROOT / "data/gsm8k/gsm8k_example_model_solutions.jsonl.gz"
MMLU_PRO = ROOT / "tests/data/mmlu_pro"


def test_all_of_openai_s_labels_of_gsm8k_solutions_are_reproduced():
    scores = score("gsm8k", read_items("gsm8k", SOLUTIONS))
    assert (scores.label_agreements, scores.labels, scores.rows) == (5276, 5276, 5276)
    # right of 1319 by OpenAI's labels: 286, 515, 458, 742, together 2001
    assert scores.accuracy == scores.official_accuracy == 2001 / 5276
    assert scores.by_model["6b_finetuning"] == 286 / 1319


@pytest.mark.parametrize(("model", "l1", "l2"), [("Llama-2-7b-hf", 10, 10), ("Qwen1.5-7B-Chat", 10, 11)])
def test_mmlu_pro_published_rules_stand_beside_ours(model, l1, l2):
    scores = score("mmlu_pro", read_items("mmlu_pro", MMLU_PRO / f"outputs_{model}.jsonl.gz"))
    assert scores.official_accuracies["l1"] == scores.official_accuracy == scores.label_accuracy == l1 / 40
    assert scores.official_accuracies["l2"] == l2 / 40
    assert scores.accuracy >= scores.official_accuracy


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("The problem does not say how many pens there are, so it cannot be determined.", True),
        ("#### None", True),
        ("The answer is: unknown", True),
        ("We do not know the price, so assume 5.\n#### 10", False),
        ("She buys 5 and 5. That is 10.", False),
    ],
)
def test_critical_thinking_is_right_when_the_response_says_that_something_is_missing(response, right):
    item = Item(1, "q", "m", response, "#### None", "None")
    assert read_item("gsm_plus", item)[1] is right


def test_letter_beyond_the_options_is_counted():
    items = [Item(1, "q", "m", "The answer is (J).", "A", "A", options=4)]
    assert score("mmlu_pro", items).beyond_options == 1


def test_question_without_a_number_as_gold_is_wrong_by_gsm8k_s_rule_and_right_where_it_is_called_unanswerable():
    items = [Item(1, "q", "m", text, "so\n#### None", "None") for text in ("#### 18", "It cannot be determined.")]
    scores = score("gsm8k", items)
    assert (scores.accuracy, scores.official_accuracy, scores.unparsed) == (0.5, 0.0, 1)


@pytest.mark.parametrize(
    ("task", "response", "gold", "kind"),
    [
        ("mmlu_pro", "The closest option is (B).", "B", "official_reads_nothing"),
        ("mmlu_pro", "The answer is (A). No, the answer is (B).", "B", "official_reads_otherwise"),
        ("gsm8k", "#### 18.", "18", "official_compares_text"),
        ("mmlu_pro", "The answer is A large one.", "A", "reads_nothing"),
        ("mmlu_pro", "The answer is (A). No, the answer is (B).", "A", "reads_otherwise"),
        ("mmlu_pro", "The answer is (A).", "A", None),
        ("mmlu_pro", "The answer is (A).", "B", None),
    ],
)
def test_difference_between_the_verdicts_is_explained_row_by_row(task, response, gold, kind):
    rows = []
    scores = score(
        task, [Item(7, "q", "m", response, gold, gold, options=4 if task == "mmlu_pro" else None)], each=rows.append
    )
    [row] = rows
    assert (row.row, row.difference, row.gold) == (7, kind, gold)
    assert scores.differences == ({} if kind is None else {kind: 1})
    assert row.answer is None or response[row.start : row.end] == row.answer


def test_empty_responses_are_unparsed_and_counted():
    scores = score("gsm8k", [Item(1, "q", "m", text, "18", "18") for text in ("", " \n", "no number", "18")])
    assert (scores.rows, scores.unparsed, scores.empty, scores.accuracy) == (4, 3, 2, 0.25)


def test_answer_given_as_the_text_of_an_option_is_read_with_the_options():
    item = Item(1, "q", "m", "The answer is Lyon.", "B", "B", options=2, option_texts=("Paris", "Lyon"))
    assert score("mmlu_pro", [item]).accuracy == 1
