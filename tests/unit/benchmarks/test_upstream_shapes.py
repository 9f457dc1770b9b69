"""Result files in the shapes that their repositories write, and rows that do not fit."""

import gzip
import io
import json
import zipfile

import pytest

from retort.benchmarks.items import read_items
from retort.errors import InputError
from retort.io.rows import read_records

MMLU = {
    "question_id": 70, "question": "q", "options": ["one", "two", "three"], "answer": "B", "answer_index": 1,
    "cot_content": "", "category": "law", "src": "x",
}  # fmt: skip
GOLD = "so\n#### 18"


def lm_eval(filter_name, doc, response, exact_match, doc_id=0):
    return {
        "doc_id": doc_id, "doc": doc, "target": "18", "arguments": {"gen_args_0": {"arg_0": "prompt"}},
        "resps": [[response]], "filtered_resps": ["18"], "filter": filter_name, "metrics": ["exact_match"],
        "doc_hash": "a", "prompt_hash": "b", "target_hash": "c", "exact_match": exact_match,
    }  # fmt: skip


SHAPES = [
    # TIGER-AI-Lab/MMLU-Pro: vLLM runs, evaluate_from_local.py, evaluate_from_api.py
    ("mmlu_pro", {**MMLU, "pred": "B", "generated_text": "The answer is (B)."}, "B", True),
    ("mmlu_pro", {**MMLU, "pred": None, "model_outputs": "The answer is (B)."}, "B", False),
    ("mmlu_pro", {**MMLU, "pred": "C", "response": "The answer is (B)."}, "B", False),
    # qtli/GSM-Plus, results/gsm8k_results: gpt4, abel, metamath, tora
    ("gsm8k", {"question": "q", "answer": GOLD, "model_prediction": "#### 18", "pred": "18", "gold": "None",
               "result": True}, "18", True),
    ("gsm8k", {"question": "q", "answer": "so\n#### None", "model_prediction": "#### 18", "pred": "18", "gold": "None",
               "result": False}, "None", False),
    ("gsm8k", {"idx": 3, "question": "q", "answer": GOLD, "model": "abel_7b", "prompt": "p", "model_prediction": "18",
               "pred": "18", "gold": "18", "result": False}, "18", False),
    ("gsm8k", {"input": "### Instruction:\nq", "answer": 18, "completion": "#### 18\nThe answer is: 18", "pred": "18",
               "result": True, "gold": "18"}, "18", True),
    ("gsm8k", {"idx": 0, "question": "q", "gt_cot": "so", "gt": "18", "code": ["...\\boxed{18}"], "pred": ["18"],
               "report": [None], "result": True}, "18", True),
    # lm-evaluation-harness, --log_samples
    ("gsm8k", lm_eval("strict-match", {"question": "q", "answer": GOLD}, "#### 18", 1.0), "18", True),
    ("mmlu_pro", lm_eval("custom-extract", MMLU, "answer is (B)", 0.0), "B", False),
]  # fmt: skip


@pytest.mark.parametrize(("task", "row", "gold", "label"), SHAPES)
@pytest.mark.parametrize("form", ["lines", "array", "indented", "gzip", "zip"])
def test_upstream_result_file_is_read_as_it_is(tmp_path, task, row, gold, label, form):
    path = tmp_path / "results.json"
    lines = json.dumps(row) + "\n"
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("results.json", json.dumps([row]))
    else:
        text = {"lines": lines, "array": json.dumps([row]), "indented": json.dumps([row], indent=4)}.get(form, lines)
        path.write_bytes(gzip.compress(text.encode()) if form == "gzip" else text.encode())
    [item] = read_items(task, path)
    assert (item.answer, item.label, item.options) == (gold, label, 3 if task == "mmlu_pro" else None)
    assert "18" in item.response or "(B)" in item.response


def write(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_harness_log_that_repeats_responses_for_each_filter_counts_them_once(tmp_path):
    doc = {"question": "q", "answer": GOLD}
    rows = [
        lm_eval(name, doc, "It is 18", mark, i) for name, mark in (("strict-match", 0), ("flexible", 1)) for i in (0, 1)
    ]
    items = list(read_items("gsm8k", write(tmp_path, *rows)))
    assert [(item.row, item.label) for item in items] == [(1, False), (2, False)]


@pytest.mark.parametrize("response", ["", "  \n", None])
def test_empty_response_is_an_item_that_states_nothing(tmp_path, response):
    [item] = read_items("mmlu_pro", write(tmp_path, {**MMLU, "model_outputs": response}))
    assert not item.response.strip()


def test_gold_letter_is_counted_from_the_index_where_it_is_missing(tmp_path):
    row = {key: value for key, value in MMLU.items() if key != "answer"}
    [item] = read_items("mmlu_pro", write(tmp_path, {**row, "response": "x"}))
    assert item.answer == "B"


def test_question_with_one_option_has_the_letter_a(tmp_path):
    [item] = read_items("mmlu_pro", write(tmp_path, {**MMLU, "options": ["all"], "answer": "A", "response": "(B)"}))
    assert (item.options, item.option_texts) == (1, ("all",))


@pytest.mark.parametrize(
    ("task", "change", "field", "problem"),
    [
        ("mmlu_pro", {"options": ["all"]}, "answer", "B lies beyond the 1 options"),
        ("mmlu_pro", {"options": "one, two"}, "options", "not a list of texts"),
        ("mmlu_pro", {"answer": 18}, "answer", "'18' is no letter"),
        ("mmlu_pro", {"answer": None, "answer_index": None}, "answer", "no gold answer"),
        ("gsm8k", {}, "answer", "'B' is no number"),
        ("gsm8k", {"answer": "so\n#### many"}, "answer", "'many' is no number"),
        ("gsm8k", {"answer": ["18"]}, "answer", "no gold answer"),
        ("gsm_plus", {"answer": "B"}, "answer", "'B' is no number"),
        ("gsm_plus", {"answer": "None", "response": {"text": "x"}}, "response", "neither a string nor a list"),
    ],
)
def test_row_that_does_not_fit_names_file_row_and_field(tmp_path, task, change, field, problem):
    good = {"mmlu_pro": MMLU, "gsm8k": {"answer": "18"}, "gsm_plus": {"answer": "18"}}[task]
    path = write(tmp_path, {**good, "response": "x"}, {**MMLU, "response": "x", **change})
    with pytest.raises(InputError, match=problem) as caught:
        list(read_items(task, path))
    assert (caught.value.file, caught.value.row, caught.value.field) == (str(path), 2, field)


def test_array_is_streamed_row_by_row_and_a_broken_one_names_the_row(tmp_path):
    path = tmp_path / "array.json"
    body = b", ".join(json.dumps({"a": "\u00e9" * 400_000, "n": n}, ensure_ascii=False).encode() for n in range(8))
    path.write_bytes(b"[" + body)
    rows = read_records(path)
    assert [next(rows)[1]["n"] for _ in range(8)] == list(range(8))
    with pytest.raises(InputError, match="row 9: is not complete JSON"):
        next(rows)


@pytest.mark.parametrize("names", [[], ["a.json", "b.json"]])
def test_zip_of_other_than_one_file_is_refused(tmp_path, names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names or ["folder/"]:
            archive.writestr(name, "" if not names else "[]")
    path = tmp_path / "results.zip"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=f"holds {len(names)} files, not one"):
        list(read_records(path))


def test_truncated_zip_is_named(tmp_path):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", json.dumps([{"a": 1}] * 100))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="not a zip archive that can be read"):
        list(read_records(path))
