import random
from collections import Counter

import pytest

from retort.errors import InputError
from retort.io.files import content_hash
from retort.io.tables import PROMPTS, RESPONSES, REWARD_EXAMPLES, VOTES, read_table, write_table
from retort.run.paths import Paths
from retort.run.stage import run_stage
from tests.conftest import write_params

LEARNED = {"reward": "learned"}


def workspace(root, responses, labels=None, gold="1", **settings):
    """Prompts t0, t1 (train) and v0 (validation), each with label 1; responses as (source, prompt, text, finish)."""
    paths = Paths(root)
    labels = {"t0": "1", "t1": "1", "v0": "1", **(labels or {})}
    for split in ("train", "validation"):
        rows = [
            {"prompt_id": name, "prompt": f"text {name}", "answer": gold, "source": "p", "row": 1}
            for name in labels
            if name[0] == split[0]
        ]
        write_table(paths.prompts(split), rows, PROMPTS)
    votes = [
        {"prompt_id": name, "label": label, "votes": 1, "total": 1, "share": 1.0, "margin": 1.0,
         "answer": gold, "correct": None, "abstained": label is None}
        for name, label in labels.items()
    ]  # fmt: skip
    write_table(paths.votes, votes, VOTES)
    for stage in ("teacher", "sft"):
        write_table(paths.responses(stage, 0), as_rows([one for one in responses if one[0] == stage]), RESPONSES)
    write_params(root, teacher_responses={"shards": [0]}, reward_data=settings)
    return paths


def as_rows(responses):
    return [
        {"prompt_id": name, "sample": sample, "source": source, "model": "m", "temperature": 1.0, "seed": 0,
         "response": text, "finish_reason": finish, "prompt_tokens": 0, "response_tokens": 0}
        for sample, (source, name, text, finish) in enumerate(responses)
    ]  # fmt: skip


def both(source, name, right=1, wrong=1):
    texts = [f"{source} {n}\n#### 1" for n in range(right)] + [f"{source} {n}\n#### {n + 2}" for n in range(wrong)]
    return [(source, name, text, "stop") for text in texts]


def read(paths, split):
    return read_table(paths.reward_data("learned", split), REWARD_EXAMPLES)


def test_label_is_agreement_with_the_vote_and_prompts_stay_on_their_side(tmp_path):
    more = [("teacher", "t0", "#### 1.0", "length"), ("sft", "t0", "no answer", "content_filter")]
    paths = workspace(tmp_path, [*both("teacher", "t0"), *more, *both("sft", "v0")], balance=False)
    metrics = run_stage("reward_data", LEARNED, tmp_path)
    rows = read(paths, "train")
    assert [(row["source"], row["label"], row["finished"]) for row in rows] == [
        ("teacher", 1, True), ("teacher", 0, True), ("teacher", 1, False), ("sft", 0, False),
    ]  # fmt: skip
    assert {row["prompt_id"] for row in read(paths, "validation")} == {"v0"}
    assert metrics["label_accuracy"] == 1.0
    assert metrics["by_source"]["validation/sft"] == {"examples": 2, "positive_share": 0.5}


def test_abstained_prompts_are_left_out(tmp_path):
    paths = workspace(tmp_path, both("teacher", "t0") + both("teacher", "t1", 3, 3) + both("sft", "v0"), {"t1": None})
    metrics = run_stage("reward_data", LEARNED, tmp_path)
    assert {row["prompt_id"] for row in read(paths, "train")} == {"t0"}
    assert metrics["abstained"] == 6


def test_everything_is_used_unless_a_cap_or_balance_is_asked_for(tmp_path):
    some = [*both("teacher", "t0", 40, 3), *both("sft", "t0", 1, 30), *both("sft", "v0", 9, 2)]
    paths = workspace(tmp_path, some)
    metrics = run_stage("reward_data", LEARNED, tmp_path)
    assert (metrics["train"], metrics["over_cap"], metrics["dropped_for_balance"]) == (74, 0, 0)
    assert Counter(row["label"] for row in read(paths, "train")) == {1: 41, 0: 33}


def test_training_is_distinct_and_balanced_and_validation_keeps_natural_frequencies(tmp_path):
    copies = [("teacher", "t0", "teacher 0\n#### 1", "stop")] * 3
    validation = [*both("sft", "v0", 1, 1), *both("sft", "v0", 5, 0)]
    paths = workspace(tmp_path, [*both("teacher", "t0", 5, 2), *copies, *validation], balance=True)
    metrics = run_stage("reward_data", LEARNED, tmp_path)
    assert Counter(row["label"] for row in read(paths, "train")) == {0: 2, 1: 2}
    assert (metrics["duplicates"], metrics["dropped_for_balance"]) == (3, 3)
    assert Counter(row["label"] for row in read(paths, "validation")) == {1: 6, 0: 1}


def test_no_prompt_and_source_exceeds_the_cap(tmp_path):
    some = both("teacher", "t0", 6, 6) + both("sft", "t0", 6, 6) + both("teacher", "t1", 1, 1) + both("sft", "v0", 1, 3)
    paths = workspace(tmp_path, some, max_per_prompt=4, balance=False)
    assert run_stage("reward_data", LEARNED, tmp_path)["over_cap"] == 16
    counts = Counter((row["prompt_id"], row["source"]) for row in read(paths, "train"))
    assert counts == {("t0", "teacher"): 4, ("t0", "sft"): 4, ("t1", "teacher"): 2}


def test_same_input_gives_the_same_bytes(tmp_path):
    paths = workspace(tmp_path, both("teacher", "t0", 9, 5) + both("sft", "v0", 9, 9), max_per_prompt=8)
    run_stage("reward_data", LEARNED, tmp_path)
    first = content_hash(paths.reward_data("learned", "train").parent)
    run_stage("reward_data", LEARNED, tmp_path)
    assert content_hash(paths.reward_data("learned", "train").parent) == first


@pytest.mark.parametrize(
    ("responses", "problem"),
    [
        (
            both("teacher", "t0", 3, 0) + both("sft", "v0"),
            r"train.parquet, field 'label': all 3 examples would have label 1",
        ),
        (
            both("teacher", "t0") + both("sft", "v0", 0, 2),
            r"validation.parquet, field 'label': all 2 examples would have label 0",
        ),
        (both("teacher", "t0"), r"validation.parquet, field 'label': would hold no example"),
    ],
)
def test_set_with_one_class_is_refused_and_nothing_is_written(tmp_path, responses, problem):
    paths = workspace(tmp_path, responses)
    with pytest.raises(InputError, match=problem):
        run_stage("reward_data", LEARNED, tmp_path)
    assert not paths.reward_data("learned", "train").exists()


@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("of_student", [1, 3], ids=["one shard of the student's", "as many"])
def test_examples_over_shards_are_those_over_the_whole(tmp_path, balance, of_student):
    rng = random.Random(5)
    names = [f"{'t' if number < 40 else 'v'}{number}" for number in range(50)]
    said = {
        source: [
            [
                (source, name, f"{rng.randrange(40)} steps\n#### {rng.randrange(1, 3)}", rng.choice(["stop", "length"]))
                for _ in range(5)
            ]
            for name in names
        ]
        for source in ("teacher", "sft")
    }
    labels = {name: None if number % 9 == 0 else "1" for number, name in enumerate(names)}
    found = {}
    for of in (1, 3):
        root = tmp_path / str(of)
        paths = workspace(root, [], {"t0": None, "t1": None, "v0": None} | labels, max_per_prompt=3, balance=balance)
        shards = {"teacher": of, "sft": 1 if of == 1 else of_student}
        prompts = [
            row["prompt_id"] for split in ("train", "validation") for row in read_table(paths.prompts(split), PROMPTS)
        ]
        for source, count in shards.items():
            for shard in range(count):
                mine = prompts[shard::count]
                rows = [one for some in said[source] for one in some if one[1] in mine]
                write_table(paths.responses(source, shard), as_rows(rows), RESPONSES)
        settings = {"max_per_prompt": 3, "balance": balance}
        sections = {
            f"{name}_responses": {"shards": list(range(count))}
            for name, count in (("teacher", of), ("student", shards["sft"]))
        }
        write_params(root, reward_data=settings, **sections)
        if of > 1:
            for part in range(of):
                run_stage("reward_examples", {**LEARNED, "shard": str(part)}, root)
        found[of] = run_stage("reward_data", LEARNED, root), content_hash(paths.reward_data("learned", "train").parent)
    assert found[3] == found[1]
    metrics = found[1][0]
    assert min(metrics[name] for name in ("over_cap", "abstained", "duplicates")) > 0
    assert bool(metrics["dropped_for_balance"]) == balance


def test_a_response_in_another_shard_s_table_is_refused(tmp_path):
    paths = workspace(tmp_path, both("teacher", "t0") + both("sft", "v0"))
    write_table(paths.responses("teacher", 1), as_rows(both("teacher", "t0")), RESPONSES)  # t1 is of shard 1, not t0
    write_params(tmp_path, teacher_responses={"shards": [0, 1]})
    with pytest.raises(InputError, match=r"shard-1.parquet, row 1, field 'prompt_id': 't0' is no prompt of this shard"):
        run_stage("reward_examples", {**LEARNED, "shard": "1"}, tmp_path)
