"""`retort check`: mistakes that stages would refuse one by one, found at once, each with its file and key."""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from retort.check.examine import asked_engines, checked_before, examine, remember
from retort.cli.app import app
from retort.config import load_config, resolved
from retort.run.dvc_adapter import write_lock
from retort.run.tasks import graph
from tests.endpoint_stand_in import draws, echo, serving

CONFIG: dict[str, Any] = {
    "models": {
        "teacher": {"engine": {"type": "recorded", "path": "data/answers.jsonl"}},
        "base": {"source": "models/student"},
    },
    "prompts": {
        "sources": [{"path": "data/prompts.jsonl", "prompt_field": "question", "answer_field": "answer"}],
        "validation": 6,
        "test": 4,
        "near_duplicate_threshold": 1.0,
    },
    "teacher_responses": {"max_new_tokens": 8},
    "sft": {"steps": 3, "max_length": 64},
    "student_responses": {"max_new_tokens": 8},
    "reward": {"steps": 2, "min_per_class": 1, "max_length": 64},
    "ppo": {"prompts_per_iteration": 4, "responses_per_prompt": 2, "minibatch_size": 8, "max_new_tokens": 8},
    "evaluate": {"models": ["base", "sft", "ppo"], "max_new_tokens": 8},
}
STUDENTS = "{sft: {method: sft, from: base, learning_rate: 3}, ppo: {method: ppo, from: sft, reward: learned}}"
VLLM = "{source: models/student, engine: {type: vllm}}"
STUDENT_ENGINES = {"models.base.engine", "students.sft.engine", "students.ppo.engine"}
QUESTIONS = [f"{n} cards and {n} more ?" for n in range(24)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def home(tmp_path, monkeypatch, tiny_model_folder):
    """A folder with prompts, recorded answers and a tiny student; the current folder."""
    tiny_model_folder(name="models/student")
    rows = [{"question": question, "answer": str(2 * n)} for n, question in enumerate(QUESTIONS)]
    write_lines(tmp_path / "data/prompts.jsonl", rows)
    write_lines(
        tmp_path / "data/answers.jsonl",
        [{"prompt": question, "response": f"#### {2 * n}"} for n, question in enumerate(QUESTIONS)],
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written() -> Path:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    return Path("config.yaml")


def found(*changes: str, here: bool = True) -> list[tuple[str, str, str]]:
    checked = examine(load_config(written(), changes=changes), Path(), here=here)
    return [(one.level, one.key, one.words) for one in checked.findings]


def test_a_run_without_a_fault_is_ready_and_says_what_it_will_do(home):
    checked = examine(load_config(written()), Path())
    assert checked.findings == []
    assert checked.exit_code == 0
    assert "24 prompts: 14 train, 6 validation, 4 test; 0 dropped" in checked.facts
    assert "20 recorded responses to 20 prompts" in checked.facts


def test_the_disk_of_a_model_that_is_not_here_is_not_said_to_be_nothing(home):
    def disk(*changes):
        (fact,) = [
            fact for fact in examine(load_config(written(), changes=changes), Path()).facts if "GiB of disk" in fact
        ]
        return fact

    assert "whose weights" not in disk()
    assert "GiB of disk at most beside what comes of base, whose weights are not here" in disk(
        "models.base.source=no/x"
    )


def test_all_faults_come_at_once(home):
    (home / "models/student/model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with (home / "data/prompts.jsonl").open("a") as stream:
        stream.write('{"question": 4}\n')
    keys = [key for _, key, _ in found("sft.learning_rate=2", "tracker={type: mlflow}", "reward.warmup_steps=9")]
    assert keys == [
        "sft.learning_rate",
        "reward.warmup_steps",
        "tracker",
        "prompts.sources[0]",
        "models.base.source",
    ]


@pytest.mark.parametrize(
    ("change", "level", "key", "words"),
    [
        ("prompts.test=30", "error", "prompts", "prompts.test asks for 30 prompts, but only 24 are left"),
        ("prompts.validation=24", "error", "prompts", "prompts.validation asks for 24 prompts, but only 20 are left"),
        ("prompts.test=0", "error", "evaluate.benchmarks.heldout", "there are no prompts"),
        ("prompts.sources=[{path: data/prompts.jsonl}]", "error", "prompts.sources[0]", "field 'prompt': is missing"),
        ("prompts.sources=[{path: data/none.jsonl}]", "error", "", "data/none.jsonl: does not exist, but stage"),
        ("prompts.sources=[{path: ../x.jsonl}]", "error", "", "does not exist"),
        ("answer=choice", "error", "evaluate.benchmarks.heldout", "none of the 4 gold answers is a choice"),
        ("models.base.source=models/none", "error", "models.base.source", "models/none: no such folder"),
        ("models.base.pad_token=<none>", "error", "models.base.source", "'<none>' is not in its vocabulary"),
        ("reward.min_per_class=40", "error", "reward.min_per_class", "wants 40 responses of each label, and can get"),
        ("sft.max_length=8", "error", "sft.max_length", "no example is short enough"),
        ("sft.max_length=20", "warning", "sft.max_length", "of which a prompt takes"),
        ("sft.max_length=4096", "warning", "sft.max_length", "more than the 256 tokens that base was made for"),
        ("student_responses.max_new_tokens=300", "error", "student_responses.max_new_tokens", "exceeds the context"),
        ("ppo.max_new_tokens=300", "error", "ppo.max_new_tokens", "exceeds the context of base, 256"),
        ("sft.learning_rate=20000", "error", "sft.learning_rate", "nothing of the model would be left"),
        ("sft.learning_rate=0.02", "warning", "sft.learning_rate", "usual are 1e-6 to 1e-3"),
        (f"students={STUDENTS}", "error", "students.sft.learning_rate", "nothing of the model"),
        ("tracker={type: mlflow}", "error", "tracker", "names no address, and MLFLOW_TRACKING_URI is not set"),
        ("sft.warmup_steps=3", "warning", "sft.warmup_steps", "is 3 of 3 steps"),
        ("evaluate.benchmarks=[{name: x, task: gsm8k_cott}]", "error", "evaluate.benchmarks", "Did you mean gsm8k_cot"),
        (f"models.teacher={VLLM}", "error", "models.teacher.engine.type", "vllm is not installed here"),
        ("ppo.rollout_engine={type: vllm}", "error", "ppo.rollout_engine.type", "vllm is not installed here"),
    ],
)
def test_a_mistake_is_found_before_anything_starts(home, monkeypatch, change, level, key, words):
    monkeypatch.setenv("PATH", "/nowhere")
    every = found(change)
    assert any(one == level and place == key and words in text for one, place, text in every), every


def test_recorded_responses_to_other_prompts_are_told(home):
    write_lines(home / "data/answers.jsonl", [{"prompt": "something else", "response": "#### 1"}])
    (only,) = found()
    assert only[:2] == ("error", "models.teacher.engine")
    assert "data/answers.jsonl: holds no response to any of the 20 prompts" in only[2]


def test_an_absolute_path_inside_the_project_is_told_its_name_there(home):
    (only,) = found(f"prompts.sources=[{{path: {home}/data/prompts.jsonl}}]")
    assert only == ("error", "", f"{home}/data/prompts.jsonl: name it by its path from {home}, data/prompts.jsonl.")


def endpoint(server: Any) -> str:
    engine = {"type": "openai", "base_url": server.url, "model": "m", "api_key_env": "CHECK_KEY"}
    return f"models.teacher={json.dumps({'engine': engine})}"


def test_an_endpoint_is_asked_four_short_questions_with_its_key(home, monkeypatch):
    with serving(say=draws) as server:
        assert "environment variable CHECK_KEY is not set" in found(endpoint(server))[0][2]
        assert server.asked == []
        monkeypatch.setenv("CHECK_KEY", "k")
        checked = examine(load_config(written(), changes=[endpoint(server)]), Path())
    assert [one for one in checked.findings if one.level == "error"] == []
    assert len(server.asked) == 4
    assert f"{server.url} answers as m" in checked.facts
    # 20 prompts x 4 samples x 2 temperatures; the teacher is not evaluated.
    assert any(fact.startswith("the teacher is asked 160 times") for fact in checked.facts)


@pytest.mark.parametrize(
    ("settings", "votes"),
    [
        ({}, 20 * 16 * 2),  # 8 responses, each against 4 others, in both orders
        ({"opponents": 99}, 20 * 28 * 2),  # all pairs of 8
        ({"method": "rubric"}, 20 * 8),
        ({"method": "rubric", "samples": 3, "temperature": 0.5}, 20 * 8 * 3),
    ],
)
def test_a_judge_behind_an_endpoint_is_counted_and_priced(home, monkeypatch, settings, votes):
    monkeypatch.setenv("CHECK_KEY", "k")
    with serving(say=draws) as server:
        engine = {"type": "openai", "base_url": server.url, "model": "j", "api_key_env": "CHECK_KEY", "prompt_cost": 9}
        judge = json.dumps({"model": {"engine": engine}, **settings})
        changes = ["answer=open", f"judge={judge}", "teacher_responses.temperatures=[0.7, 1.0]"]
        facts = examine(load_config(written(), changes=[*changes, endpoint(server)]), Path()).facts
    (fact,) = [fact for fact in facts if fact.startswith("the judge is asked")]
    assert f"votes {votes:,}" in fact
    assert "at the prices given" in fact


def test_an_endpoint_that_ignores_the_temperature_would_make_votes_worthless(home, monkeypatch):
    monkeypatch.setenv("CHECK_KEY", "k")
    with serving(say=echo) as server:
        (error, *_) = found(endpoint(server))
    assert error[:2] == ("error", "models.teacher.engine")
    assert "a vote over 8 equal samples says nothing" in error[2]


def test_greedy_samples_are_no_votes(home, monkeypatch):
    monkeypatch.setenv("CHECK_KEY", "k")
    with serving(say=draws) as server:
        every = found(endpoint(server), "teacher_responses.temperatures=[0.0]")
    assert ("error", "teacher_responses.temperatures") in [one[:2] for one in every]


def test_an_endpoint_whose_answers_are_all_recorded_may_be_away(home, monkeypatch):
    monkeypatch.setenv("CHECK_KEY", "k")
    with serving(say=draws) as server:
        pass
    config = load_config(written(), changes=[endpoint(server)])
    assert asked_engines(config, Path(), Path("runs/x")) == {"models.teacher.engine", *STUDENT_ENGINES}
    values, lock = resolved(config), {}
    for task in graph(config):
        known = {key: reduce(getitem, key.split("."), values) for key in task.params}
        lock[task.address] = {"cmd": task.command, "params": {"params.yaml": known}}
    write_lock(Path("runs/x"), lock)
    assert asked_engines(config, Path(), Path("runs/x")) == set()
    assert examine(config, Path(), workspace=Path("runs/x")).findings == []
    more = load_config(written(), changes=[endpoint(server), "teacher_responses.samples=5"])
    assert "models.teacher.engine" in asked_engines(more, Path(), Path("runs/x"))
    other = load_config(written(), changes=[endpoint(server), "ppo.learning_rate=1e-5"])
    assert "models.teacher.engine" not in asked_engines(other, Path(), Path("runs/x"))


def test_an_endpoint_that_refuses_the_key_or_is_away_is_told_by_address(home, monkeypatch):
    monkeypatch.setenv("CHECK_KEY", "k")
    with serving(refuse=lambda _: (401, "bad key")) as server:
        checked = examine(load_config(written(), changes=[endpoint(server)]), Path())
    assert "bad key" in checked.findings[0].words
    assert checked.exit_code == 64
    away = examine(load_config(written(), changes=[endpoint(server)]), Path())  # nobody listens there any more
    assert server.url in away.findings[0].words
    assert away.exit_code == 75
    elsewhere = examine(load_config(written(), changes=[endpoint(server)]), Path(), here=False)
    assert [one.level for one in elsewhere.findings] == ["warning"]
    assert "the cluster may differ" in elsewhere.findings[0].words


def test_a_folder_that_cannot_be_written_and_a_full_disk_are_told(home, monkeypatch):
    from retort.check import machine

    config = load_config(written())
    unwritable = examine(config.model_copy(), Path("/proc"))
    assert any("/proc: cannot be written" in one.words for one in unwritable.findings)
    full = machine.shutil.disk_usage(home)._replace(free=1000)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: full)
    assert any("has 0.0 GiB free, and the run may take 0.5 GiB" in one[2] for one in found())


def test_what_passed_is_not_checked_again_until_a_file_or_a_setting_changes(home):
    config = load_config(written())
    assert not checked_before(config, Path(), Path("runs/x"))
    remember(config, Path(), Path("runs/x"))
    assert checked_before(config, Path(), Path("runs/x"))
    assert not checked_before(load_config(written(), changes=["sft.steps=4"]), Path(), Path("runs/x"))
    with (home / "data/prompts.jsonl").open("a") as stream:
        stream.write("\n")
    assert not checked_before(config, Path(), Path("runs/x"))


def test_the_verb_prints_lines_or_json_and_ends_with_the_stages_code(home):
    file = str(written())
    good = CliRunner().invoke(app, ["check", file])
    assert (good.exit_code, "Ready." in good.stdout) == (0, True), good.stdout
    bad = CliRunner().invoke(app, ["check", file, "--set", "sft.learning_rate=9", "--json"])
    assert bad.exit_code == 64
    answer = json.loads(bad.stdout)
    assert (answer["ready"], answer["config"]) == (False, file)
    assert [(one["level"], one["key"]) for one in answer["findings"]] == [("error", "sft.learning_rate")]
    words = CliRunner().invoke(app, ["check", file, "--set", "sft.learning_rate=9"]).stdout
    assert words.startswith("error    config.yaml: sft.learning_rate: is 9:")
    assert "1 would stop the run." in words


def test_a_configuration_that_does_not_load_is_a_finding_for_each_problem(home):
    Path("config.yaml").write_text("sft: {steps: 4}\nsft: {steps: 9}\n")
    twice = CliRunner().invoke(app, ["check", "config.yaml", "--json"])
    assert twice.exit_code == 64
    assert "line 2 gives 'sft' again" in json.loads(twice.stdout)["findings"][0]["words"]
    changes = ["--set", "prompts.ngram=1", "--set", "votes.min_share=7"]
    answer = json.loads(CliRunner().invoke(app, ["check", str(written()), "--json", *changes]).stdout)
    assert [one["words"].partition(":")[0] for one in answer["findings"]] == ["prompts.ngram", "votes.min_share"]
