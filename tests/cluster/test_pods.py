"""Every stage in a pod as the pipeline makes it, on a real Kubernetes with a real S3 store; no Kubeflow needed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from retort_pipelines.profiles import load_profile
from retort_pipelines.runs.submit import Submission, prepare

from retort.config import load_config
from retort.io.objects import Objects
from retort.pod import lock_fragments
from retort.pod.kept_settings import keep, read
from retort.pod.settings import parameter_of
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.cluster.pods import Pods
from tests.cluster.support import CHECKOUT, PROFILE
from tests.pod_settings import changes_of

SMALL = ["evaluate.models=[sft, ppo]"]


def prepared(store, monkeypatch, folder, changes=()):
    """A configuration, and the arguments of a run of it, in which settings hold what Kubeflow gives one by one."""
    monkeypatch.chdir(CHECKOUT)
    config = load_config(Path("configs/smoke.yaml"), changes=[*SMALL, *changes])
    given = prepare(Submission("t", config, load_profile(PROFILE), store, home=folder))
    for name, tasks in graph(config).groups.items():
        told = read(given[parameter_of(name)])
        given[parameter_of(name)] = keep(told.filled(changes_of(config, tasks)))
    return config, given


def before(config, group):
    """Groups of tasks that come before one in the order of the run."""
    names = list(graph(config).groups)
    return names[: names.index(group)]


def fragments_for(config, group, made):
    """Fragments of what a group reads from."""
    graph_ = graph(config)
    makers = dict.fromkeys(maker.group for maker in graph_.producers(graph_.groups[group][0]))
    return [name for maker in makers for name in made[maker]]


def run_in_pods(pods, config, given, groups):
    """Run groups of tasks in pods, on nodes with GPUs those that run models; fragments by group, and the pods."""
    made: dict[str, list[str]] = {}
    started = []
    for group in groups:
        upstream = fragments_for(config, group, made)
        for task in graph(config).groups[group]:
            name = f"t-{task.address}".replace("_", "-")
            pods.start(name, group, given[parameter_of(group)], upstream, task.item)
            made.setdefault(group, []).append(pods.finish(name))
            started.append(name)
            assert ("nvidia.com/gpu.present" in pods.node(name)) == (task.stage.uses == "models"), name
    return made, started


def test_stages_with_and_without_a_gpu_run_in_pods_on_the_right_nodes(kubectl, image, store, secret, home, monkeypatch):
    config, given = prepared(store, monkeypatch, home, ["prompts.limit=40"])
    pods = Pods(kubectl, image, config, home)
    made, started = run_in_pods(pods, config, given, before(config, "votes"))
    counts = {group: len(names) for group, names in made.items()}
    assert counts == {"prompts": 1, "models": 1, "teacher_responses": 2, "ballots": 2}
    lock = lock_fragments.merge([name for names in made.values() for name in names], store)
    assert all(out["md5"] for entry in lock.values() for out in entry["outs"])
    pods.remove(*started)


@pytest.mark.slow
def test_every_stage_runs_in_a_pod_and_makes_what_this_machine_makes(kubectl, image, store, secret, home, monkeypatch):
    config, given = prepared(store, monkeypatch, home)
    pods = Pods(kubectl, image, config, home)
    made, started = run_in_pods(pods, config, given, list(graph(config).groups))
    # What the pods made is what a laptop makes: every record, so every content hash.
    lock = lock_fragments.merge([name for names in made.values() for name in names], store)
    here = home / "here"
    create(here, config, home=CHECKOUT, remote=str(home / "remote"), cache=home / "cache")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    dvc_adapter.reproduce(here)
    assert dvc_adapter.read_lock(here) == lock
    pods.remove(*started)


@pytest.mark.slow
def test_a_pod_that_loses_its_node_goes_on_in_a_new_one(kubectl, image, own_store, secret, home, monkeypatch):
    tool = os.environ.get("RETORT_CLUSTER_TOOL")
    config, given = prepared(own_store, monkeypatch, home, ["seed=3", "sft.steps=400", "sft.checkpoint_steps=20"])
    pods = Pods(kubectl, image, config, home)
    made, started = run_in_pods(pods, config, given, before(config, "sft-sft"))
    pods.remove(*started)
    upstream = fragments_for(config, "sft-sft", made)
    state = Objects.of(own_store, "state")
    pods.start("r-sft-1", "sft-sft", given[parameter_of("sft-sft")], upstream, RETORT_STATE_INTERVAL="1")
    deadline = time.monotonic() + 600
    while not any("checkpoint-" in name for name in state.names()) and time.monotonic() < deadline:
        time.sleep(1)
    assert pods.phase("r-sft-1") == "Running"
    if tool and shutil.which(tool):
        subprocess.run([tool, "down", "gpu-0"], check=True)  # the node loses power
        subprocess.run([tool, "up"], check=True, stdout=subprocess.DEVNULL)
    pods.remove("r-sft-1")
    assert any("checkpoint-" in name for name in state.names())
    pods.start("r-sft-2", "sft-sft", given[parameter_of("sft-sft")], upstream)
    resumed = pods.finish("r-sft-2")
    assert "going on from the resume state" in pods.log("r-sft-2")
    assert state.names() == []
    # The same stage undisturbed, whatever is on record of it.
    pods.start("r-sft-3", "sft-sft", given[parameter_of("sft-sft")], upstream, RETORT_FORCE="1")
    assert pods.finish("r-sft-3") == resumed
    pods.remove("r-sft-2", "r-sft-3")
