"""The pipeline on a real Kubeflow: placed, cached, retried, side by side, fetched."""

import json
import subprocess
import sys

import boto3
import pytest

from retort.config import load_config
from retort.pod.run_records import Records
from retort.run import dvc_adapter
from retort.run.known_stages import known_stages
from retort.run.tasks import graph
from tests.cluster.runs import (
    BOOKS,
    LONGER,
    MODELS,
    SMOKE,
    Run,
    delete_in_the_middle,
    ended,
    pods_of,
    shown,
    states,
    submitted,
)
from tests.cluster.support import CHECKOUT

AFTER_PPO = {"ppo-ppo", "evaluate-ppo", "report"}
OTHER_PPO = ("--set", "ppo.iterations=2")


@pytest.fixture(scope="module")
def found(pods, first):
    """Pods of the first run by stage."""
    return pods_of(pods, first)


def test_the_smoke_distillation_succeeds_with_every_task_in_a_pod_of_its_own(kubeflow, first, found):
    status = shown(kubeflow, first)
    assert status["state"] == "SUCCEEDED"
    assert set(states(status).values()) == {"SUCCEEDED"}
    config = load_config(CHECKOUT / "configs/smoke.yaml", changes=[MODELS, *LONGER])
    assert {stage: len(group) for stage, group in found.items()} == {
        group: len(tasks) for group, tasks in graph(config).groups.items()
    }
    for one in status["stages"]:
        assert one["attempts"] == len(one["states"]), one


def test_stages_that_ask_for_a_gpu_are_on_a_node_with_gpus_and_nothing_else_is(pods, found):
    nodes = {one["metadata"]["name"]: one["metadata"]["labels"] for one in pods.json("get", "nodes")["items"]}
    for stage, group in found.items():
        for pod in group:
            limits = next(one for one in pod["spec"]["containers"] if one["name"] == "main")["resources"]["limits"]
            with_model = known_stages()[stage.partition("-")[0]].uses == "models"
            assert ("nvidia.com/gpu" in limits) == with_model, stage
            on_gpu = "nvidia.com/gpu.present" in nodes[pod["spec"]["nodeName"]]
            assert on_gpu == with_model, stage


def test_logs_shows_what_a_stage_said_and_which_figures_and_hashes_it_gave_kubeflow(kubeflow, store, first):
    said = kubeflow("logs", first.name, "sft-sft")
    assert "retort stage sft" in said
    assert "publish success" in said  # Kubeflow's launcher, after it has recorded the Metrics artifact
    assert '"steps": 80.0' in said
    for out in Records.of(store, first.id).lock()["sft-sft"]["outs"]:
        assert f'"{out["path"]}": "{out["md5"]}"' in said


def test_the_report_is_shown_in_kubeflows_interface(first, found):
    """Kubeflow keeps the page where it told the pod to; only the store of AWS_* can be looked at."""
    command = next(one for one in found["report"][0]["spec"]["containers"] if one["name"] == "main")
    told = json.loads(next(text for text in [*command["command"], *command["args"]] if text.startswith('{"')))
    uri = told["outputs"]["artifacts"]["report_page"]["artifacts"][0]["uri"]
    bucket, _, key = uri.partition("://")[2].partition("/")
    client = boto3.client("s3")
    if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
        pytest.skip(f"{uri} is not in the store of AWS_*")
    page = client.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert page.startswith("<!doctype html>")
    assert "Smoke test" in page


def test_an_unchanged_run_is_remembered_whole(kubeflow, pods, first, name):
    again = submitted(kubeflow, name("again"))
    status = ended(kubeflow, again)
    assert {state for stage, state in states(status).items() if stage not in BOOKS} == {"CACHED"}
    assert pods_of(pods, again) == {}


def test_the_same_name_is_not_started_twice_and_not_given_to_another_run(kubeflow, first):
    said = json.loads(kubeflow("submit", *SMOKE, "--name", first.name, "--json"))
    assert said == said | {"run_id": first.id, "new": False}
    said = kubeflow("submit", *SMOKE, "--name", first.name, "--set", "seed=9", code=64)
    assert "is taken by a run with other parameters" in said


@pytest.fixture(scope="module")
def at_once(kubeflow, pods, store, first, name):
    """Two runs at once: one with another PPO parameter; one again from SFT on, which loses a pod in SFT and in PPO."""
    other = submitted(kubeflow, name("ppo"), *OTHER_PPO)
    said = kubeflow("rerun", first.name, "--from", "sft", "--name", name("again-from-sft"))
    disturbed = Run(name("again-from-sft"), said.split()[1])
    deleted = {stage: delete_in_the_middle(pods, store, disturbed, stage) for stage in ("sft-sft", "ppo-ppo")}
    runs = {"other": (other, ended(kubeflow, other)), "disturbed": (disturbed, ended(kubeflow, disturbed))}
    return runs | {"deleted": deleted}


def test_one_parameter_of_ppo_reruns_ppo_and_what_follows(at_once):
    _, status = at_once["other"]
    assert status["state"] == "SUCCEEDED"
    ran = {stage for stage, state in states(status).items() if state == "SUCCEEDED"}
    assert ran - {"collect"} - BOOKS == AFTER_PPO


@pytest.mark.parametrize("stage", ["sft-sft", "ppo-ppo"])
def test_a_stage_whose_pod_was_deleted_goes_on_in_a_new_one(at_once, pods, stage):
    run, status = at_once["disturbed"]
    assert status["state"] == "SUCCEEDED"
    assert next(one for one in status["stages"] if one["stage"] == stage)["attempts"] == 2
    (left,) = [pod["metadata"]["name"] for pod in pods_of(pods, run)[stage]]
    assert left != at_once["deleted"][stage]
    assert "going on from the resume state" in pods("logs", left, "-c", "main")


def test_a_run_that_lost_pods_makes_what_the_undisturbed_one_made(at_once, store, first):
    run, _ = at_once["disturbed"]
    assert Records.of(store, run.id).lock() == Records.of(store, first.id).lock()


def made_here(kubeflow, name, *flags):
    """The record of the same configuration's run on this machine: the hash of every output, metrics among them."""
    kubeflow("run", *SMOKE, *flags, "--name", name)
    return dvc_adapter.read_lock(kubeflow.home / "runs" / name)


def test_pull_gives_a_clean_workspace_with_the_local_runs_metrics(kubeflow, first):
    kubeflow("pull", first.name)
    root = kubeflow.home / "runs" / first.name
    for verb in ("status", "pull"):
        said = subprocess.run([sys.executable, "-m", "dvc", verb], cwd=root, capture_output=True, text=True, check=True)
        assert "up to date" in said.stdout
    assert dvc_adapter.read_lock(root) == made_here(kubeflow, "local")
    for metrics in (*(root / "metrics").glob("*.json"), root / "outputs/report/metrics.json"):
        assert metrics.read_bytes() == (kubeflow.home / "runs/local" / metrics.relative_to(root)).read_bytes()


def test_two_runs_at_once_do_not_disturb_each_other(at_once, kubeflow, store):
    run, _ = at_once["other"]
    assert Records.of(store, run.id).lock() == made_here(kubeflow, "local-ppo", *OTHER_PPO)
