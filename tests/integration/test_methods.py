"""Every training method side by side: in dvc.yaml, pipeline, plan, run and report."""

import json
from pathlib import Path

import pytest
import yaml
from retort_pipelines.graph import compile as compiling
from retort_pipelines.profiles import Profile
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config
from retort.errors import ConfigError
from retort.run.stage import run_stage
from retort.run.tasks import graph
from retort.run.workspace import create, dvc_yaml

CHECKOUT = Path(__file__).parents[2]
ON_POLICY = {"iterations": 2, "prompts_per_iteration": 4, "max_new_tokens": 48, "evaluate_every": 1}
GROUP = ON_POLICY | {"responses_per_prompt": 4}
STUDENTS = {
    "sft": {"method": "sft", "from": "base", "steps": 60},
    "sft_all": {"method": "sft", "from": "base", "responses": "all"},
    "dpo": {"method": "dpo", "from": "sft"},
    "grpo": {"method": "grpo", "from": "sft", "reward": "vote"},
    "rloo": {"method": "rloo", "from": "sft", "reward": "brevity"},
    "ttrl": {"method": "grpo", "from": "sft", "reward": "own", "keep": "last"},
    "distilled": {"method": "distillation", "from": "sft"},
    "best_own": {"method": "rejection", "from": "sft", "reward": "own"},
    "best_taught": {"method": "rejection", "from": "base", "reward": "vote", "source": "teacher"},
    "best": {"method": "best_of", "from": "sft", "reward": "vote", "n": 3},
    "grpo2": {"method": "grpo", "from": "grpo", "reward": "vote"},  # a second round
}
SOURCES = [{"path": "retort/demo/assets/prompts.jsonl", "prompt_field": "question", "answer_field": "answer"}]
VALUES = {
    "extends": str(CHECKOUT / "configs/demo.yaml"),
    "prompts": {"sources": SOURCES, "limit": 24, "validation": 12, "test": 10},
    "teacher_responses": {"samples": 8, "shards": [0], "temperatures": [1.0]},
    "sft": {"steps": 3, "batch_size": 8},
    "dpo": {"steps": 3, "batch_size": 4, "max_length": 128},
    "grpo": GROUP,
    "rloo": GROUP,
    "distillation": ON_POLICY,
    "rejection": {"steps": 3, "batch_size": 8, "samples": 3, "max_new_tokens": 48},
    "students": STUDENTS | {"ppo": None},
    "rewards": {
        "learned": None,
        "vote": {"type": "vote"},
        "own": {"type": "own_vote"},
        "brevity": {"type": "function", "path": "my_reward.py:score"},
    },
    "evaluate": {"max_new_tokens": 48, "benchmarks": [{"name": "heldout"}]},
    "result": "grpo2",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a configuration of all methods."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_reward.py").write_text(
        "def score(prompts, responses, finished):\n    return [1 / (1 + len(text)) for text in responses]\n"
    )
    file = tmp_path / "methods.yaml"
    file.write_text(yaml.safe_dump(VALUES, sort_keys=False))
    return tmp_path, file


def test_each_reads_what_it_needs_and_no_more(project):
    _, file = project
    stages = yaml.safe_load(dvc_yaml(graph(load_config(file))))["stages"]
    reads = {name: {one for one in stages[name]["deps"] if one.startswith("outputs/")} for name in stages}
    answers, vote = "outputs/teacher_responses/shard-0.parquet", "outputs/votes"
    assert {answers, vote} <= reads["dpo-dpo"]
    assert reads["grpo-grpo"] == {"outputs/prompts", "outputs/models/sft", vote}
    # The majority of its own samples: neither teacher nor vote, not even to choose what is kept.
    assert reads["grpo-ttrl"] == reads["rejection-best_own"] == {"outputs/prompts", "outputs/models/sft"}
    assert reads["distillation-distilled"] >= {"outputs/models/teacher", vote}
    assert reads["rejection-best_taught"] >= {answers, "outputs/models/base", vote}
    assert reads["grpo-grpo2"] >= {"outputs/models/grpo"}
    assert "my_reward.py" in stages["rloo-rloo"]["deps"]
    # What answers with a reward beside it reads that wherever it answers.
    assert reads["evaluate-best-heldout"] == {"outputs/prompts", "outputs/models/best", vote}
    assert reads["evaluate-sft-heldout"] == {"outputs/prompts", "outputs/models/sft"}
    params = str(stages["evaluate-best-heldout"]["params"])
    assert "students.best.n" in params
    assert "rewards.vote.type" in params
    assert stages["grpo-ttrl"]["cmd"] == "retort stage grpo --student ttrl"


def test_what_samples_for_itself_trains_on_prompts_without_answers_unless_its_reward_needs_a_label(project):
    folder, _ = project
    file = folder / "unlabelled.yaml"
    file.write_text(yaml.safe_dump(VALUES | {"prompts": VALUES["prompts"] | {"unlabelled": 30}}, sort_keys=False))
    stages = yaml.safe_load(dvc_yaml(graph(load_config(file))))["stages"]
    trained = [f"{entry['method']}-{name}" for name, entry in STUDENTS.items()]
    assert {name for name in trained if "outputs/unlabelled" in stages[name]["deps"]} == {
        *("rloo-rloo", "grpo-ttrl", "distillation-distilled", "rejection-best_own")
    }


def test_each_is_a_component_of_the_pipeline(project):
    folder, file = project
    compiling.compile(load_config(file), Profile(), folder / "pipeline.yaml")
    pipeline = next(yaml.safe_load_all((folder / "pipeline.yaml").read_text()))
    wanted = {
        "dpo-dpo",
        "grpo-grpo",
        "grpo-ttrl",
        "rloo-rloo",
        "distillation-distilled",
        "rejection-best-own",
        "grpo-grpo2",
    }
    assert {f"comp-{name}" for name in wanted} <= set(pipeline["components"])


def test_each_has_memory_compute_and_time_in_the_plan(project):
    _, file = project
    done = CliRunner().invoke(app, ["plan", str(file), "--json"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.output)
    stages = {one["stage"]: one for one in plan["stages"]}
    trained = {f"{entry['method']}-{name}" for name, entry in STUDENTS.items()}
    assert trained <= set(stages)
    for name in trained - {"best_of-best"}:
        stage = stages[name]
        assert stage["bytes"]["total"] > 0, name
        assert stage["work"]["flops"] > 0, name
        assert stage["hours"] > 0, name
    # 4 prompts x 4 responses x 2 iterations, sampled, trained on; a KL to the start is read beside.
    assert stages["rloo-rloo"]["work"]["flops"] > stages["grpo-grpo"]["work"]["flops"]
    # Two responses to each of 8 steps of 4 pairs, read by the reference too.
    assert stages["dpo-dpo"]["work"]["flops"] == pytest.approx(stages["sft-sft_all"]["work"]["flops"] * 8 / 6)


@pytest.mark.parametrize(
    ("student", "entry", "words"),
    [
        (
            "dpo",
            {"method": "dpo", "from": "sft", "reward": "vote"},
            r"students\.dpo\.reward: the method dpo is trained w",
        ),
        (
            "grpo",
            {"method": "grpo", "from": "sft"},
            r"students\.grpo\.reward: say which of rewards .*\(vote, own, brevity\)",
        ),
        (
            "ttrl",
            {"method": "grpo", "from": "sft", "reward": "own", "minibatch_size": 3},
            r"students\.ttrl: minibatch_size 3",
        ),
        (
            "distilled",
            {"method": "distillation", "from": "sft", "teacher": "big"},
            r"students\.distilled: unknown model .*'big'",
        ),
        ("distilled", {"method": "distillation", "from": "sft", "teacher": "distilled"}, "cannot be made from itself"),
        (
            "sft_all",
            {"method": "sft", "from": "base", "responses": "every"},
            r"students\.sft_all\.responses: Input should",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_when_the_configuration_is_read(project, student, entry, words):
    folder, _ = project
    wrong = folder / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(VALUES | {"students": VALUES["students"] | {student: entry}}, sort_keys=False))
    with pytest.raises(ConfigError, match=words):
        load_config(wrong)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_of_them_run_and_are_in_the_report(project):
    folder, file = project
    root, config = folder / "runs/methods", load_config(file)
    create(root, config, home=folder, remote="runs/.remote", cache=Path("runs/.cache"))
    # In this process: a command for each of fifty tasks would load its libraries fifty times.
    metrics = {task.address: run_stage(task.stage.name, task.values, root) for task in graph(config)}
    report = json.loads((root / "outputs/report/metrics.json").read_text())
    assert {"teacher", "base", *STUDENTS} == set(report["models"])
    page = (root / "report.html").read_text()
    for name, entry in STUDENTS.items():
        assert config.label(name) in page, name
        if name != "best":  # which is not trained
            found = metrics[f"{entry['method']}-{name}"]
            assert found["flops"] > 0, name
            assert found["tokens"] > 0, name
            assert list((root / f"curves/{name}/plots/metrics").glob("*.tsv")), name
    plain, best = (metrics[f"evaluate-{name}-heldout"] for name in ("sft", "best"))
    assert best["prompt_tokens"] == 3 * plain["prompt_tokens"]
