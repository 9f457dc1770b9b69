"""The overhead bench: pods' seconds less the stage's own, a task."""

from retort_pipelines.runs.status import StageStatus

from bench.overhead import stages, table
from retort.run.tasks import graph
from tests.conftest import training_config


def test_overhead_is_a_tasks_pod_less_its_stage_and_a_retried_stage_has_none():
    statuses = [
        StageStatus("teacher_responses", ("SUCCEEDED", "SUCCEEDED"), 60.0, 2, 100.0),
        StageStatus("sft-sft", ("SUCCEEDED",), 90.0, 2, 80.0),
        StageStatus("votes", ("CACHED",), None, 0, 0.0),
        StageStatus("collect", ("SUCCEEDED",), 5.0, 1, 5.0),
    ]
    seconds = {"teacher_responses-0": 40.0, "teacher_responses-1": 44.0, "sft-sft": 30.0, "other": 5.0}
    made = graph(training_config()).groups
    groups = {name: [task.address for task in tasks] for name, tasks in made.items()}
    rows = stages(statuses, [{"task": task, "seconds": value} for task, value in seconds.items()], groups)
    # (100 s of pods - 84 s of stages) / 2 tasks
    assert rows == [{"stage": "teacher_responses", "tasks": 2, "pod": 50.0, "alone": 42.0, "overhead": 8.0}]
    assert "| teacher_responses | 2 | 50.0 | 42.0 | 8.0 |" in table(rows, {"run": 300.0})
