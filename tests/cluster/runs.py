"""What the tests on a real Kubeflow share: one undisturbed run, and looking at runs, pods and the store."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retort_pipelines.profiles import load_profile
from retort_pipelines.runs import client
from retort_pipelines.runs.names import ENDED
from retort_pipelines.runs.status import group_of

from retort.demo import make
from retort.io.objects import Objects
from retort.run.known_stages import known_stages
from tests.cluster.support import PROFILE, Kubectl, Retort

LONGER = ("sft.steps=80", "ppo.iterations=8")
"""Long enough for a pod to be deleted in the middle, after a checkpoint."""

MODELS = "evaluate.models=[sft, ppo]"
SMOKE = ("--config", "configs/smoke.yaml", *(part for value in (MODELS, *LONGER) for part in ("--set", value)))
"""The smoke distillation."""

QUICK = ("sft.steps=5", "ppo.iterations=1", "reward.min_auc=0", "reward.max_calibration_error=1")
"""As short as every stage can be."""

OWN_DATA = "prompts.sources=[{path: prompts.jsonl, prompt_field: question, answer_field: answer}]"
"""In place of the embedded prompts, what `exports` makes."""

BOOKS = {"parameters", "record", "summary"}
"""Tasks about a run, which Kubeflow never remembers."""

_NODE = re.compile(r"\.([-a-z0-9]+)(?:\(\d+\))?\.executor")


@dataclass(frozen=True)
class Run:
    """A run that was submitted."""

    name: str
    id: str


def exports() -> list[str]:
    """What a table of prompts holds one day and another, as JSON Lines."""
    return ["".join(json.dumps(row) + "\n" for row in make.prompts(800, seed)) for seed in (1, 2)]


def submitted(kubeflow: Retort, name: str, *flags: str) -> Run:
    """Submit the smoke distillation under this name."""
    return Run(name, json.loads(kubeflow("submit", *SMOKE, *flags, "--name", name, "--json"))["run_id"])


def shown(kubeflow: Retort, run: Run) -> dict[str, Any]:
    """What `retort status` says of it."""
    said: dict[str, Any] = json.loads(kubeflow("status", run.id, "--json"))
    return said


def ended(kubeflow: Retort, run: Run, *, limit_s: float = 1500) -> dict[str, Any]:
    """Its status when it has ended."""
    asked = api(kubeflow).client  # asking in this process is cheaper
    until(lambda: asked.get_run(run.id).state in ENDED, f"{run}: ended", limit_s, 2)
    return shown(kubeflow, run)


def api(kubeflow: Retort) -> client.Kubeflow:
    """The Kubeflow that the environment names, in this process."""
    return client.kubeflow(kubeflow.environment["RETORT_KFP_HOST"], namespace=load_profile(PROFILE).namespace)


def states(status: dict[str, Any]) -> dict[str, str]:
    """State of each stage."""
    return {one["stage"]: one["state"] for one in status["stages"]}


def until(holds: Callable[[], Any], what: str, limit_s: float = 600, every_s: float = 1) -> Any:
    """Wait until something holds; what it said then."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if said := holds():
            return said
        time.sleep(every_s)
    raise AssertionError(f"after {limit_s} s still not: {what}")


def pods_of(pods: Kubectl, run: Run) -> dict[str, list[Any]]:
    """The pods in which a run's tasks ran or run, by group."""
    found: dict[str, list[Any]] = {}
    for pod in pods.json("get", "pods", "-l", f"pipeline/runid={run.id}")["items"]:
        node = _NODE.search(pod["metadata"]["annotations"].get("workflows.argoproj.io/node-name", ""))
        if node and (group := group_of(node[1])).partition("-")[0] in known_stages():
            found.setdefault(group, []).append(pod)
    return found


def in_the_middle(pods: Kubectl, store: str, run: Run, stage: str) -> str:
    """Wait until the pod of a stage runs and has left a checkpoint in the store; its name."""
    state, checkpoint = Objects.of(store, "state"), re.compile(rf"/{stage}/(checkpoints/checkpoint|step)-")

    def running() -> str:
        has_checkpoint = any(checkpoint.search(name) for name in state.names())
        found = [pod for pod in pods_of(pods, run).get(stage, []) if pod["status"]["phase"] == "Running"]
        return found[0]["metadata"]["name"] if found and has_checkpoint else ""

    pod: str = until(running, f"{run}: stage {stage} at work, with a checkpoint", 1200, 0.5)
    return pod


def delete_in_the_middle(pods: Kubectl, store: str, run: Run, stage: str) -> str:
    """Delete the pod of a stage once it has left a checkpoint in the store; its name."""
    pod = in_the_middle(pods, store, run, stage)
    pods("delete", "pod", pod, "--wait=false")
    return pod


def damaged(store: str) -> list[str]:
    """Contents in the store that are not what their name says; DVC names them by MD5."""
    files = Objects.of(store, "files/md5")
    wrong = []
    for name in files.names():
        digest = hashlib.md5(files.read(name) or b"", usedforsecurity=False).hexdigest()
        if digest != name.replace("/", "").removesuffix(".dir"):
            wrong.append(name)
    return wrong
