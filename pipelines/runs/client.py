"""Reaching Kubeflow Pipelines and Kubernetes.

Nothing here is Retort's own: the kfp client and the kubernetes client do the talking.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from retort_pipelines.runs.patience import PATIENCE_S, patiently
from retort_pipelines.runs.refusals import away, explained, message_of, refused

from retort.errors import ClusterError, ConfigError

OLDEST = (2, 16)
"""Oldest Kubeflow Pipelines with what the pipeline needs: emptyDir size limits and security contexts."""

_TIMEOUT_S = 10
_PAGE = 100
_Answer = TypeVar("_Answer")


def _page(listing: str, arguments: tuple[Any, ...], wanted: dict[str, Any], client: Any) -> Any:
    return getattr(client, listing)(*arguments, **wanted)


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
    patience_s: float = 0
    """How long it is asked again when it does not answer."""

    def link(self, run_id: str) -> str:
        """Address of a run in the interface."""
        return f"{self.host.rstrip('/')}/#/runs/details/{run_id}"

    def patient(self) -> Kubeflow:
        """The same, asked again for minutes when it does not answer: for reading, which does no harm twice."""
        return replace(self, patience_s=PATIENCE_S)

    def ask(self, call: Callable[[Any], _Answer]) -> _Answer:
        """What `call` of the client says.

        Raises:
            ClusterError: Kubeflow is away, refuses us or the request.
            ConfigError: what it was asked for is wrong.
            UnknownOutcomeError: it stayed away for longer than `patience_s`.
        """

        def once() -> _Answer:
            if token := _token():  # the one in a file changes while a run is watched
                self.client._existing_config.api_key["authorization"] = token
            with explained(self.host):
                return call(self.client)

        return patiently(once, self.patience_s)

    def pages(self, listing: str, field: str, *arguments: Any, **wanted: Any) -> Iterator[Any]:
        """Everything that a list call of the client has, however many pages it fills.

        Args:
            listing: Name of the call: `list_runs`.
            field: Field of its answer with the items: `runs`.
            arguments: Of the call.
            wanted: Of the call, by name.
        """
        token = ""
        while True:
            answer = self.ask(partial(_page, listing, arguments, {"page_token": token, "page_size": _PAGE, **wanted}))
            yield from getattr(answer, field) or []
            if not (token := answer.next_page_token or ""):
                return

    def workflow(self, run_id: str) -> dict[str, Any]:
        """A run's workflow as Kubeflow keeps it; empty before there is one.

        The tasks of the second version of the API do not say which pod belongs to which task; the workflow's nodes do,
        and Kubeflow's copy outlives the workflow itself.
        """
        found = patiently(lambda: _get(self.host, f"apis/v1beta1/runs/{run_id}"), self.patience_s)
        manifest = (found.get("pipeline_runtime") or {}).get("workflow_manifest")
        workflow: dict[str, Any] = json.loads(manifest or "{}")
        if packed := workflow.get("status", {}).pop("compressedNodes", None):  # Argo's way round 1 MB an object
            workflow["status"]["nodes"] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return workflow


def kubeflow(host: str | None = None, *, namespace: str = "kubeflow", patient: bool = False) -> Kubeflow:
    """Connect to Kubeflow Pipelines.

    Args:
        host: Address of its API or interface; the environment variable RETORT_KFP_HOST when left out. A token is
            taken from RETORT_KFP_TOKEN, or from the file that RETORT_KFP_TOKEN_FILE names.
        namespace: Namespace of the runs, where several users share the installation.
        patient: Ask again for minutes when it does not answer.

    Raises:
        ConfigError: no address is known, or the token's file cannot be read.
        ClusterError: it is away, refuses us, or is too old.
        UnknownOutcomeError: it stayed away, though it was asked patiently.
    """
    host = host or os.environ.get("RETORT_KFP_HOST")
    if not host:
        raise ConfigError("no Kubeflow Pipelines is named. Set RETORT_KFP_HOST to its address, or give --host.")
    patience = PATIENCE_S if patient else 0
    version, shared = patiently(lambda: _health(host), patience)
    if (numbers := _numbers(version)) and numbers < OLDEST:
        raise ClusterError(
            f"{host}: Kubeflow Pipelines {version} lacks what the pipeline needs. Install "
            f"{'.'.join(map(str, OLDEST))} or newer; 2.17 is tested."
        )
    import kfp

    def connect() -> Any:
        with warnings.catch_warnings(), explained(host):
            warnings.simplefilter("ignore")  # kfp tells everyone that this client is for version 2
            # Where users are not kept apart, its API refuses any namespace; "kubeflow" is the client's word for none.
            return kfp.Client(host=host, existing_token=_token(), namespace=namespace if shared else "kubeflow")

    return Kubeflow(host, patiently(connect, patience), version, namespace if shared else None, patience)


def _token() -> str | None:
    if file := os.environ.get("RETORT_KFP_TOKEN_FILE"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"RETORT_KFP_TOKEN_FILE={file}: cannot be read ({error}). Name a file with the token."
            ) from error
    return os.environ.get("RETORT_KFP_TOKEN")


def _health(host: str) -> tuple[str, bool]:
    """The version of the API at `host`, empty where it does not say, and whether it keeps users apart."""
    found = _get(host, "apis/v1beta1/healthz")
    return str(found.get("tag_name") or ""), bool(found.get("multi_user"))


def _get(host: str, path: str) -> dict[str, Any]:
    """What Kubeflow Pipelines' API says at a path."""
    request = urllib.request.Request(f"{host.rstrip('/')}/{path}")  # noqa: S310 - checked below
    if not host.startswith(("http://", "https://")):
        raise ConfigError(f"{host}: is not an address. Begin it with http:// or https://.")
    if token := _token():
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            found = json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise refused(host, error.code, message_of(error.read()) or error.reason) from error
    except OSError as error:
        raise away(host, getattr(error, "reason", error)) from error
    except ValueError as error:
        raise ClusterError(
            f"{host}: something answers, but it is not Kubeflow Pipelines' API. Is there a login page before it? "
            "Give a token in RETORT_KFP_TOKEN."
        ) from error
    return found if isinstance(found, dict) else {}


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else ()


@contextlib.contextmanager
def kubernetes_api() -> Iterator[Any]:
    """The kubernetes client, for the cluster of KUBECONFIG, of ~/.kube/config, or around this pod.

    Raises:
        ClusterError: there is none, it is away, or it refuses us.
    """
    import kubernetes

    _configure_kubernetes()
    with kubernetes_explained(), kubernetes.client.ApiClient() as api:
        api.rest_client.pool_manager.connection_pool_kw["retries"] = 1
        yield api


@contextlib.contextmanager
def kubernetes_explained(*, passing: Collection[int] = ()) -> Iterator[None]:
    """Explain what goes wrong while Kubernetes is asked for something, but for the statuses that may pass.

    Raises:
        ClusterError: it is away, or it refuses us.
    """
    import kubernetes
    import urllib3

    try:
        yield
    except kubernetes.client.ApiException as error:
        if error.status in passing:
            raise
        reason = message_of(error.body) or error.reason
        hint = {401: "Sign in again: the token may have expired.", 403: "Ask for that right, or use another account."}
        raise ClusterError(f"Kubernetes: {reason} {hint.get(error.status, '')}".rstrip()) from error
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(f"Kubernetes does not answer ({error}). Check KUBECONFIG and the network.") from error


def _configure_kubernetes() -> None:
    """Read KUBECONFIG, several files of it as kubectl does, or what a pod is given."""
    import kubernetes
    import yaml

    try:
        kubernetes.config.load_kube_config()
    except (kubernetes.config.ConfigException, yaml.YAMLError, OSError, TypeError, KeyError) as error:
        try:
            kubernetes.config.load_incluster_config()
        except kubernetes.config.ConfigException:
            raise ClusterError(
                f"no Kubernetes is configured ({error}). Set KUBECONFIG, or put its configuration into ~/.kube/config."
            ) from error
