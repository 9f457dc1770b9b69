"""Workspaces: `dvc.yaml` from the graph, links to what lies outside, refusals in words."""

from pathlib import Path

import pytest
import yaml

from retort.config import load_config, resolved
from retort.errors import ConfigError, InputError
from retort.run.graph import BY_NAME, task_of
from retort.run.workspace import create, dvc_yaml, refresh, task_yaml


def made(toy, changes=()):
    config = load_config(toy.file, changes=changes)
    create(Path("runs/toy"), config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    return Path("runs/toy")


def test_shards_are_a_foreach_over_the_parameter(toy):
    stage = yaml.safe_load(dvc_yaml(toy().config))["stages"]["teacher_responses"]
    assert stage["foreach"] == "${teacher_responses.shards}"
    assert stage["do"]["cmd"] == "retort stage teacher_responses --shard ${item}"
    assert stage["do"]["outs"] == ["outputs/teacher_responses/shard-${item}.parquet"]


def test_evaluation_depends_on_its_own_model_only(toy):
    stage = yaml.safe_load(dvc_yaml(toy().config))["stages"]["evaluate"]
    assert [need for need in stage["deps"] if "models/" in need and not need.endswith(".py")] == [
        "outputs/models/${item.model}"
    ]


def test_metrics_are_kept_in_git_only_where_git_is(toy):
    config = toy().config
    assert yaml.safe_load(dvc_yaml(config))["stages"]["votes"]["metrics"] == [{"metrics/votes.json": {"cache": False}}]
    assert yaml.safe_load(dvc_yaml(config, in_git=False))["stages"]["votes"]["metrics"] == ["metrics/votes.json"]


def test_a_pod_gets_one_task_with_the_command_that_the_whole_graph_gives_it(toy):
    text = task_yaml(toy().config, task_of(BY_NAME["evaluate"], "ppo-heldout"), [])
    stages = yaml.safe_load(text)["stages"]
    assert list(stages) == ["evaluate"]
    assert stages["evaluate"]["matrix"] == {"model": ["ppo"], "benchmark": ["heldout"]}
    assert stages["evaluate"]["cmd"] == yaml.safe_load(dvc_yaml(toy().config))["stages"]["evaluate"]["cmd"]


def test_parameters_are_written_out_in_full(toy):
    root = made(toy(), changes=["ppo.iterations=7"])
    written = yaml.safe_load((root / "params.yaml").read_text())
    assert written == resolved(load_config(toy().file, changes=["ppo.iterations=7"]))
    assert written["ppo"]["iterations"] == 7


def test_sources_and_package_are_links_at_the_paths_that_the_configuration_names(toy):
    root = made(toy())
    assert (root / "data/prompts.jsonl").resolve() == Path("data/prompts.jsonl").resolve()
    assert (root / "retort/run/graph.py").exists()
    assert (root / "data/teacher").is_symlink()


def test_a_missing_source_file_is_named_with_its_stage(toy):
    run = toy()
    Path("data/prompts.jsonl").unlink()
    with pytest.raises(InputError, match=r"data/prompts.jsonl: does not exist, but stage prompts reads it"):
        made(run)


def test_a_source_outside_the_project_is_refused(toy, tmp_path):
    run = toy()
    (tmp_path / "far.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match="lies outside"):
        made(run, changes=["prompts.sources=[{path: ../far.jsonl}]"])


def test_refresh_rewrites_a_graph_that_does_not_follow_the_parameters(toy):
    root = made(toy())
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["teacher_responses"]["shards"] = [0, 1, 2]
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    refresh(root)
    assert (
        "outputs/teacher_responses/shard-2.parquet"
        in yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["votes"]["deps"]
    )


def test_refresh_refuses_parameters_that_leave_sections_unsaid(toy):
    root = made(toy())
    values = yaml.safe_load((root / "params.yaml").read_text())
    del values["votes"]
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="lacks votes"):
        refresh(root)


def test_a_benchmark_that_the_harness_does_not_have_is_refused_before_anything_runs(toy):
    with pytest.raises(ConfigError, match=r"no task 'gsm8k_cott'\. Did you mean gsm8k_cot"):
        made(toy(), ["evaluate.benchmarks=[{name: gsm8k, task: gsm8k_cott}]"])
