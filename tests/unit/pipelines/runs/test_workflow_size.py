"""Whether Argo can hold a run's workflow."""

from pathlib import Path

import pytest
from retort_pipelines.graph import compile as compiling
from retort_pipelines.profiles import Profile
from retort_pipelines.runs.workflow_size import check_workflow, workflow_bytes

from retort.config import load_config
from retort.errors import ConfigError
from retort.pod.settings import parameter_of
from retort.run.tasks import graph


def compiled(config, file):
    """A run's arguments, as `submit` gives them, and its compiled pipeline."""
    compiling.compile(config, Profile(), file)
    return compiling.arguments(config, remote="memory://retort/tests/test-8e75d754", files={})


MEASURED = {
    "prompts": 1188,
    "models": 1083,
    "teacher_responses": 1422,
    "ballots": 1068,
    "votes": 1065,
    "sft-sft": 1782,
    "student_responses-sft": 1167,
    "reward_examples-learned": 1585,
    "reward_data-learned": 1272,
    "reward-learned": 2026,
    "ppo-ppo": 3371,
    "evaluate-sft": 1309,
    "evaluate-ppo": 1309,
    "report": 2777,
}
"""Characters of each group's settings in the run that was measured (2026-11-28), whose arguments held them as texts."""


def test_the_reckoning_is_what_a_real_workflow_measured(tmp_path):
    """The smoke run of tests/cluster at its end: 275,126 bytes of graph and 304,988 of nodes."""
    changes = ["evaluate.models=[sft, ppo]", "sft.steps=80", "ppo.iterations=8"]
    config, file = load_config(Path("configs/smoke.yaml"), changes=changes), tmp_path / "pipeline.yaml"
    given = compiled(config, file) | {parameter_of(name): "x" * length for name, length in MEASURED.items()}
    assert workflow_bytes(graph(config), given, file.stat().st_size) == pytest.approx(580_114, rel=0.05)


def test_the_reckoning_is_what_one_with_addresses_measured(tmp_path):
    """The same run on the same day with settings by address: 246,740 bytes of graph and 213,292 of nodes."""
    changes = ["evaluate.models=[sft, ppo]", "sft.steps=80", "ppo.iterations=8"]
    config, file = load_config(Path("configs/smoke.yaml"), changes=changes), tmp_path / "pipeline.yaml"
    given = compiled(config, file)
    assert workflow_bytes(graph(config), given, file.stat().st_size) == pytest.approx(460_032, rel=0.05)


def test_a_shard_costs_the_same_however_many_there_are(tmp_path):
    """Arguments that grew with their number would be given to each of them."""
    sizes = []
    for shards in (2, 4, 6):
        config = load_config(Path("demo"), changes=[f"teacher_responses.shards={list(range(shards))}"])
        sizes.append(workflow_bytes(graph(config), compiled(config, tmp_path / "pipeline.yaml"), 0))
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=0.01)


@pytest.mark.parametrize("shards", [25, 60])
def test_more_tasks_than_a_workflow_can_hold_are_refused_with_the_figure(tmp_path, shards):
    config = load_config(Path("demo"), changes=[f"teacher_responses.shards={list(range(shards))}"])
    given = compiled(config, tmp_path / "pipeline.yaml")
    if shards == 25:
        check_workflow(config, tmp_path / "pipeline.yaml", given)
        return
    with pytest.raises(ConfigError, match=r"60 of them of teacher_responses.* grow to about \d\.\d MB") as refused:
        check_workflow(config, tmp_path / "pipeline.yaml", given)
    assert "Make fewer, larger shards (teacher_responses.shards)" in str(refused.value)
