"""A run's life on a real Kubeflow: scheduled, cancelled, with changed code."""

import os
import re
import shlex
import shutil
import subprocess

import pytest
from retort_pipelines.runs.submit import descendants

from retort.config import load_config
from retort.errors import DO_NOT_RETRY
from retort.io.objects import Objects
from retort.pod.run_records import Records
from retort.run.known_stages import known_stages
from tests.cluster.runs import (
    BOOKS,
    OWN_DATA,
    QUICK,
    SMOKE,
    Run,
    api,
    damaged,
    ended,
    exports,
    in_the_middle,
    pods_of,
    states,
    submitted,
    until,
)
from tests.cluster.support import CHECKOUT, PROFILE, Retort


def test_a_schedule_runs_on_new_data_and_skips_what_it_has_done(kubeflow, store, name):
    export = Objects.of(store, "exports")
    # The data is another when the schedule fires than when it was set.
    then, now = exports()
    (kubeflow.home / "prompts.jsonl").write_text(then)
    export.write("prompts.jsonl", now.encode())
    quick = [part for value in (*QUICK, OWN_DATA) for part in ("--set", value)]
    data = f"prompts.jsonl={store}/exports/prompts.jsonl"
    kubeflow("schedule", "set", name("weekly"), *SMOKE, "--every", "1m", *quick, "--data", data)
    try:
        for verb, status in (("pause", "DISABLED"), ("resume", "ENABLED")):
            kubeflow("schedule", verb, name("weekly"))
            assert re.search(rf"{name('weekly')} +{status} +every 60 s", kubeflow("schedule", "list"))
        runs = until(lambda: runs_of(kubeflow, name("weekly"), 3), "three runs of the schedule", 1700, 5)
    finally:
        kubeflow("schedule", "remove", name("weekly"))
    assert name("weekly") not in kubeflow("schedule", "list")
    # The third was under way when the schedule was removed, and goes on.
    news, *same = (ended(kubeflow, run) for run in runs[:3])
    assert {status["state"] for status in (news, *same)} == {"SUCCEEDED"}
    assert states(news)["report"] == "SUCCEEDED"
    for skipped in same:
        assert not set(states(skipped)) & set(known_stages())  # nothing but the look at the data


def test_a_schedule_of_the_same_name_is_replaced(kubeflow, name):
    for day in ("1", "2"):
        kubeflow("schedule", "set", name("replaced"), *SMOKE, "--cron", f"0 3 * * {day}")
        listed = [line for line in kubeflow("schedule", "list").splitlines() if line.startswith(name("replaced"))]
        assert len(listed) == 1
        assert f"cron 0 0 3 * * {day}" in listed[0]
    kubeflow("schedule", "remove", name("replaced"))


def runs_of(kubeflow, schedule, count):
    """The runs of a schedule, oldest first, when there are that many; nothing before."""
    where = api(kubeflow)
    listed = where.client.list_runs(page_size=50, sort_by="created_at desc", namespace=where.namespace).runs or []
    mine = [Run(one.display_name, one.run_id) for one in reversed(listed) if schedule in one.display_name]
    return mine if len(mine) >= count else None


def test_cancel_leaves_no_pod_and_nothing_half_written(kubeflow, pods, store, first, name):
    run = submitted(kubeflow, name("cancel"), "--set", "sft.steps=5000")
    until(
        lambda: pods_of(pods, run).get("sft-sft", [{"status": {"phase": ""}}])[0]["status"]["phase"] == "Running", "SFT"
    )
    kubeflow("cancel", run.name)
    left = (
        "get",
        "pods",
        "-l",
        f"pipeline/runid={run.id}",
        "--field-selector",
        "status.phase!=Succeeded,status.phase!=Failed",
    )
    until(lambda: pods.json(*left)["items"] == [], "no pod left", 120)
    assert ended(kubeflow, run)["state"] in ("CANCELED", "FAILED")
    assert Records.of(store, run.id).objects.read("lock.json") is None
    assert damaged(store) == []
    said = kubeflow("pull", run.name, code=64)
    assert "there is nothing whole to fetch" in said


@pytest.mark.parametrize(("retries", "attempts"), [(3, 2), (0, 1)])
def test_a_failed_stage_is_shown_with_its_reason(kubeflow, first, name, tmp_path, retries, attempts):
    profile = tmp_path / "retries.yaml"
    profile.write_text(f"extends: {PROFILE}\nretries: {retries}\n")
    # `submit` itself would refuse it.
    flags = ("--set", "sft.max_length=8", "--profile", str(profile), "--no-check")
    run = submitted(kubeflow, name(f"failed-{retries}"), *flags)
    status = ended(kubeflow, run)
    assert status["state"] == "FAILED"
    assert states(status)["sft-sft"] == "FAILED"
    # Kubeflow's launcher always ends with 1: the second pod's termination message ends the attempts.
    assert next(one for one in status["stages"] if one["stage"] == "sft-sft")["attempts"] == attempts
    assert [(one["task"], one["exit_code"]) for one in status["failures"]] == [("sft-sft", DO_NOT_RETRY)] * attempts
    for failure in status["failures"]:
        assert any("Raise sft.max_length" in line for line in failure["lines"])
    said = kubeflow("status", run.name)
    assert ("and 1 more, exit code 65" in said) == (attempts == 2)
    assert said.count("Raise sft.max_length") == 1
    assert "Raise sft.max_length" in kubeflow("logs", run.name, "sft-sft")


def test_changed_code_of_a_stage_reruns_it_and_what_follows(kubeflow, first, name, tmp_path):
    """RETORT_TEST_SHIP: a command that puts the packages of a folder into the profile's image on the nodes."""
    if not (ship := os.environ.get("RETORT_TEST_SHIP")):
        pytest.skip("the environment names no RETORT_TEST_SHIP")
    for package in ("retort", "components", "pipelines", "configs"):
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):  # what docker/build.sh makes an image from
        shutil.copy(CHECKOUT / file, tmp_path)
    stage = tmp_path / "retort/stages/reward.py"
    before = stage.read_text()
    # A change that shows: of one that does not, the stage and its readers have pods, and what they lead to has none.
    stage.write_text(
        before.replace("torch.manual_seed(context.config.seed)", "torch.manual_seed(context.config.seed + 1)")
    )
    assert stage.read_text() != before
    changed = Retort(tmp_path, kubeflow.environment | {"PYTHONPATH": str(tmp_path)})
    try:
        subprocess.run([*shlex.split(ship), str(tmp_path)], check=True)
        status = ended(changed, submitted(changed, name("code")))
    finally:
        subprocess.run([*shlex.split(ship), str(CHECKOUT)], check=True)
    assert status["state"] == "SUCCEEDED"
    ran = {stage for stage, state in states(status).items() if state == "SUCCEEDED"}
    assert ran - {"collect"} - BOOKS == set(descendants(load_config(CHECKOUT / "configs/smoke.yaml"), "reward"))


@pytest.mark.parametrize("stage", ["sft-sft", "ppo-ppo"])
def test_a_run_goes_on_when_its_gpu_node_is_back(kubeflow, pods, store, first, name, stage):
    """RETORT_CLUSTER_TOOL: the test cluster's command, as only there may a node lose power."""
    if not (tool := os.environ.get("RETORT_CLUSTER_TOOL")):
        pytest.skip("the environment names no RETORT_CLUSTER_TOOL")
    said = kubeflow("rerun", first.name, "--from", stage, "--name", name(f"node-{stage}"))
    run = Run(name(f"node-{stage}"), said.split()[1])
    lost = in_the_middle(pods, store, run, stage)
    subprocess.run([tool, "down", "gpu-0"], check=True)
    subprocess.run([tool, "up"], check=True, stdout=subprocess.DEVNULL)
    status = ended(kubeflow, run)
    assert status["state"] == "SUCCEEDED"
    assert next(one for one in status["stages"] if one["stage"] == stage)["attempts"] == 2
    # The lost one is still listed, as failed, where its node came back before it was evicted.
    (last,) = {pod["metadata"]["name"] for pod in pods_of(pods, run)[stage]} - {lost}
    assert "going on from the resume state" in pods("logs", last, "-c", "main")
    assert Records.of(store, run.id).lock() == Records.of(store, first.id).lock()
