"""Recorded responses of real models, real questions, and students whose tokenizers are not the demonstration's."""

import gzip
import json
import math
from pathlib import Path

import pytest
import yaml

from retort.config import load_config, resolved
from retort.demo import tiny
from retort.errors import ConfigError
from retort.run.stage import run_stage
from retort.run.tasks import graph
from retort.text.equal import same_answer
from retort.text.extract import read_answer

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data/gsm8k"
SOLUTIONS, QUESTIONS = DATA / "gsm8k_example_model_solutions.jsonl.gz", DATA / "gsm8k_test_questions.jsonl.gz"
SMALL = [
    "prompts.limit=40",
    "prompts.validation=40",
    "sft={steps: 10, batch_size: 4, warmup_steps: 1, checkpoint_steps: 10}",
    "student_responses={temperatures: [1.0], samples: 1, max_new_tokens: 12}",
    "reward={steps: 12, batch_size: 16, evaluate_steps: 6, learning_rate: 1.0e-3, head_learning_rate: 1.0e-2}",
    "reward={min_auc: 0, max_calibration_error: 1.0, min_per_class: 0}",  # so that PPO runs whatever was learned
    "ppo={iterations: 2, prompts_per_iteration: 4, minibatch_size: 8, max_new_tokens: 8, validation_limit: 4}",
    "ppo={micro_batch_size: 4, gradient_checkpointing: true, lora: {rank: 4, alpha: 8}}",
    "students.sft_equal_compute={max_extra_steps: 1}",
    "evaluate={max_new_tokens: 8}",
]


def workspace(folder, config):
    """A folder with this configuration, from which the checkout's data are seen."""
    (folder / "params.yaml").write_text(yaml.safe_dump(resolved(config)))
    (folder / "data").symlink_to(ROOT / "data")
    return folder


def metrics(root, name):
    return json.loads((root / "metrics" / f"{name}.json").read_text())


def run(root, config, names=None):
    for task in graph(config, root):
        if names is None or task.stage.name in names:
            run_stage(task.stage.name, task.values, root)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The whole set of recorded responses, up to the vote."""
    config = load_config(ROOT / "configs/gsm8k-recorded.yaml")
    root = workspace(tmp_path_factory.mktemp("labelled"), config)
    run(root, config, ["prompts", "models", "teacher_responses", "votes"])
    return root


def test_decontamination_recognises_gsm8ks_own_test_set(labelled):
    found = metrics(labelled, "prompts")
    assert found["contaminated"] == found["contaminated_kept"] == 1319
    assert found["contamination"]["data/gsm8k/gsm8k_test_questions.jsonl.gz"]["whole"] == 1319


def test_dropping_contaminated_prompts_leaves_none_and_says_what_to_do(tmp_path):
    config = load_config(ROOT / "configs/gsm8k-recorded.yaml", changes=["prompts.contaminated=drop"])
    root = workspace(tmp_path, config)
    with pytest.raises(ConfigError, match=r"only 0 are left .* 1319 contaminated.* use others; or keep them with"):
        run_stage("prompts", {}, root)
    assert not (root / "outputs/prompts").exists()


def test_every_response_is_judged_as_its_label_says():
    with gzip.open(SOLUTIONS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    wrong = []
    for row in rows:
        gold = row["ground_truth"].rpartition("A: ")[2]
        for model in (key for key, value in row.items() if isinstance(value, dict)):
            answer = read_answer(row[model]["solution"], "number")
            right = answer is not None and same_answer(answer.value, gold, "number")
            if right != row[model]["is_correct"]:
                wrong.append((row["question"], model))
    assert len(rows) == 1319
    assert wrong == []


def test_the_vote_is_right_about_twice_as_often_as_a_single_response(labelled):
    found = metrics(labelled, "votes")
    assert (found["prompts"], found["responses"]) == (1319, 5276)
    assert found["sample_accuracy"] == pytest.approx((286 + 515 + 458 + 742) / 5276)  # the labels' own counts
    # 565 of the 791 labels are right; the other 528 prompts have a tie or no two answers alike. What breaks off in the
    # middle of a repeating decimal or a sum gave no answer: two that did so alike once made a 792nd label, a wrong one.
    assert (found["known"], found["abstained"]) == (791, 528)
    assert found["accuracy"] == pytest.approx(565 / 791)


@pytest.mark.parametrize("name", ["gsm8k-recorded", "gsm8k-recorded-qwen2"])
def test_every_stage_runs_with_a_tokenizer_that_is_not_the_demonstrations(name, tmp_path):
    # one change at a time: a later one to a section is laid over an earlier one
    config = load_config(ROOT / f"configs/{name}.yaml", changes=SMALL)
    benchmarks = [config.evaluate.benchmarks[0].model_copy(update={"limit": 4})]
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"benchmarks": benchmarks})})
    root = workspace(tmp_path, config)
    run(root, config)
    assert metrics(root, "sft-sft")["loss"] < math.log(tiny.VOCABULARY) - 0.3  # random weights start above it
    assert "skipped" not in metrics(root, "ppo-ppo")
    assert metrics(root, "ppo-ppo")["iterations"] == 2
    assert metrics(root, "evaluate-ppo-gsm8k")["items"] == 4
    assert "GSM8K" in (root / "report.html").read_text()


def content(file):
    """A file's bytes; of a configuration, what it holds apart from the version of `transformers`."""
    if file.name not in ("config.json", "generation_config.json"):
        return file.read_bytes()
    return {key: value for key, value in json.loads(file.read_text()).items() if key != "transformers_version"}


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_shipped_students_are_what_their_command_makes(architecture, tmp_path):
    tiny.make(architecture, [SOLUTIONS, QUESTIONS], tmp_path / "made")
    shipped = DATA / f"tiny-{architecture}"
    assert sorted(file.name for file in shipped.iterdir()) == sorted(
        file.name for file in (tmp_path / "made").iterdir()
    )
    for file in shipped.iterdir():
        assert content(tmp_path / "made" / file.name) == content(file), file.name
    assert sum(file.stat().st_size for file in shipped.iterdir()) < 700_000


def test_a_shipped_student_reads_and_writes_any_text():
    from retort.modeling.loading import load_tokenizer

    for architecture in ("llama", "qwen2"):
        tokenizer = load_tokenizer(DATA / f"tiny-{architecture}")
        text = "Zoë’s 12,345.60 € — “naïve”\n\n  \t 東京 🦆 <<3*4=12>>12"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        digits = tokenizer("1234567", add_special_tokens=False).input_ids
        assert (len(digits) == 7) is (architecture == "qwen2")  # one by one; Llama 3 in groups of three
