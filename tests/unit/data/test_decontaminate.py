import json
from collections import Counter
from pathlib import Path

import pytest

from retort.data.decontaminate import BenchmarkIndex
from retort.errors import InputError
from retort.io.rows import read_records

WORDS = [f"w{first}{second}" for first in "abcde" for second in "abcdefgh"]
ROOT = Path(__file__).parents[3]


def benchmark(tmp_path, *rows, name="b.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def test_overlap_is_the_share_of_ngrams_of_the_shorter_text(tmp_path):
    file = benchmark(tmp_path, {"question": "other words stand here"}, {"question": " ".join(WORDS[:20])})
    index = BenchmarkIndex([file], tmp_path, 5)
    # the prompt's 30 words give 26 5-grams, the item's 20 give 16; words 10 to 19 are shared: 6 5-grams
    [overlap] = index.overlaps(" ".join(WORDS[10:40]))
    assert (overlap.file, overlap.row, overlap.field, overlap.share) == ("b.jsonl", 2, "question", 6 / 16)


def test_item_wrapped_in_instructions_overlaps_wholly(tmp_path):
    file = benchmark(tmp_path, {"problem": " ".join(WORDS[:15])})
    prompt = "Please solve this with great care and in small steps. " * 9 + " ".join(WORDS[:15]).upper() + "!"
    assert BenchmarkIndex([file], tmp_path, 13).overlaps(prompt)[0].share == 1.0


def test_short_texts_overlap_only_when_equal(tmp_path):
    index = BenchmarkIndex([benchmark(tmp_path, {"question": "What is 2 + 2?"})], tmp_path, 13)
    assert index.overlaps("what is 2 + 2")[0].share == 1.0
    assert index.overlaps("Tell me: what is 2 + 2?") == []


def test_every_file_that_holds_the_question_is_named(tmp_path):
    files = [benchmark(tmp_path, {"question": " ".join(WORDS)}, name=name) for name in ("a.jsonl", "b.jsonl")]
    assert [overlap.file for overlap in BenchmarkIndex(files, tmp_path, 13).overlaps(" ".join(WORDS))] == files


def test_a_question_with_other_numbers_is_the_same_question_unless_numbers_count(tmp_path):
    question = "Dan has 39 cards and buys 25 more before he gives 3.5 % of all his cards to Ada , how many are left ?"
    other = question.replace("39", "1,740").replace("25", "8").replace("3.5", "12")
    file = benchmark(tmp_path, {"question": question})
    assert BenchmarkIndex([file], tmp_path, 13).overlaps(other)[0].share == 1.0
    assert BenchmarkIndex([file], tmp_path, 13, mask_numbers=False).overlaps(other) == []


def test_gsm_plus_derives_from_gsm8k_s_test_questions():
    plus = [row for _, row in read_records(ROOT / "tests/data/gsm_plus/testmini.jsonl.gz")]
    gsm8k = [row["question"] for _, row in read_records(ROOT / "data/gsm8k/gsm8k_test_questions.jsonl.gz")]
    index = BenchmarkIndex(["data/gsm8k/gsm8k_test_questions.jsonl.gz"], ROOT, 13)
    found: Counter[str] = Counter()
    for row in plus:
        for overlap in index.overlaps(row["question"]):
            if overlap.share > 0.5:
                assert gsm8k[overlap.row - 1] == row["seed_question"]
                found[row["perturbation_type"]] += 1
    # Of five questions, 0 and 0 where numbers must agree; what is told in other words is not found.
    assert (found["numerical substitution"], found["digit expansion"], found["problem understanding"]) == (4, 4, 0)
    # And the other way: GSM8K's questions are recognised by GSM-Plus' field of the question behind each variant.
    index = BenchmarkIndex(["tests/data/gsm_plus/testmini.jsonl.gz"], ROOT, 13)
    seeds = {row["seed_question"] for row in plus}
    assert {one for one in gsm8k if any(item.share == 1 for item in index.overlaps(one))} >= seeds


def test_file_without_questions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no row has a question.*fields: text"):
        BenchmarkIndex([benchmark(tmp_path, {"text": "x"})], tmp_path, 13)


def test_gsm8k_test_questions_are_recognised():
    index = BenchmarkIndex(["data/gsm8k/gsm8k_test_questions.jsonl.gz"], ROOT, 13)
    [overlap] = index.overlaps(
        "Janet\u2019s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her "
        "friends every day with four. What is left?"
    )
    assert overlap.row == 1
    assert overlap.share > 0.5
