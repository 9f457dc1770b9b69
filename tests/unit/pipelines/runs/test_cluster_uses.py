"""What the runs under way and the schedules read, from their arguments: what `retort gc` must leave."""

from pathlib import Path

import pytest
from retort_pipelines.graph.compile import arguments
from retort_pipelines.runs.cluster_uses import ClusterUses

from retort.config import load_config
from retort.errors import ConfigError
from retort.pod.settings import CONFIGURATION, parameter_of
from retort.run.tasks import graph


def test_every_task_of_a_run_is_in_use():
    config = load_config(Path("smoke"))
    uses = ClusterUses()
    uses.add("run a", arguments(config, remote="memory://bucket/store", files={}))
    assert uses.names == ["run a"]
    assert {address for address, _ in uses.tasks} == {task.address for task in graph(config)}


def test_a_pipeline_of_somebody_else_uses_nothing():
    uses = ClusterUses()
    uses.add("run b", {"configuration": "{}", "epochs": 3})
    assert (uses.names, uses.tasks) == ([], set())


@pytest.mark.parametrize(
    "given",
    [
        {"configuration": "{}", "prompts_settings": "{}", "votes_settings": "{}"},  # as arguments were called before
        {CONFIGURATION: "{}", parameter_of("votes"): '{"params": {}}'},
    ],
)
def test_a_run_of_another_version_stops_the_collection(given):
    with pytest.raises(ConfigError, match=r"run c was made by another version of Retort .*nothing is removed"):
        ClusterUses().add("run c", given)
