"""Bad input through the `retort` command, in a workspace as `retort run` makes it.

Each case asserts the exit code, that the message names file and remedy, that nothing half-written is left, and that
what earlier stages wrote is kept.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.cli import main
from retort.config import load_config
from retort.errors import DO_NOT_RETRY, RETRY
from retort.io.files import content_hash
from retort.io.tables import REWARD_EXAMPLES, write_table
from retort.run.paths import Paths
from retort.run.workspace import create

CONFIG: dict[str, Any] = {
    "seed": 0,
    "answer": "number",
    "models": {
        "teacher": {"engine": {"type": "recorded", "path": "data/answers.jsonl"}},
        "base": {"source": "models/student"},
    },
    "prompts": {
        "sources": [{"path": "data/prompts.jsonl", "prompt_field": "question", "answer_field": "answer"}],
        "validation": 4,
        "near_duplicate_threshold": 1.0,
    },
    "teacher_responses": {"max_new_tokens": 8},
    "sft": {"steps": 3, "batch_size": 4, "max_length": 64, "checkpoint_steps": 1},
    "student_responses": {"max_new_tokens": 4},
    "reward": {"steps": 2, "batch_size": 4, "evaluate_steps": 1, "head_size": 4},
    "ppo": {"prompts_per_iteration": 4, "responses_per_prompt": 2, "minibatch_size": 8, "max_new_tokens": 4},
    "evaluate": {"models": ["base", "sft", "ppo"]},
}
QUESTIONS = [f"{n} cards and {n} more ?" for n in range(16)]


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_model_folder):
    """A workspace with sixteen prompts, their recorded answers and a tiny student; the current folder."""
    logging.getLogger("dvclive").setLevel(logging.ERROR)
    home = tmp_path / "home"
    tiny_model_folder(name="home/models/student")
    write_lines(home / "data/prompts.jsonl", [{"question": q, "answer": str(2 * n)} for n, q in enumerate(QUESTIONS)])
    write_lines(
        home / "data/answers.jsonl",
        [{"prompt": q, "response": f"#### {2 * n}"} for n, q in enumerate(QUESTIONS) for _ in range(3)],
    )
    (home / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    root = home / "runs/config"
    create(root, load_config(home / "config.yaml"), home=home, remote="runs/.remote", cache=home / "runs/.cache")
    monkeypatch.chdir(root)
    return root


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def stage(monkeypatch, capsys):
    """`stage("votes")`: runs `retort stage votes` here and returns exit code and message."""

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["retort", "stage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        message = capsys.readouterr().err
        return int(ended.value.code or 0), message[message.find("retort: ") :] if "retort: " in message else message

    return run


@pytest.fixture
def done(stage):
    """`done("prompts", "models")`: runs these stages, which must succeed."""

    def run(*names: str) -> None:
        for name in names:
            code, message = stage(*name.split())
            assert code == 0, message

    return run


def change(work: Path, **sections: dict[str, Any]) -> None:
    values = yaml.safe_load((work / "params.yaml").read_text())
    for name, section in sections.items():
        values[name] |= section
    (work / "params.yaml").write_text(yaml.safe_dump(values))


def outputs(work: Path) -> dict[str, str]:
    """Every file that stages wrote, by content."""
    found = [path for part in ("outputs", "metrics") for path in (work / part).rglob("*") if path.is_file()]
    assert not [path for path in found if path.name.endswith((".tmp", ".old"))]
    return {path.relative_to(work).as_posix(): content_hash(path) for path in found}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pad_token": None}, "field 'pad_token': there is none. Set `pad_token` beside `model`"),
        ({"pad_token": "<|end|>"}, "field 'pad_token': it equals EOS"),
        ({"chat_template": None}, "field 'chat_template': there is none. Set `chat_template` beside `model`"),
    ],
)
def test_a_tokenizer_that_cannot_be_trained_with(work, done, stage, changes, words):
    done("prompts")
    before = outputs(work)
    file = work / "models/student/tokenizer_config.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    if "chat_template" in changes:
        (work / "models/student/chat_template.jinja").unlink(missing_ok=True)
    code, message = stage("models")
    assert code == DO_NOT_RETRY
    assert "models/student/tokenizer_config.json" in message
    assert words in message
    assert outputs(work) == before


def test_a_model_folder_with_pickled_weights_only(work, done, stage):
    done("prompts")
    before = outputs(work)
    (work / "models/student/model.safetensors").rename(work / "models/student/pytorch_model.bin")
    code, message = stage("models")
    assert code == DO_NOT_RETRY
    assert "models/student/pytorch_model.bin: pickled weights can run code" in message
    assert "save_pretrained" in message
    assert outputs(work) == before


def test_a_prompt_longer_than_the_context(work, done, stage):
    lines = [{"question": q, "answer": "1"} for q in [*QUESTIONS, QUESTIONS[0] + " and one more" * 200]]
    write_lines(Path("data/prompts.jsonl"), lines)
    done("prompts", "models")
    shutil.copytree(work / "models/student", work / "outputs/models/sft")
    before = outputs(work)
    code, message = stage("student_responses", "--student", "sft", "--shard", "0")
    assert code == DO_NOT_RETRY
    assert "outputs/prompts" in message
    assert "field 'prompt'" in message
    assert "exceeds the model's context of 256" in message
    assert "Shorten or remove the prompt" in message
    assert outputs(work) == before


def test_all_prompts_abstaining(work, done, stage):
    write_lines(Path("data/answers.jsonl"), [{"prompt": q, "response": "I do not know"} for q in QUESTIONS])
    done("prompts", "models", "teacher_responses --shard 0")
    before = outputs(work)
    code, message = stage("votes")
    assert code == DO_NOT_RETRY
    assert "outputs/teacher_responses" in message or "outputs/votes" in message
    assert "abstains on all 16 prompts" in message
    assert "Check that `answer` names the kind of answer" in message
    assert outputs(work) == before


def test_a_reward_set_with_one_class(work, done, stage):
    done("prompts", "models")
    shutil.copytree(work / "models/student", work / "outputs/models/sft")
    rows = [
        {
            "prompt_id": f"p{n}",
            "prompt": q,
            "response": "#### 1",
            "source": "sft",
            "finished": True,
            "label": 1,
            "correct": None,
        }
        for n, q in enumerate(QUESTIONS)
    ]
    for split in ("train", "validation"):
        write_table(Paths(work).reward_data("learned", split), rows, REWARD_EXAMPLES)
    before = outputs(work)
    code, message = stage("reward", "--reward", "learned")
    assert code == DO_NOT_RETRY
    assert "outputs/reward_data/learned/train.parquet, field 'label': holds 16 examples of 1 class(es)" in message
    assert "Sample more responses or at a higher temperature" in message
    assert outputs(work) == before


def test_a_typo_in_the_configuration(work, done, stage):
    done("prompts")
    before = outputs(work)
    change(work, sft={"learnin_rate": 1e-3})
    code, message = stage("sft", "--student", "sft")
    assert code == 64
    assert "params.yaml" in message
    assert "sft: unknown key 'learnin_rate'; did you mean 'learning_rate'?" in message
    assert outputs(work) == before


@pytest.mark.parametrize(
    ("row", "changes", "exit_code", "words"),
    [
        ({"question": "2 eggs ?"}, {}, DO_NOT_RETRY, "data/b.jsonl, row 2, field 'answer': is missing"),
        ({"text": "2 eggs ?", "gold": "2"}, {}, DO_NOT_RETRY, "data/b.jsonl, row 2, field 'question': is missing"),
        (None, {"data": {"test": "data/none.jsonl"}}, DO_NOT_RETRY, "data/none.jsonl: does not exist"),
        (None, {"num_fewshot": 2}, 64, "has no file for split 'train'"),
        (None, {"task": "gsm8k_cott"}, 64, "lm-evaluation-harness has no task 'gsm8k_cott'. Did you mean gsm8k_cot"),
    ],
    ids=["no gold", "wrong columns", "no file", "no split", "no task"],
)
@pytest.mark.timeout(600)
def test_a_benchmark_that_cannot_be_run(work, done, stage, row, changes, exit_code, words):
    done("prompts", "models")
    write_lines(Path("data/b.jsonl"), [{"question": "1 egg ?", "answer": "#### 1"}, *([row] if row else [])])
    benchmark = {"name": "b", "task": "gsm8k", "data": {"test": "data/b.jsonl"}, "num_fewshot": 0}
    files = list((benchmark | changes)["data"].values())
    change(work, evaluate={"benchmarks": [benchmark | changes]}, prompts={"decontaminate": files})
    before = outputs(work)
    code, message = stage("evaluate", "--model", "base", "--benchmark", "b")
    assert (code, words in message) == (exit_code, True), message
    assert outputs(work) == before


def test_a_loss_that_is_not_a_number(work, done, stage):
    done("prompts", "models", "teacher_responses --shard 0", "votes")
    before = outputs(work)
    change(work, sft={"learning_rate": 1e30, "max_grad_norm": 1e30})
    code, message = stage("sft", "--student", "sft")
    assert code == DO_NOT_RETRY
    assert "is nan at step" in message
    assert "Lower the learning rate" in message
    assert outputs(work) == before


@pytest.mark.parametrize(("name", "size"), [("prompts", 500), ("sft", 1), ("sft", 30_000)])
def test_a_full_disk(work, done, stage, limit_file_size, name, size):
    words = "sft --student sft" if name == "sft" else name
    # So small that the first file, or so large that only the weights do not fit.
    done("prompts", "models", "teacher_responses --shard 0", "votes", *([words] if size == 1 else []))
    before = outputs(work)
    with limit_file_size(size):
        code, message = stage(*words.split())
    assert code == RETRY
    assert "could not be written" in message
    assert "Free space" in message
    assert outputs(work) == before
    done(words)
    assert name == "sft" or outputs(work) == before
