"""Whether Argo can hold a run's workflow."""

from pathlib import Path

import pytest
from retort_pipelines.runs.workflow_size import check_workflow

from retort.config import load_config
from retort.errors import ConfigError


@pytest.mark.parametrize("shards", [20, 80])
def test_more_tasks_than_a_workflow_can_hold_are_refused_with_the_figure(tmp_path, shards):
    config = load_config(Path("demo"), changes=[f"teacher_responses.shards={list(range(shards))}"])
    compiled = tmp_path / "pipeline.yaml"
    compiled.write_text("x" * 200_000)
    if shards == 20:
        check_workflow(config, compiled)
        return
    with pytest.raises(ConfigError, match=r"80 of them of teacher_responses.* grow to about 2\.\d MB") as refused:
        check_workflow(config, compiled)
    assert "Make fewer, larger shards (teacher_responses.shards)" in str(refused.value)
