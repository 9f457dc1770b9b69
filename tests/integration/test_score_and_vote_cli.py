"""`retort score` and `retort vote` on recorded responses, as a user runs them."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "data/gsm8k/gsm8k_example_model_solutions.jsonl.gz"


def retort(*words):
    return subprocess.run(
        [sys.executable, "-m", "retort", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_score_prints_label_agreement_of_the_recorded_solutions():
    scores = json.loads(retort("score", "gsm8k", SOLUTIONS, "--json").stdout)
    assert scores["rows"] == 5276
    assert scores["label_agreement"] == 1.0
    assert scores["unparsed"] == 10  # cut off in a formula or in endless digits, or "A: 10+John's age"
    assert scores["accuracy"] == scores["official_accuracy"] == 2001 / 5276


def test_score_writes_both_verdicts_on_each_response(tmp_path):
    file, rows = ROOT / "tests/data/mmlu_pro/labelled.jsonl.gz", tmp_path / "rows.jsonl"
    done = retort("score", "mmlu_pro", file, "--rows", rows, "--json")
    assert done.returncode == 0, done.stderr
    scores, written = json.loads(done.stdout), [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["row"] for row in written] == list(range(1, 201))
    assert sum(row["right"] for row in written) == round(200 * scores["accuracy"])
    assert sum(row["difference"] is not None for row in written) == sum(scores["differences"].values()) > 0


def test_vote_elects_over_the_four_models_of_each_question(tmp_path):
    with gzip.open(SOLUTIONS, "rt") as lines:
        (tmp_path / "part.jsonl").write_text("".join(line for line, _ in zip(lines, range(100), strict=False)))
    result = json.loads(retort("vote", "gsm8k", tmp_path / "part.jsonl", "--json").stdout)
    assert (result["prompts"], result["responses"]) == (100, 400)
    # a vote of several models is right more often than one of their responses is
    assert result["accuracy"] > result["sample_accuracy"] > 0.3
    assert result["pass_at_k"]["4"] > result["pass_at_k"]["1"] == pytest.approx(result["sample_accuracy"])
    assert set(result["sample_accuracy_by_model"]) == {
        "6b_finetuning",
        "6b_verification",
        "175b_finetuning",
        "175b_verification",
    }


def test_table_for_people_names_the_official_rule():
    done = retort("score", "mmlu_pro", ROOT / "tests/data/mmlu_pro/outputs_Qwen1.5-7B-Chat.jsonl.gz")
    assert done.returncode == 0, done.stderr
    assert "official_accuracy" in done.stdout
    assert "40 responses" in done.stdout


def test_broken_file_is_one_message_and_the_code_that_forbids_a_retry(tmp_path):
    (tmp_path / "half.jsonl").write_text('{"question": "q", "answer": "1", "response": "1"}\n{"question": "q"')
    done = retort("score", "gsm8k", tmp_path / "half.jsonl")
    assert done.returncode == 65
    assert done.stdout == ""
    assert "half.jsonl, row 2: is not complete JSON" in done.stderr
    assert "Traceback" not in done.stderr
