"""The pipeline on a real Kubeflow: placed, cached, retried, fetched, scheduled, cancelled."""

import json
import subprocess
import sys
import threading
import time

import pytest

from pipelines.profiles import WITH_MODELS, load_profile
from retort.objects import Objects
from retort.records import Records
from tests.cluster.support import PROFILE, Kubectl, put_secret

SMOKE = ["--config", "configs/smoke.yaml", "--set", "evaluate.models=[sft, ppo]"]
STAGES_AFTER_PPO = {"ppo", "sft_equal_compute", "evaluate", "report"}


@pytest.fixture(scope="module")
def pods():
    return Kubectl(load_profile(PROFILE).namespace)


@pytest.fixture(scope="module")
def first(kubeflow):
    """The smoke distillation, once for every test that starts from it: its name and id."""
    name = f"first-{int(time.time())}"
    shown = json.loads(kubeflow("submit", *SMOKE, "--name", name, "--json", "--wait").splitlines()[0])
    return name, shown["run_id"]


def of_run(pods, run_id):
    """Pods of a run by stage, with their node."""
    listed = pods.json("get", "pods", "-l", f"pipeline/runid={run_id}")["items"]
    found = {}
    for pod in listed:
        path = pod["metadata"]["annotations"].get("workflows.argoproj.io/node-name", "")
        for stage in (*WITH_MODELS, "prompts", "models", "votes", "reward_data", "report"):
            if f".{stage.replace('_', '-')}." in path and ".executor" in path:
                found.setdefault(stage, []).append(pod)
    return found


def test_the_smoke_distillation_succeeds_each_stage_in_a_pod_of_its_own_on_the_right_node(kubeflow, pods, first):
    name, run_id = first
    assert set(kubeflow.states(name).values()) == {"SUCCEEDED"}
    found = of_run(pods, run_id)
    names = [pod["metadata"]["name"] for group in found.values() for pod in group]
    assert len(set(names)) == len(names)
    nodes = {one["metadata"]["name"]: one["metadata"]["labels"] for one in pods.json("get", "nodes")["items"]}
    for stage, group in found.items():
        for pod in group:
            on_gpu = "nvidia.com/gpu.present" in nodes[pod["spec"]["nodeName"]]
            assert on_gpu == (stage in WITH_MODELS), stage


def test_an_unchanged_run_is_remembered_whole(kubeflow, first, name):
    kubeflow("submit", *SMOKE, "--name", name("again"), "--wait")
    states = kubeflow.states(name("again"))
    assert {state for stage, state in states.items() if stage not in ("record", "summary")} == {"CACHED"}


def test_the_same_name_is_not_started_twice_and_not_given_to_another_run(kubeflow, first):
    shown = json.loads(kubeflow("submit", *SMOKE, "--name", first[0], "--json"))
    assert shown == shown | {"run_id": first[1], "new": False}
    said = kubeflow("submit", *SMOKE, "--name", first[0], "--set", "seed=9", code=64)
    assert "is taken by a run with other parameters" in said


def test_one_parameter_of_ppo_reruns_ppo_and_what_follows(kubeflow, first, name):
    kubeflow("submit", *SMOKE, "--set", "ppo.iterations=3", "--name", name("ppo"), "--wait")
    states = kubeflow.states(name("ppo"))
    ran = {stage for stage, state in states.items() if state == "SUCCEEDED"} - {"collect", "record", "summary"}
    assert ran == STAGES_AFTER_PPO


def test_pull_gives_a_clean_workspace_with_the_local_runs_metrics(kubeflow, first):
    kubeflow("pull", first[0])
    root = kubeflow.home / "runs" / first[0]
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "up to date" in status.stdout
    kubeflow("run", *SMOKE, "--name", "local")
    mine = (root / "outputs/report/metrics.json").read_bytes()
    assert mine == (kubeflow.home / "runs/local/outputs/report/metrics.json").read_bytes()


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_deleted_pod_is_tried_again_and_the_hashes_are_those_of_an_undisturbed_run(
    kubeflow, pods, store, first, name, stage
):
    forced = kubeflow("rerun", first[0], "--from", stage, "--name", name(stage)).split()[1]
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        running = [pod for pod in of_run(pods, forced).get(stage, []) if pod["status"]["phase"] == "Running"]
        if running and any("/sft/" in one or "/ppo/" in one for one in Objects.of(store, "state").names()):
            break
        time.sleep(1)
    pods("delete", "pod", running[0]["metadata"]["name"], "--wait=false")
    while json.loads(kubeflow("status", name(stage), "--json"))["state"] not in ("SUCCEEDED", "FAILED"):
        time.sleep(5)
    said = json.loads(kubeflow("status", name(stage), "--json"))
    assert said["state"] == "SUCCEEDED"
    assert next(one for one in said["stages"] if one["stage"] == stage)["attempts"] == 2
    assert Records.of(store, forced).lock() == Records.of(store, first[1]).lock()


def test_a_schedule_runs_on_new_data_and_skips_what_it_has_done(kubeflow, store, first, name):
    source = json.loads(kubeflow("status", first[0], "--json"))  # the run exists: its sources are in the store
    assert source["state"] == "SUCCEEDED"
    export = Objects.of(store, "exports")
    text = "".join(json.dumps({"prompt": f"{n}+{n}?", "answer": str(2 * n)}) + "\n" for n in range(400))
    (kubeflow.home / "prompts.jsonl").write_text(text)
    export.write("prompts.jsonl", text.encode())
    kubeflow(
        "schedule", "set", name("weekly"), *SMOKE, "--every", "1m", "--set",
        "prompts.sources=[{path: prompts.jsonl}]", "--data", f"prompts.jsonl={store}/exports/prompts.jsonl",
    )  # fmt: skip
    try:
        assert name("weekly") in kubeflow("schedule", "list")
        runs = wait_for_runs(kubeflow, name("weekly"), 2)
    finally:
        kubeflow("schedule", "remove", name("weekly"))
    first_run, second_run = (kubeflow.states(run) for run in runs)
    assert first_run["sft"] in ("SUCCEEDED", "CACHED")
    assert "sft" not in second_run


def wait_for_runs(kubeflow, schedule, count):
    """Ids of the first runs of a schedule, when that many have ended."""
    import kfp_server_api

    api = kfp_server_api.RunServiceApi(
        kfp_server_api.ApiClient(kfp_server_api.Configuration(host=kubeflow.environment["RETORT_KFP_HOST"]))
    )
    deadline = time.monotonic() + 1500
    while time.monotonic() < deadline:
        listed = api.run_service_list_runs(page_size=50, sort_by="created_at asc").runs or []
        ended = [one for one in listed if schedule in one.display_name and one.state in ("SUCCEEDED", "FAILED")]
        if len(ended) >= count:
            return [one.run_id for one in ended[:count]]
        time.sleep(10)
    raise AssertionError(f"{schedule}: fewer than {count} runs ended")


def test_two_runs_at_once_do_not_disturb_each_other(kubeflow, store, name):
    ids = {}

    def submit(seed):
        shown = kubeflow("submit", *SMOKE, "--set", f"seed={seed}", "--name", name(f"s{seed}"), "--json", "--wait")
        ids[seed] = json.loads(shown.splitlines()[0])["run_id"]

    threads = [threading.Thread(target=submit, args=(seed,)) for seed in (11, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    locks = [Records.of(store, ids[seed]).lock() for seed in (11, 12)]
    assert locks[0].keys() == locks[1].keys()
    assert locks[0]["sft"] != locks[1]["sft"]


def test_a_wrong_secret_is_refused_before_anything_is_scheduled(kubeflow, pods, name):
    put_secret(pods, AWS_SECRET_ACCESS_KEY="wrong")
    try:
        said = kubeflow("submit", *SMOKE, "--name", name("wrong"), code=69)
    finally:
        put_secret(pods)
    assert "nothing was scheduled" in said
    assert "retort-store" in said
    assert "no run" in kubeflow("status", name("wrong"), code=64)


def test_an_impossible_request_is_refused_with_the_nodes_that_there_are(kubeflow, tmp_path, name):
    profile = tmp_path / "big.yaml"
    profile.write_text(f"extends: {PROFILE}\nstages: {{ppo: {{gpus: 16}}}}\n")
    said = kubeflow("submit", *SMOKE, "--name", name("big"), "--profile", str(profile), code=69)
    assert "no node takes a pod of ppo (16 x nvidia.com/gpu" in said
    assert "There are: " in said


def test_cancel_leaves_no_pod_and_no_record(kubeflow, pods, store, name):
    kubeflow("submit", *SMOKE, "--set", "seed=21", "--set", "sft.steps=5000", "--name", name("cancel"))
    run_id = json.loads(kubeflow("status", name("cancel"), "--json"))["run_id"]
    deadline = time.monotonic() + 600
    while "sft" not in of_run(pods, run_id) and time.monotonic() < deadline:
        time.sleep(2)
    kubeflow("cancel", name("cancel"))
    while time.monotonic() < deadline:
        phases = {pod["status"]["phase"] for group in of_run(pods, run_id).values() for pod in group}
        if not phases & {"Running", "Pending"}:
            break
        time.sleep(2)
    assert not phases & {"Running", "Pending"}
    assert Records.of(store, run_id).objects.read("lock.json") is None
