import json

import pytest

from retort.errors import ConfigError
from retort.io.files import content_hash
from retort.io.tables import PROMPTS, read_table
from retort.run.stage import run_stage
from tests.conftest import write_params

QUESTION = "A robe takes two bolts of blue fiber and half that much white fiber so how many bolts does it take in all"


def workspace(tmp_path, rows, **settings):
    files = {"p.jsonl": rows, **settings.pop("files", {})}
    for name, content in files.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    prompts = {"sources": [{"path": "p.jsonl", "answer_field": "answer"}], "validation": 2, **settings}
    write_params(tmp_path, prompts=prompts)
    return tmp_path


def rows(count, start=0):
    return [
        {"prompt": f"Ada has {n} cards. Ada buys 5. How many now?", "answer": n + 5}
        for n in range(start, start + count)
    ]


def split(root, name):
    return read_table(root / "outputs/prompts" / f"{name}.parquet", PROMPTS)


def dropped(root):
    return [json.loads(line) for line in (root / "outputs/prompts/dropped.jsonl").read_text().splitlines()]


def test_duplicates_and_benchmark_questions_are_dropped_and_named(tmp_path):
    bad = [
        {"prompt": "ada HAS 0 cards. Ada buys 5. How many now?", "answer": 5},
        {"prompt": f"Solve: {QUESTION}", "answer": 3},
    ]
    benchmark = [{"question": "Something else"}, {"question": QUESTION}]
    root = workspace(tmp_path, rows(10) + bad, test=3, decontaminate=["b.jsonl"], files={"b.jsonl": benchmark})
    metrics = run_stage("prompts", {}, root)
    assert (metrics["train"], metrics["validation"], metrics["test"]) == (5, 2, 3)
    assert (metrics["exact_duplicates"], metrics["contaminated"]) == (1, 1)
    assert metrics["contamination"] == {"b.jsonl": {"prompts": 1, "whole": 1, "share_of_loaded": 1 / 12}}
    first, second = dropped(root)
    assert (first["row"], first["reason"], first["of"]["row"]) == (11, "exact_duplicate", 1)
    assert second["overlaps"] == [{"file": "b.jsonl", "row": 2, "field": "question", "share": 1.0}]
    kept = split(root, "train") + split(root, "validation") + split(root, "test")
    assert sorted(row["row"] for row in kept) == list(range(1, 11))
    assert all(row["answer"] == str(row["row"] + 4) for row in kept)


def test_copy_of_a_test_prompt_never_reaches_training_whatever_the_order_of_sources(tmp_path):
    root = workspace(
        tmp_path,
        rows(10),
        sources=[{"path": "p.jsonl"}, {"path": "t.jsonl", "use": "test"}],
        files={"t.jsonl": rows(1, start=4)},
    )
    run_stage("prompts", {}, root)
    [test_prompt] = split(root, "test")
    assert test_prompt["source"] == "t.jsonl"
    assert test_prompt["prompt"] not in {row["prompt"] for row in split(root, "train") + split(root, "validation")}
    assert dropped(root)[0]["source"] == "p.jsonl"


def test_contaminated_prompts_may_be_kept_but_are_reported(tmp_path):
    root = workspace(
        tmp_path, [*rows(9), {"prompt": QUESTION, "answer": 3}], decontaminate=["b.jsonl"], contaminated="report",
        files={"b.jsonl": [{"question": QUESTION}]},
    )  # fmt: skip
    metrics = run_stage("prompts", {}, root)
    assert (metrics["contaminated"], metrics["contaminated_kept"], metrics["train"]) == (1, 1, 8)
    assert dropped(root)[0]["reason"] == "contaminated_kept"


def test_same_input_gives_the_same_bytes(tmp_path):
    root = workspace(tmp_path, rows(40) + rows(3), test=5)
    run_stage("prompts", {}, root)
    first = content_hash(root / "outputs/prompts")
    run_stage("prompts", {}, root)
    assert content_hash(root / "outputs/prompts") == first


def test_too_few_prompts_say_what_was_dropped_and_leave_the_old_output(tmp_path):
    root = workspace(tmp_path, rows(10))
    run_stage("prompts", {}, root)
    before = content_hash(root / "outputs/prompts")
    workspace(tmp_path, rows(1) * 9)
    with pytest.raises(ConfigError, match=r"prompts\.validation asks for 2.*Of 9 rows were dropped: 8 exact_duplicate"):
        run_stage("prompts", {}, root)
    assert content_hash(root / "outputs/prompts") == before


def test_unlabelled_prompts_are_cleaned_counted_and_kept_apart(tmp_path):
    other = [*rows(4, start=50), *rows(2, start=3), {"prompt": QUESTION}]
    files = {"u.jsonl": other, "b.jsonl": [{"question": QUESTION}]}
    sources = [{"path": "u.jsonl", "use": "unlabelled"}, {"path": "p.jsonl", "answer_field": "answer"}]
    root = workspace(tmp_path, rows(10), sources=sources, decontaminate=["b.jsonl"], files=files)
    metrics = run_stage("prompts", {}, root)
    # Of seven unlabelled rows, two repeat training prompts and one is a benchmark's question.
    assert (metrics["train"], metrics["unlabelled"], metrics["loaded"]) == (8, 4, 17)
    assert (metrics["exact_duplicates"], metrics["contaminated"]) == (2, 1)
    free = read_table(root / "outputs/unlabelled/unlabelled.parquet", PROMPTS)
    assert [row["row"] for row in free] == [1, 2, 3, 4]
    lines = (root / "outputs/unlabelled/dropped.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["exact_duplicate", "exact_duplicate", "contaminated"]
    assert dropped(root) == []


def test_more_unlabelled_prompts_leave_what_the_teacher_answers_as_it_was(tmp_path):
    sources = [{"path": "p.jsonl"}, {"path": "u.jsonl", "use": "unlabelled"}]
    workspace(tmp_path, rows(20), sources=sources, limit=5, files={"u.jsonl": rows(3, start=60)})
    run_stage("prompts", {}, tmp_path)
    before = content_hash(tmp_path / "outputs/prompts")
    free = content_hash(tmp_path / "outputs/unlabelled")
    workspace(tmp_path, rows(20), sources=sources, limit=5, unlabelled=20, files={"u.jsonl": rows(9, start=58)})
    assert run_stage("prompts", {}, tmp_path)["unlabelled"] == 20
    assert content_hash(tmp_path / "outputs/prompts") == before
    assert content_hash(tmp_path / "outputs/unlabelled") != free
