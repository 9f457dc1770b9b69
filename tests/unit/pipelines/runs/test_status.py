"""Stages of a run, read from a workflow's nodes as Argo 4.0 names them under Kubeflow Pipelines 2.17."""

from datetime import UTC, datetime
from pathlib import Path

from retort_pipelines.runs.status import BOOKS, stage_statuses

from retort.config import load_config
from retort.run.tasks import graph

ROOT = "retort-distil-abc12.root(0).exit-handler-1(0)"
LOOP = f"{ROOT}.teacher-responses-tasks(0).for-loop-1(0).iteration-iterations"
NOW = datetime(2026, 11, 22, 21, 30, tzinfo=UTC)


def at(second):
    return f"2026-11-22T21:00:{second:02}Z"


def node(name, kind, phase, start=0, end=None):
    return {"name": name, "type": kind, "phase": phase, "startedAt": at(start), "finishedAt": end and at(end)}


def stages(*nodes):
    return {one.stage: one for one in stage_statuses(dict(enumerate(nodes)), NOW)}


def test_a_shard_that_runs_makes_the_stage_run_and_its_pods_count():
    found = stages(
        node(f"{LOOP}(0:0)(0).iteration-item(0).teacher-responses", "Retry", "Succeeded"),
        node(f"{LOOP}(0:0)(0).iteration-item(0).teacher-responses(0)", "DAG", "Succeeded"),
        node(f"{LOOP}(0:0)(0).iteration-item(0).teacher-responses(0).executor", "Retry", "Succeeded"),
        node(f"{LOOP}(0:0)(0).iteration-item(0).teacher-responses(0).executor(0)", "Pod", "Succeeded", 5, 25),
        node(f"{LOOP}(1:1)(0).iteration-item(0).teacher-responses(0)", "DAG", "Running"),
        node(f"{LOOP}(1:1)(0).iteration-item(0).teacher-responses(0).executor(0)", "Pod", "Failed", 6, 10),
        node(f"{LOOP}(1:1)(0).iteration-item(0).teacher-responses(0).executor(1)", "Pod", "Running", 40),
    )
    (teacher,) = found.values()
    assert (teacher.state, teacher.states, teacher.attempts) == ("RUNNING", ("RUNNING", "SUCCEEDED"), 3)
    # From second 5 to now, 21:30:00; the pods 20, 4 and 1760 seconds.
    assert (teacher.seconds, teacher.pod_seconds) == (1795, 1784)


def test_between_two_attempts_a_stage_is_pending_and_failed_only_when_there_will_be_no_other():
    failed = node(f"{ROOT}.sft(0).executor(0)", "Pod", "Failed", 5, 9)
    waiting = stages(node(f"{ROOT}.sft", "Retry", "Running"), node(f"{ROOT}.sft(0)", "DAG", "Running"), failed)
    ended = stages(node(f"{ROOT}.sft", "Retry", "Failed"), node(f"{ROOT}.sft(0)", "DAG", "Failed"), failed)
    assert (waiting["sft"].state, ended["sft"].state) == ("PENDING", "FAILED")


def test_without_argos_default_retries_the_names_have_no_numbers():
    found = stages(node(f"{ROOT}.votes", "DAG", "Succeeded"), node(f"{ROOT}.votes.executor", "Pod", "Succeeded", 1, 3))
    assert (found["votes"].state, found["votes"].seconds) == ("SUCCEEDED", 2)


def test_what_kubeflow_remembers_is_skipped_and_has_no_pod():
    found = stages(
        node(f"{ROOT}.votes-driver(0)", "Pod", "Succeeded", 1, 3),
        node(f"{ROOT}.votes", "Retry", "Succeeded"),
        node(f"{ROOT}.votes(0).executor", "Skipped", "Skipped"),
    )
    assert (found["votes"].state, found["votes"].seconds, found["votes"].attempts) == ("CACHED", None, 0)


def test_a_stage_begins_with_its_driver_and_may_fail_there():
    driver = f"{ROOT}.sft-driver"
    assert stages(node(f"{driver}(0)", "Pod", "Running"))["sft"].state == "PENDING"
    assert stages(node(driver, "Retry", "Failed"), node(f"{driver}(0)", "Pod", "Failed"))["sft"].state == "FAILED"


def test_what_was_left_out_after_a_failure_has_not_begun():
    assert stages(node(f"{ROOT}.ppo", "Skipped", "Omitted"), node(f"{ROOT}.ppo-driver", "Skipped", "Omitted")) == {}


def test_the_nodes_of_a_real_workflow_are_the_tasks_of_its_graph():
    text = (Path(__file__).parent / "workflow_of_a_smoke_run.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    keys = ("name", "type", "phase", "startedAt", "finishedAt")
    found = stages(*(dict(zip(keys, row, strict=False)) for row in rows))
    groups = graph(load_config(Path("configs/smoke.yaml"), changes=["evaluate.models=[sft, ppo]"])).groups
    assert {name: len(one.states) for name, one in found.items() if name not in BOOKS} == {
        name: len(tasks) for name, tasks in groups.items()
    }
    assert {one.state for one in found.values()} == {"SUCCEEDED"}
    assert set(found) - set(groups) == {"parameters", "collect", "record", "summary"}


def test_the_loop_around_a_students_tasks_is_no_stage_of_its_own():
    around = f"{ROOT}.student-responses-sft-tasks"
    inside = f"{around}(0).for-loop-1(0).iteration-iterations(0:0)(0).iteration-item(0).student-responses-sft"
    begun = [
        node(f"{around}-driver(0)", "Pod", "Succeeded", 1, 3),
        node(around, "Retry", "Running"),
        node(f"{around}(0)", "DAG", "Running"),
    ]
    assert stages(*begun) == {}
    ran = node(f"{inside}(0).executor(0)", "Pod", "Succeeded", 5, 25)
    found = stages(*begun, node(inside, "Retry", "Succeeded"), node(f"{inside}(0)", "DAG", "Succeeded"), ran)
    assert {stage: one.state for stage, one in found.items()} == {"student_responses-sft": "SUCCEEDED"}


def test_stages_are_in_the_order_of_the_graph_and_other_nodes_are_none():
    names = ("summary", "report", "collect", "prompts", "exit-handler-1", "iteration-item", "root")
    assert list(stages(*(node(f"{ROOT}.{name}", "DAG", "Running") for name in names))) == [
        "prompts", "report", "collect", "summary",
    ]  # fmt: skip
