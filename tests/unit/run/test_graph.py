"""The graph says of every task what it reads, writes and is made of, whatever the configuration asks for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from retort.config import RetortConfig, load_config, resolved
from retort.config.load import pick
from retort.errors import ConfigError
from retort.run.graph import Graph, Stage, Task, as_plain, from_plain, values_of
from retort.run.known_stages import STAGES, known_stages
from retort.run.tasks import graph

BASE = {
    "models": {
        "teacher": {"source": "data/teacher"},
        "base": {"source": "data/student", "chat_template": "data/chat.jinja"},
    },
    "prompts": {"sources": [{"path": "data/a.jsonl"}], "decontaminate": ["data/test.jsonl"]},
    "teacher_responses": {"shards": [0, 1]},
    "evaluate": {
        "models": ["sft", "ppo"],
        "benchmarks": [{"name": "heldout"}, {"name": "gsm8k", "task": "gsm8k", "data": {"test": "data/test.jsonl"}}],
    },
}
ROUNDS = {
    "students": {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
        "voted": {"method": "ppo", "from": "sft", "reward": "vote"},
        "sft_more": {"method": "sft", "from": "base", "compute_of": "ppo"},
        "ppo2": {"method": "ppo", "from": "ppo", "reward": "learned2"},
    },
    "rewards": {
        "learned": {"type": "model", "likelihood": ["teacher", "sft"]},
        "learned2": {"type": "model", "trunk": "ppo", "likelihood": ["ppo"], "responses": ["teacher", "sft", "ppo"]},
        "vote": {"type": "vote"},
    },
    "evaluate": {"models": "all"},
}


def make(**more):
    return RetortConfig.model_validate(BASE | more)


@pytest.fixture
def config():
    return make()


@pytest.mark.parametrize("more", [{}, ROUNDS], ids=["paper", "rounds"])
def test_every_task_comes_after_those_that_it_reads_from_and_no_two_write_one_path(more):
    made, seen = graph(make(**more)), set()
    for task in made:
        assert set(task.deps) <= seen, task.address
        assert not set(task.written) & seen
        seen |= set(task.written)


@pytest.mark.parametrize("more", [{}, ROUNDS], ids=["paper", "rounds"])
def test_every_declared_parameter_exists_and_every_output_is_read_or_reported(more):
    config = make(**more)
    values, made = resolved(config), graph(config)
    for task in made:
        for key in (*task.params, *task.operation):
            found = pick(values, [key])
            for part in key.split("."):
                found = found[part]
    read = {path for task in made for path in task.deps} | {"outputs/report", "metrics/summary.json"}
    assert {path for task in made for path in task.written} <= read | {
        path for task in made for path in task.outs if "reward_data" in path or path.startswith("outputs/models/")
    }


def test_left_out_the_students_give_the_papers_graph(config):
    assert [task.address for task in graph(config)] == [
        "prompts",
        "models",
        "teacher_responses-0",
        "teacher_responses-1",
        "ballots-0",
        "ballots-1",
        "votes",
        "sft-sft",
        "student_responses-sft-0",
        "reward_examples-learned-0",
        "reward_examples-learned-1",
        "reward_data-learned",
        "reward-learned",
        "ppo-ppo",
        "evaluate-sft-heldout",
        "evaluate-sft-gsm8k",
        "evaluate-ppo-heldout",
        "evaluate-ppo-gsm8k",
        "report",
    ]


def test_a_second_round_is_made_of_the_first_ones_student_and_responses():
    made = graph(make(**ROUNDS))
    data, ppo2 = made.by_address["reward_data-learned2"], made.by_address["ppo-ppo2"]
    labelled = [task for task in made.of_stage("reward_examples") if task.values["reward"] == "learned2"]
    assert all("outputs/student_responses/ppo/shard-0.parquet" in task.deps for task in labelled)
    assert {path for task in labelled for path in task.written} <= set(data.deps)
    assert {"outputs/models/ppo", "outputs/rewards/learned2", "metrics/reward-learned2.json"} <= set(ppo2.deps)
    assert "outputs/models/sft" not in ppo2.deps
    order = [task.address for task in made]
    assert order.index("ppo-ppo") < order.index("reward_data-learned2") < order.index("ppo-ppo2")


def test_a_reward_that_is_not_learned_has_no_stages():
    made = graph(make(**ROUNDS))
    assert "reward-vote" not in made.by_address
    voted = made.by_address["ppo-voted"]
    assert {"outputs/prompts", "outputs/votes", "outputs/models/sft"} == set(voted.deps)
    assert "rewards.vote.type" in voted.params


def test_equal_compute_reads_what_the_other_student_took():
    assert "metrics/ppo-ppo.json" in graph(make(**ROUNDS)).by_address["sft-sft_more"].deps


def test_a_run_without_rl_has_no_reward_stages_and_samples_no_student():
    made = graph(make(students={"sft": {"method": "sft", "from": "base"}}, evaluate={"models": "all"}))
    assert {task.stage.name for task in made} == {
        *("prompts", "models", "teacher_responses", "ballots", "votes", "sft", "evaluate", "report")
    }


def test_tasks_that_read_from_the_same_groups_are_one_group(config):
    made = graph(config)
    groups = {name: [task.address for task in tasks] for name, tasks in made.groups.items()}
    assert groups["teacher_responses"] == ["teacher_responses-0", "teacher_responses-1"]
    assert groups["evaluate-ppo"] == ["evaluate-ppo-heldout", "evaluate-ppo-gsm8k"]
    assert groups["ballots"] == ["ballots-0", "ballots-1"]
    for tasks in made.groups.values():
        read = [tuple(dict.fromkeys(one.group for one in made.producers(task))) for task in tasks]
        assert len({*zip(read, (task.params for task in tasks), strict=True)}) == 1


def test_a_part_of_the_examples_reads_its_own_shards_only_and_one_shard_needs_no_parts(config):
    sharded = graph(make(student_responses={"shards": [0, 1]}))
    assert "outputs/student_responses/sft/shard-1.parquet" not in sharded.by_address["reward_examples-learned-0"].deps
    assert "outputs/teacher_responses/shard-0.parquet" not in sharded.by_address["ballots-1"].deps
    single = graph(make(teacher_responses={"shards": [0]}))
    assert not {"ballots", "reward_examples"} & {task.stage.name for task in single}
    assert "outputs/teacher_responses/shard-0.parquet" in single.by_address["votes"].deps
    opened = make(answer="open", judge={"model": {"source": "data/judge"}})
    assert not {"ballots", "reward_examples"} & {task.stage.name for task in graph(opened)}


def test_a_task_is_run_by_a_command_that_names_it(config):
    task = graph(config).by_address["evaluate-ppo-gsm8k"]
    assert task.command == "retort stage evaluate --model ppo --benchmark gsm8k"
    assert values_of(task.stage, task.item) == dict(task.values)


def test_a_task_survives_being_written_down(config):
    for task in graph(config):
        told = replace(task, stage=replace(task.stage, figures=()))  # which of its figures are shown decides nothing
        assert from_plain(json.loads(json.dumps(as_plain(task)))) == told


def test_source_files_are_those_that_exist_for_models_and_all_for_data(config, tmp_path):
    (tmp_path / "data/teacher").mkdir(parents=True)
    (tmp_path / "data/chat.jinja").write_text("")
    sources = {task.address: task.sources for task in graph(config, tmp_path)}
    assert sources["prompts"] == ("data/a.jsonl", "data/test.jsonl")
    assert sources["models"] == ("data/chat.jinja", "data/teacher")
    assert sources["evaluate-sft-gsm8k"] == ("data/test.jsonl",)
    assert sources["teacher_responses-0"] == ("data/teacher",)  # its reference names this folder
    assert sources["ppo-ppo"] == sources["votes"] == ()


def test_what_reads_from_a_task_is_found():
    made = graph(make(**ROUNDS))
    assert made.after(["ppo-ppo2"]) == [
        *("ppo-ppo2", "evaluate-ppo2-heldout", "report"),
    ]
    assert "ppo-ppo2" in made.after(["student_responses-ppo-0"])
    assert "sft-sft" not in made.after(["ppo-ppo"])


def test_two_tasks_that_write_one_path_and_a_path_that_nobody_writes_are_refused():
    stage = Stage("one", "x", "", matrix=("n",))
    with pytest.raises(ConfigError, match="one-1 and one-0 would both write a"):
        Graph.of([Task(stage, {"n": "0"}, outs=("a",)), Task(stage, {"n": "1"}, outs=("a",))])
    with pytest.raises(ConfigError, match="one-0 reads b, which no task writes"):
        Graph.of([Task(stage, {"n": "0"}, deps=("b",))])


def test_every_stage_is_known_by_name():
    assert {"sft", "ppo", *STAGES} <= set(known_stages())


def test_the_committed_dvc_yaml_follows_params_and_graph():
    from retort.run.workspace import dvc_yaml

    assert Path("dvc.yaml").read_text() == dvc_yaml(graph(load_config(Path("params.yaml"))))


def test_the_committed_params_say_every_value():
    assert yaml.safe_load(Path("params.yaml").read_text()) == resolved(load_config(Path("params.yaml")))
