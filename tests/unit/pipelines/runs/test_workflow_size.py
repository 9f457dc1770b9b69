"""Whether Argo can hold a run's workflow."""

from pathlib import Path

import pytest
from retort_pipelines.graph import compile as compiling
from retort_pipelines.profiles import Profile
from retort_pipelines.runs.workflow_size import check_workflow, workflow_bytes

from retort.config import load_config
from retort.errors import ConfigError
from retort.run.tasks import graph


def compiled(config, file):
    """A run's arguments, as `submit` gives them, and its compiled pipeline."""
    compiling.compile(config, Profile(), file)
    return compiling.arguments(config, remote="s3://retort/tests/test-8e75d754", files={})


def test_the_reckoning_is_what_a_real_workflow_measured(tmp_path):
    """The smoke run of tests/cluster at its end: 275,126 bytes of graph and 304,988 of nodes."""
    changes = ["evaluate.models=[sft, ppo]", "sft.steps=80", "ppo.iterations=8"]
    config, file = load_config(Path("configs/smoke.yaml"), changes=changes), tmp_path / "pipeline.yaml"
    given = compiled(config, file)
    assert workflow_bytes(graph(config), given, file.stat().st_size) == pytest.approx(580_114, rel=0.1)


@pytest.mark.parametrize("shards", [2, 20])
def test_more_tasks_than_a_workflow_can_hold_are_refused_with_the_figure(tmp_path, shards):
    config = load_config(Path("demo"), changes=[f"teacher_responses.shards={list(range(shards))}"])
    given = compiled(config, tmp_path / "pipeline.yaml")
    if shards == 2:
        check_workflow(config, tmp_path / "pipeline.yaml", given)
        return
    with pytest.raises(ConfigError, match=r"20 of them of teacher_responses.* grow to about \d\.\d MB") as refused:
        check_workflow(config, tmp_path / "pipeline.yaml", given)
    assert "Make fewer, larger shards (teacher_responses.shards)" in str(refused.value)
