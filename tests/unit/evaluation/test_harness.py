"""Public benchmarks through lm-evaluation-harness: its prompts, its numbers beside Retort's, on the same outputs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from retort.benchmarks import official
from retort.errors import ConfigError, InputError, StorageError
from retort.io import tables
from retort.io.rows import read_records

ROOT = Path(__file__).parents[3]
GSM8K = "data/gsm8k/gsm8k_test_questions.jsonl.gz"
GSM_PLUS = "tests/data/gsm_plus/testmini.jsonl.gz"
MMLU_PRO = {"test": "tests/data/mmlu_pro/test.jsonl.gz", "validation": "tests/data/mmlu_pro/validation.jsonl.gz"}

pytestmark = pytest.mark.timeout(600)
"""Importing the harness takes long on a machine that is busy."""


def rows_of(path):
    return [row for _, row in read_records(ROOT / path)]


def test_gsm8k_is_asked_with_the_eight_published_examples_as_turns(ask):
    outcome, engine = ask(lambda _: "The answer is 18.", task="gsm8k_cot", data={"test": GSM8K}, limit=2)
    first = engine.asked[0]
    turns = json.loads(first.prompt)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 8 + ["user"]
    assert turns[0]["content"].startswith("Q: There are 15 trees in the grove.")
    assert turns[1]["content"].endswith("The answer is 6.")
    assert turns[-1]["content"].startswith("Q: Janet\u2019s ducks lay 16 eggs per day.")
    assert (first.form, first.temperature, first.stop) == ("conversation", 0.0, ("Q:", "</s>", "<|im_end|>"))
    assert engine.limit == 50  # the task names none, so the stage's counts
    assert [(row["correct"], row["official"], row["answer"]) for row in outcome.rows] == [
        (True, True, "18"),
        (False, False, "3"),
    ]


def test_a_base_model_is_asked_for_text_to_continue(ask):
    _, engine = ask(lambda _: "3", task="gsm8k_cot", data={"test": GSM8K}, limit=1, chat=False)
    assert engine.asked[0].form == "text"
    assert engine.asked[0].prompt.count("\n\nA: ") == 0
    assert engine.asked[0].prompt.count("The answer is") == 8
    assert engine.asked[0].prompt.endswith("\nA:")


def test_a_prompt_of_the_configuration_replaces_the_task_s_and_needs_no_examples(ask):
    settings = {"task": "gsm8k", "data": {"test": GSM8K}, "num_fewshot": 0, "prompt": "{{question}}", "limit": 1}
    _, engine = ask(lambda _: "3", **settings, max_new_tokens=9, temperature=0.5)
    (turn,) = json.loads(engine.asked[0].prompt)
    assert turn["content"] == rows_of(GSM8K)[0]["question"]
    assert (engine.limit, engine.asked[0].temperature) == (9, 0.5)


@pytest.mark.parametrize(("task", "end"), [("gsm8k", "#### {}"), ("gsm8k_cot", "The answer is {}.")])
@pytest.mark.parametrize("model", ["6b_finetuning", "175b_verification"])
def test_the_harness_s_numbers_for_recorded_solutions_are_those_of_the_official_scorer(ask, task, end, model):
    # Solutions of a model to the first 60 questions, which end in "A: 18" where the task wants its own ending.
    questions = rows_of(GSM8K)[:60]
    solved = {row["question"]: row[model] for row in rows_of("data/gsm8k/gsm8k_example_model_solutions.jsonl.gz")}
    recorded = [solved[row["question"]] for row in questions]
    parts = [one["solution"].rpartition("A: ") for one in recorded]
    texts = [head + end.format(tail) if mark else tail for head, mark, tail in parts]
    said = {f"{task}-{place}-0": text for place, text in enumerate(texts)}
    outcome, _ = ask(lambda one: said[one.prompt_id], task=task, data={"test": GSM8K}, num_fewshot=0, limit=60)
    for row, text, question, one in zip(outcome.rows, texts, questions, recorded, strict=True):
        hashed = text.replace("The answer is ", "#### ")
        strict = official.lm_eval_gsm8k_correct(hashed, question["answer"], "strict")
        flexible = official.lm_eval_gsm8k_correct(text, question["answer"], "flexible")
        assert dict(row["harness"]) == {"strict-match/exact_match": strict, "flexible-extract/exact_match": flexible}
        assert row["official"] is strict
        assert row["correct"] is one["is_correct"]  # OpenAI's own label
    assert outcome.harness["strict-match/exact_match"] == sum(one["is_correct"] for one in recorded) / 60


def test_mmlu_pro_is_asked_with_five_solved_questions_of_its_category(ask):
    outcome, engine = ask(lambda _: "so the answer is **(I)**", task="mmlu_pro_math", data=MMLU_PRO)
    turns = json.loads(engine.asked[0].prompt)
    assert [turn["role"] for turn in turns] == ["system", *["user", "assistant"] * 5, "user"]
    assert turns[0]["content"].startswith("The following are multiple choice questions (with answers) about math.")
    examples = [row for row in rows_of(MMLU_PRO["validation"]) if row["category"] == "math"]
    assert [turn["content"] for turn in turns[2:-1:2]] == [
        row["cot_content"].removeprefix("A: Let's think step by step. ") for row in examples
    ]
    assert turns[-1]["content"].endswith("Answer: Let's think step by step.")
    assert engine.limit == 2048  # the task's own
    assert len(outcome.rows) == 10
    # The harness's pattern misses bold; Retort's reading does not.
    assert outcome.harness == {"custom-extract/exact_match": 0.0}
    assert {row["read"] for row in outcome.rows} == {"I"}


@pytest.mark.parametrize("model", ["Llama-2-7b-hf", "Qwen1.5-7B-Chat", "Meta-Llama-3-8B-Instruct"])
def test_the_harness_s_mmlu_pro_numbers_are_those_of_the_official_scorer(ask, model, tmp_path):
    recorded = rows_of(f"tests/data/mmlu_pro/outputs_{model}.jsonl.gz")
    # One category for all, so that one task of the group asks them; nothing else of a row changes.
    (tmp_path / "test.jsonl").write_text(
        "".join(json.dumps({**row, "category": "math"} | {"model_output": "", "pred": ""}) + "\n" for row in recorded)
    )
    said = {f"mmlu_pro_math-{place}-0": row["model_output"] for place, row in enumerate(recorded)}
    outcome, _ = ask(
        lambda one: said[one.prompt_id],
        task="mmlu_pro_math",
        data={"test": "test.jsonl"},
        num_fewshot=0,
        root=tmp_path,
    )
    ours = 0
    for row, record in zip(outcome.rows, recorded, strict=True):
        letter = official.mmlu_pro_l1(record["model_output"])
        assert dict(row["harness"]) == {"custom-extract/exact_match": float(letter == record["answer"])}
        ours += row["correct"]
    assert ours / len(recorded) >= outcome.harness["custom-extract/exact_match"]


def test_a_group_runs_its_tasks_and_says_which_item_is_whose(ask):
    outcome, _ = ask(lambda _: "The answer is (A).", task="mmlu_pro", data=MMLU_PRO, num_fewshot=1, limit=2)
    tasks = Counter(row["subtask"] for row in outcome.rows)
    assert len(tasks) == 14
    assert tasks["mmlu_pro_math"] == 2
    right = sum(row["answer"] == "A" for row in outcome.rows) / len(outcome.rows)
    # The group's own aggregate is weighted by the size of its tasks.
    assert outcome.harness["custom-extract/exact_match"] == pytest.approx(right)
    assert sum(row["correct"] for row in outcome.rows) / len(outcome.rows) == pytest.approx(right)


def test_gsm_plus_is_clustered_by_the_question_behind_its_variants(ask):
    variants = rows_of(GSM_PLUS)
    said = {f"gsm_plus_cot-{place}-0": f"#### {row['answer']}" for place, row in enumerate(variants)}
    outcome, engine = ask(lambda one: said[one.prompt_id], task="gsm_plus_cot", data={"test": GSM_PLUS})
    assert len(json.loads(engine.asked[0].prompt)) == 17  # GSM8K's eight examples and the question
    assert Counter(Counter(row["group_id"] for row in outcome.rows).values()) == {8: 5}
    # By its own rule every gold answer is right, "None" included; GSM8K's filter looks for "The answer is".
    assert {row["official"] for row in outcome.rows} == {True}
    assert outcome.harness["strict-match/exact_match"] == 0


def test_a_question_without_enough_information_wants_that_said(ask):
    text = "This cannot be determined: the price is not given."
    outcome, _ = ask(lambda _: text, task="gsm_plus_cot", data={"test": GSM_PLUS}, num_fewshot=0)
    assert {row["answer"] for row in outcome.rows if row["correct"]} == {"None"}
    assert {row["answer"] for row in outcome.rows if not row["correct"]} & {"None"} == set()
    assert outcome.harness["strict-match/exact_match"] == 0


def test_items_fit_the_table_and_name_themselves_by_content(ask, tmp_path):
    outcome, _ = ask(lambda _: "3", task="gsm8k_cot", data={"test": GSM8K}, num_fewshot=0, limit=3)
    tables.write_table(tmp_path / "results.parquet", outcome.rows, tables.RESULTS)
    back = tables.read_table(tmp_path / "results.parquet", tables.RESULTS)
    assert [dict(row["harness"]) for row in back] == [row["harness"] for row in outcome.rows]
    questions = rows_of(GSM8K)
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (questions[0], questions[2])))
    other, _ = ask(lambda _: "3", task="gsm8k_cot", data={"test": "other.jsonl"}, num_fewshot=0, root=tmp_path)
    # The first item is the same question in both files; the second is not, though it stands at the same place.
    assert [a["item_id"] == b["item_id"] for a, b in zip(outcome.rows, other.rows, strict=False)] == [True, False]


def test_another_task_counts_by_the_harness_unless_a_kind_of_answer_is_given(ask, tmp_path):
    row = {"body": "Two and two.", "question": "2 + 2 ?", "answer": "4 (apples)"}
    (tmp_path / "asdiv.jsonl").write_text(json.dumps(row) + "\n")
    settings = {"task": "asdiv_cot_llama", "data": {"validation": "asdiv.jsonl"}, "num_fewshot": 0, "root": tmp_path}
    (row,) = ask(lambda _: "The final answer is 4", **settings)[0].rows
    assert (row["read"], row["answer"], row["score"], row["correct"]) == ("4", "4", 1.0, True)
    # "4.0" is not the text "4", but it is the number.
    (row,) = ask(lambda _: "The final answer is 4.0", **settings)[0].rows
    assert (row["score"], row["correct"]) == (0.0, False)
    (row,) = ask(lambda _: "The final answer is 4.0", **settings, answer="number")[0].rows
    assert (row["read"], row["score"], row["official"]) == ("4.0", 1.0, False)


def test_a_task_by_likelihood_is_refused_for_a_model_without_weights(ask, tmp_path):
    row = {"question": "2 + 2 ?", "choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answerKey": "B"}
    (tmp_path / "arc.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match=r"task 'arc_easy' compares log-likelihoods, which an endpoint \(replay\)"):
        ask(lambda _: "", task="arc_easy", data={"test": "arc.jsonl"}, num_fewshot=0, root=tmp_path)


# What is wrong with a benchmark is said with its file, row and field.

GOOD = {
    "gsm8k": {"question": "2 {eggs} and 1 more ?", "answer": "2 + 1 = <<2+1=3>>3\n#### 3"},
    "gsm_plus_cot": {"question": "20 ?", "answer": "21", "solution": "#### 21", "seed_question": "2 ?"},
    "mmlu_pro_math": {"question": "Which ?", "options": ["red", "blue"], "answer": "B", "category": "math"},
}


@pytest.mark.parametrize(
    ("task", "row", "words"),
    [
        ("gsm8k", {"question": "2 ?"}, r"b.jsonl, row 2, field 'answer': is missing"),
        ("gsm8k", {"prompt": "2 ?", "gold": "2"}, r"row 2, field 'question': is missing.*the row has: gold, prompt"),
        ("gsm8k", GOOD["gsm8k"] | {"answer": "three"}, r"row 2, field 'answer': has no '#### NUMBER'"),
        ("gsm8k", GOOD["gsm8k"] | {"answer": None}, r"row 2, field 'answer': is null, not a string"),
        ("gsm_plus_cot", {"question": "2 ?", "answer": "2"}, r"row 2, field 'solution': is missing"),
        ("mmlu_pro_math", GOOD["mmlu_pro_math"] | {"options": "red"}, r"field 'options': is not a list of texts"),
        (
            "mmlu_pro_math",
            GOOD["mmlu_pro_math"] | {"answer": "C"},
            r"'answer': is 'C', not one of the 2 options' letters",
        ),
        ("mmlu_pro_math", GOOD["mmlu_pro_math"] | {"category": ""}, r"row 2, field 'category': is empty"),
    ],
)
def test_a_malformed_row_is_named(ask, tmp_path, task, row, words):
    (tmp_path / "b.jsonl").write_text(json.dumps(GOOD[task]) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=words):
        ask(lambda _: "", task=task, data={"test": "b.jsonl"}, num_fewshot=0, root=tmp_path)


def test_wrong_columns_of_any_task_name_the_file_and_what_it_lacks(ask, tmp_path):
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "2 ?", "a": "2"}) + "\n")
    with pytest.raises(InputError, match=r"b.jsonl: its rows lack a field that task 'asdiv_cot_llama' reads \('?\w+"):
        ask(lambda _: "", task="asdiv_cot_llama", data={"validation": "b.jsonl"}, num_fewshot=0, root=tmp_path)


def test_a_missing_file_and_a_missing_split_are_named(ask):
    with pytest.raises(InputError, match=r"no/such.jsonl: does not exist"):
        ask(lambda _: "", task="gsm8k_cot", data={"test": "no/such.jsonl"})
    with pytest.raises(
        ConfigError, match=r"has no file for split 'train' \(given: test\).*`data.train`.*num_fewshot: 0"
    ):
        ask(lambda _: "", task="gsm8k", data={"test": GSM8K})


def test_a_category_without_rows_is_said(ask, tmp_path):
    (tmp_path / "b.jsonl").write_text(json.dumps(GOOD["mmlu_pro_math"]) + "\n")
    with pytest.raises(InputError, match=r"b.jsonl: it holds no row for one of the tasks that 'mmlu_pro' consists of"):
        ask(lambda _: "", task="mmlu_pro", data={"test": "b.jsonl"}, num_fewshot=0, root=tmp_path)


def test_a_data_set_that_cannot_be_fetched_asks_for_files(ask, monkeypatch):
    import datasets

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(StorageError, match=r"task 'gsm8k_cot' cannot be fetched .*give its files in `data`"):
        ask(lambda _: "", task="gsm8k_cot")
