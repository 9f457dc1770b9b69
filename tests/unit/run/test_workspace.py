"""Workspaces: `dvc.yaml` from the graph, links to what lies outside, refusals in words."""

from pathlib import Path

import pytest
import yaml

from retort.config import load_config, resolved
from retort.errors import ConfigError, InputError
from retort.run.embedded import is_embedded
from retort.run.stage import check_code
from retort.run.tasks import graph
from retort.run.workspace import code_yaml, create, dvc_yaml, refresh, task_yaml


def made(toy, changes=()):
    config = load_config(toy.file, changes=changes)
    create(Path("runs/toy"), config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    return Path("runs/toy")


def stages(config, **more):
    return yaml.safe_load(dvc_yaml(graph(config), **more))["stages"]


def test_every_task_is_a_stage_of_its_own(toy):
    config = toy().config
    assert list(stages(config)) == [task.address for task in graph(config)]
    shard = stages(config)["teacher_responses-1"]
    assert shard["cmd"] == "retort stage teacher_responses --shard 1"
    metrics = {"metrics/teacher_responses-1.json": {"cache": False}}
    assert shard["outs"] == ["outputs/teacher_responses/shard-1.parquet", metrics]


def test_code_enters_by_its_hash_and_no_path_of_the_package_is_a_dependency(toy):
    config = toy().config
    for address, stage in stages(config).items():
        assert {"code.yaml": [address]} in stage["params"]
        assert not [need for need in stage["deps"] if need.endswith(".py") or need.startswith("retort")]
    assert yaml.safe_load(code_yaml(graph(config))) == {task.address: task.code() for task in graph(config)}


def test_metrics_are_kept_in_git_only_where_git_is(toy):
    config = toy().config
    assert {"metrics/votes.json": {"cache": False}} in stages(config)["votes"]["outs"]
    assert "metrics/votes.json" in stages(config, in_git=False)["votes"]["outs"]


def test_to_dvc_the_summary_alone_is_metrics(toy):
    named = {task: stage["metrics"] for task, stage in stages(toy().config).items() if "metrics" in stage}
    assert named == {"report": [{"metrics/summary.json": {"cache": False}}]}


def test_a_pod_gets_one_task_as_the_whole_graph_has_it(toy):
    config = toy().config
    task = graph(config).by_address["evaluate-ppo-heldout"]
    assert yaml.safe_load(task_yaml(task))["stages"] == {
        "evaluate-ppo-heldout": stages(config, in_git=False)["evaluate-ppo-heldout"]
    }


def test_parameters_are_written_out_in_full(toy):
    root = made(toy(), changes=["ppo.iterations=7"])
    written = yaml.safe_load((root / "params.yaml").read_text())
    assert written == resolved(load_config(toy().file, changes=["ppo.iterations=7"]))
    assert written["ppo"]["iterations"] == 7


def test_sources_are_links_at_the_paths_that_the_configuration_names(toy):
    root = made(toy())
    assert (root / "data/prompts.jsonl").resolve() == Path("data/prompts.jsonl").resolve()
    assert (root / "data/teacher").is_symlink()
    assert not (root / "retort").exists()


def test_files_that_come_with_retort_are_found_from_any_folder_and_a_projects_own_win(toy):
    toy()
    name = "retort/demo/assets/prompts.jsonl"
    assert is_embedded(name, Path())
    assert made(toy(), changes=[f"prompts.sources=[{{path: {name}}}]"]).joinpath(name).exists()
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text('{"prompt": "mine"}\n')
    assert not is_embedded(name, Path())


def test_other_code_than_the_workspace_was_made_for_is_refused(toy):
    root = made(toy())
    codes = yaml.safe_load((root / "code.yaml").read_text())
    (root / "code.yaml").write_text(yaml.safe_dump(codes | {"votes": "0" * 64}))
    task = graph(load_config(root / "params.yaml", root=root), root).by_address["votes"]
    with pytest.raises(ConfigError, match=r"code.yaml: the code of votes has changed .* `retort graph --write`"):
        check_code(task, root)


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
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    refresh(root)
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert "outputs/ballots/shard-2.parquet" in stages["votes"]["deps"]


def test_refresh_refuses_parameters_that_leave_sections_unsaid(toy):
    root = made(toy())
    values = yaml.safe_load((root / "params.yaml").read_text())
    del values["votes"]
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(ConfigError, match="lacks votes"):
        refresh(root)


def test_a_benchmark_that_the_harness_does_not_have_is_refused_before_anything_runs(toy):
    with pytest.raises(ConfigError, match=r"no task 'gsm8k_cott'\. Did you mean gsm8k_cot"):
        made(toy(), ["evaluate.benchmarks=[{name: gsm8k, task: gsm8k_cott}]"])
