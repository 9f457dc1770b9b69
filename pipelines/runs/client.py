"""Reaching Kubeflow Pipelines and Kubernetes, with every failure said in words that name the remedy.

Nothing here is Retort's own: the kfp client and the kubernetes client do the talking.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.errors import ClusterError, ConfigError

OLDEST = (2, 16)
"""Oldest Kubeflow Pipelines with what the pipeline needs: emptyDir size limits and security contexts."""

_TIMEOUT_S = 10

_LACKING = re.compile(r"User '([^']+)' is not authorized.*?Namespace:([^,]+),Verb:(\w+),.*?Resource:(\w+),")
"""Who may not do what, somewhere in what Kubeflow says when it refuses."""


@dataclass(frozen=True)
class Kubeflow:
    """A Kubeflow Pipelines API."""

    host: str
    client: Any
    """kfp.Client."""
    version: str
    """As the server says it; empty where it does not say."""
    namespace: str | None = None
    """Namespace of the runs where several users share the installation; None where all runs are in its own."""

    def link(self, run_id: str) -> str:
        """Address of a run in the interface."""
        return f"{self.host.rstrip('/')}/#/runs/details/{run_id}"

    def workflow(self, run_id: str) -> dict[str, Any]:
        """A run's workflow as Kubeflow keeps it; empty before there is one.

        The tasks of the second version of the API do not say which pod belongs to which task; the workflow's nodes do,
        and Kubeflow's copy outlives the workflow itself.
        """
        said = _get(self.host, f"apis/v1beta1/runs/{run_id}").get("pipeline_runtime") or {}
        workflow: dict[str, Any] = json.loads(said.get("workflow_manifest") or "{}")
        if packed := workflow.get("status", {}).pop("compressedNodes", None):  # Argo's way round 1 MB an object
            workflow["status"]["nodes"] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return workflow


def kubeflow(host: str | None = None, *, namespace: str = "kubeflow") -> Kubeflow:
    """Connect to Kubeflow Pipelines.

    Args:
        host: Address of its API or interface; the environment variable RETORT_KFP_HOST when left out. A token is
            taken from RETORT_KFP_TOKEN, or from the file that RETORT_KFP_TOKEN_FILE names.
        namespace: Namespace of the runs, where several users share the installation.

    Raises:
        ConfigError: no address is known.
        ClusterError: it is away, refuses us, or is too old.
    """
    host = host or os.environ.get("RETORT_KFP_HOST")
    if not host:
        raise ConfigError("no Kubeflow Pipelines is named. Set RETORT_KFP_HOST to its address, or give --host.")
    version, shared = _health(host)
    if (numbers := _numbers(version)) and numbers < OLDEST:
        raise ClusterError(
            f"{host}: Kubeflow Pipelines {version} lacks what the pipeline needs. Install "
            f"{'.'.join(map(str, OLDEST))} or newer; 2.17 is tested."
        )
    import kfp

    with warnings.catch_warnings(), explained(host):
        warnings.simplefilter("ignore")  # kfp tells everyone that this client is for version 2
        # Where users are not kept apart, its API refuses any namespace; "kubeflow" is the client's word for none.
        client = kfp.Client(host=host, existing_token=_token(), namespace=namespace if shared else "kubeflow")
    return Kubeflow(host, client, version, namespace if shared else None)


def _token() -> str | None:
    if file := os.environ.get("RETORT_KFP_TOKEN_FILE"):
        return Path(file).read_text(encoding="ascii").strip()
    return os.environ.get("RETORT_KFP_TOKEN")


def _health(host: str) -> tuple[str, bool]:
    """The version of the API at `host`, empty where it does not say, and whether it keeps users apart."""
    said = _get(host, "apis/v1beta1/healthz")
    return str(said.get("tag_name") or ""), bool(said.get("multi_user"))


def _get(host: str, path: str) -> dict[str, Any]:
    """What Kubeflow Pipelines' API says at a path."""
    request = urllib.request.Request(f"{host.rstrip('/')}/{path}")  # noqa: S310 - checked below
    if not host.startswith(("http://", "https://")):
        raise ConfigError(f"{host}: is not an address. Begin it with http:// or https://.")
    if token := _token():
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            said = json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise ClusterError(_refused(host, error.code, error.reason)) from error
    except (OSError, ssl.SSLError) as error:
        raise ClusterError(
            f"{host}: Kubeflow Pipelines does not answer ({getattr(error, 'reason', error)}). Check the address and "
            "the network; `kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80` makes it http://localhost:8080."
        ) from error
    except ValueError as error:
        raise ClusterError(
            f"{host}: something answers, but it is not Kubeflow Pipelines' API. Is there a login page before it? "
            "Give a token in RETORT_KFP_TOKEN."
        ) from error
    return said if isinstance(said, dict) else {}


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else ()


def _refused(host: str, status: int, reason: str) -> str:
    if status == 401:
        return (
            f"{host}: does not know us, or the token expired. Put a fresh one into RETORT_KFP_TOKEN: "
            "docs/guides/cluster.md says how to have one."
        )
    if status == 403:
        lacking = _LACKING.search(reason)
        what = "{} may not {} {} in {}".format(*lacking.group(1, 3, 4, 2)) if lacking else f"forbids this: {reason}"
        return f"{host}: {what}. Have role retort-user of k8s/base bound to that account."
    return f"{host}: answered {status} ({reason})."


@contextlib.contextmanager
def explained(host: str) -> Iterator[None]:
    """Explain what goes wrong while Kubeflow is asked for something.

    Raises:
        ClusterError: it is away, refuses us or the request.
    """
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        said = _message(error.body) or error.reason
        raise ClusterError(_refused(host, error.status or 0, said)) from error
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(f"{host}: Kubeflow Pipelines stopped answering ({error}). Try again.") from error


def _message(body: Any) -> str:
    try:
        said = json.loads(body)
    except (TypeError, ValueError):
        return ""
    return str(said.get("message") or said.get("error") or "") if isinstance(said, dict) else ""


@contextlib.contextmanager
def kubernetes_api() -> Iterator[Any]:
    """The kubernetes client, for the cluster of KUBECONFIG, of ~/.kube/config, or around this pod.

    Raises:
        ClusterError: there is none, it is away, or it refuses us.
    """
    import kubernetes
    import urllib3

    try:
        try:
            kubernetes.config.load_config()
        except kubernetes.config.ConfigException as error:
            raise ClusterError(
                f"no Kubernetes is configured ({error}). Set KUBECONFIG, or put its configuration into ~/.kube/config."
            ) from error
        with kubernetes.client.ApiClient() as api:
            api.rest_client.pool_manager.connection_pool_kw["retries"] = 1
            yield api
    except kubernetes.client.ApiException as error:
        said = _message(error.body) or error.reason
        hint = {401: "Sign in again: the token may have expired.", 403: "Ask for that right, or use another account."}
        raise ClusterError(f"Kubernetes: {said} {hint.get(error.status, '')}".rstrip()) from error
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(f"Kubernetes does not answer ({error}). Check KUBECONFIG and the network.") from error
