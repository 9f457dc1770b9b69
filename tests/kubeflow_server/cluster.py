"""The three servers together, and the `retort` command in front of them."""

from __future__ import annotations

import base64
import copy
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

from tests.kubeflow_server.kubernetes import KubernetesServer
from tests.kubeflow_server.pipelines import Item, KubeflowServer
from tests.s3_server import S3Server

CHECKOUT = Path(__file__).parents[2]
NAMESPACE = "retort"
PREFIX = f"/api/v1/namespaces/{NAMESPACE}"
STORE = "s3://bucket/store"


@dataclass
class StandInCluster:
    """A cluster on which everything that a run needs is there, and a folder from which runs are submitted."""

    kubeflow: KubeflowServer
    kubernetes: KubernetesServer
    s3: S3Server
    home: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    kept: dict[str, Item]
    """A run that was submitted in an earlier test of the session (`run`), and what its tasks were told (`objects`)."""

    def submitted(self, name: str = "a") -> str:
        """Id of a run of `toy.yaml` that was submitted; by `retort submit` itself the first time."""
        if not self.kept:
            run_id = self.json("submit", "--config", "toy.yaml", "--name", name)["run_id"]
            told = {key: content for key, content in self.s3.objects.items() if "/settings/" in key}
            self.kept |= {"run": copy.deepcopy(self.kubeflow.runs[run_id]), "objects": told}
            return str(run_id)
        for key, content in self.kept["objects"].items():
            self.s3.put(key, content)
        made = copy.deepcopy(self.kept["run"]) | {"display_name": name, "state": "PENDING"}
        return str(self.kubeflow.keep(made)["run_id"])

    def retort(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run the command in this process; what it printed on stdout and on stderr."""
        from retort.cli.app import main

        self.patch.setattr(sys, "argv", ["retort", *arguments])
        self.capture.readouterr()
        status: Any = 0
        warnings = logging.StreamHandler(sys.stderr)  # pytest takes the place of the one that is there by default
        warnings.setLevel(logging.WARNING)
        logging.getLogger().addHandler(warnings)
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            logging.getLogger().removeHandler(warnings)
        out, err = self.capture.readouterr()
        assert status == code, f"retort {' '.join(arguments)}: {status} instead of {code}\n{out}\n{err}"
        return out, err

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What it printed with --json."""
        return json.loads(self.retort(*arguments, "--json", code=code)[0])

    def end(self, run_id: str, state: str = "SUCCEEDED") -> None:
        """Let a run end."""
        self.kubeflow.runs[run_id]["state"] = state

    def node(self, run_id: str, name: str, kind: str, phase: str, **more: Any) -> None:
        """Let a run's workflow have a node, named from its stage on: `sft(0).executor(0)`."""
        nodes = self.kubeflow.workflows[run_id]["status"]["nodes"]
        whole = f"retort-distil-abc12.root(0).exit-handler-1(0).{name}"
        nodes[f"n{len(nodes)}"] = {
            "name": whole,
            "type": kind,
            "phase": phase,
            "startedAt": "2026-11-22T21:00:00Z",
            **more,
        }

    def pod(
        self, run_id: str, name: str, node: str, *, item: str = "", said: list[bytes] | None = None, **status: Any
    ) -> None:
        """Let a run have a pod, with what it said."""
        given = json.dumps({"inputs": {"parameterValues": {"item": item} if item else {}}})
        self.kubernetes.put(
            f"{PREFIX}/pods/{name}",
            metadata={
                "labels": {"pipeline/runid": run_id},
                "annotations": {"workflows.argoproj.io/node-name": f"retort-distil-abc12.root(0).{node}"},
                "creationTimestamp": f"2026-11-22T21:00:{len(self.kubernetes.objects) % 60:02}Z",
            },
            spec={"containers": [{"name": "main", "command": ["launcher"], "args": ["--executor_input", given]}]},
            status={"phase": "Running", **status},
        )
        if said is not None:
            self.kubernetes.logs[name] = said

    def runs(self, name: str) -> list[Item]:
        """All runs of that name, oldest first."""
        return [one for one in self.kubeflow.runs.values() if one["display_name"] == name]


def furnished() -> KubernetesServer:
    """A Kubernetes with what the manifests of k8s/ and the guide put there."""

    made = KubernetesServer()
    made.put(
        f"/api/v1/namespaces/{NAMESPACE}", metadata={"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    )
    made.put(f"{PREFIX}/serviceaccounts/pipeline-runner")
    made.put(f"{PREFIX}/resourcequotas/retort", status={"hard": {"requests.cpu": "64"}, "used": {"requests.cpu": "1"}})
    made.put(
        "/api/v1/nodes/gpu-0",
        metadata={"labels": {"nvidia.com/gpu.product": "H100"}},
        spec={"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        status={
            "allocatable": {"cpu": "32", "memory": "256Gi", "nvidia.com/gpu": "8"},
            "images": [{"names": ["docker.io/retort/train:dev"]}],
        },
    )
    made.put("/api/v1/nodes/cpu-0", spec={}, status={"allocatable": {"cpu": "8", "memory": "32Gi"}})
    keys = {"AWS_ACCESS_KEY_ID": "right", "AWS_SECRET_ACCESS_KEY": "secret"}
    data = {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
    made.put(f"{PREFIX}/secrets/retort-store", data=data)
    patch = yaml.safe_load((CHECKOUT / "k8s/kubeflow/workflow-controller-configmap.yaml").read_text(encoding="utf-8"))
    made.put("/api/v1/namespaces/kubeflow/configmaps/workflow-controller-configmap", data=patch["data"])
    return made


@contextmanager
def running(
    home: Path,
    capture: pytest.CaptureFixture[str],
    patch: pytest.MonkeyPatch,
    kept: dict[str, Item],
    **options: Any,
) -> Iterator[StandInCluster]:
    """All three servers, and an environment that names them; `options` are Kubeflow's."""
    made = StandInCluster(KubeflowServer(**options), furnished(), S3Server(), home, capture, patch, kept)
    made.s3.access_key = "right"
    secret = made.kubernetes.objects[f"{PREFIX}/secrets/retort-store"]["data"]
    secret["AWS_ENDPOINT_URL"] = base64.b64encode(made.s3.url.encode()).decode()
    config = home / "kubeconfig"
    config.write_text(json.dumps(_kubeconfig(made.kubernetes)))
    # The kubernetes client reads KUBECONFIG when it is imported, which is long past here.
    patch.setattr(kubernetes.config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    patch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    named = {
        "KUBECONFIG": str(config),
        "RETORT_KFP_HOST": made.kubeflow.address,
        "RETORT_REMOTE": STORE,
        "AWS_ACCESS_KEY_ID": "right",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": made.s3.url,
        "AWS_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in named.items():
        patch.setenv(name, value)
    for name in ("RETORT_PROFILE", "RETORT_KFP_TOKEN", "RETORT_KFP_TOKEN_FILE", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    try:
        yield made
    finally:
        for server in (made.kubeflow, made.kubernetes, made.s3):
            server.stop()


def _kubeconfig(server: KubernetesServer) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server.address}}],
        "users": [{"name": "test", "user": {"token": server.token}}],
    }
