"""Whether Kubeflow's own store takes what its launcher puts there after each stage, as far as can be seen from here."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from retort_pipelines.checks.base import Cluster
from retort_pipelines.checks.store import tried

from retort.run.doctor import Check

LAUNCHER = "kfp-launcher"
"""ConfigMap in which Kubeflow's launcher reads where artifacts go."""

ROOT = "minio://mlpipeline/v2/artifacts"
"""Kubeflow's own default."""

_NAME = "pipeline root"
_SECRET = {"secretName": "mlpipeline-minio-artifact", "accessKeyKey": "accesskey", "secretKeyKey": "secretkey"}
_SERVICE = {"endpoint": "http://minio-service.kubeflow:9000", "region": "minio"}
"""Kubeflow's own store, where nothing else is said."""


@dataclass(frozen=True)
class _Provider:
    """How the launcher reaches a store."""

    client: dict[str, str]
    """Endpoint and region."""
    secret: dict[str, str]
    """Name of the secret with its keys, and what they are called there; empty where it takes its environment."""


def pipeline_root(cluster: Cluster) -> Check:
    """Kubeflow's own store takes, gives and forgets an object, with Kubeflow's own keys.

    A stage whose artifacts cannot be kept is done again until its attempts are used up.
    """
    where = (LAUNCHER, cluster.profile.namespace)
    found = cluster.get(lambda: cluster.core.read_namespaced_config_map(*where))
    data: dict[str, str] = (found.data or {}) if found is not None else {}
    root = data.get("defaultPipelineRoot") or ROOT
    shown = root if "defaultPipelineRoot" in data else f"{root} (Kubeflow's default)"
    scheme, _, place = root.partition("://")
    provider = _provider(data, scheme, place)
    if scheme not in ("minio", "s3") or not provider.secret:
        return Check(_NAME, "optional", f"{shown}: not tried", "Kubeflow's launcher reaches it as the pod's account")
    keys = _keys(cluster, provider)
    if keys is None:
        problem = f"{shown}: no secret {provider.secret['secretName']} in {cluster.profile.namespace} with its keys"
        return Check(_NAME, "missing", problem, "Make it, or name another in kfp-launcher")
    remedy = "Correct its keys, endpoint or region in kfp-launcher: stages would fail after their work is done"
    return tried(_NAME, f"s3://{place}", keys, shown=shown, whose="Kubeflow's own credentials", remedy=remedy)


def _provider(data: Mapping[str, str], scheme: str, place: str) -> _Provider:
    """What kfp-launcher says of a kind of store: its default, and what differs for this bucket and folder."""
    given = (yaml.safe_load(data.get("providers") or "{}") or {}).get(scheme) or {}
    chosen: dict[str, Any] = given.get("default") or {}
    bucket, _, folder = place.partition("/")
    for one in given.get("overrides") or []:
        if one.get("bucketName") == bucket and folder.startswith(one.get("keyPrefix") or ""):
            chosen = {**chosen, **one}
    endpoint = str(chosen.get("endpoint") or "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{'http' if chosen.get('disableSSL') else 'https'}://{endpoint}"
    fallback = _SERVICE if scheme == "minio" else {}
    client = {"endpoint": endpoint, "region": str(chosen.get("region") or "")}
    client = {key: value or fallback.get(key, "") for key, value in client.items()}
    credentials = chosen.get("credentials") or {}
    if credentials.get("fromEnv"):
        return _Provider(client, {})
    reference = credentials.get("secretRef") or {}
    return _Provider(client, {key: str(reference.get(key) or value) for key, value in _SECRET.items()})


def _keys(cluster: Cluster, provider: _Provider) -> dict[str, str] | None:
    """AWS's variables for a provider; None where its secret is not there."""
    name, namespace = provider.secret["secretName"], cluster.profile.namespace
    found = cluster.get(lambda: cluster.core.read_namespaced_secret(name, namespace))
    if found is None:
        return None
    names = {"AWS_ACCESS_KEY_ID": "accessKeyKey", "AWS_SECRET_ACCESS_KEY": "secretKeyKey"}
    data = found.data or {}
    keys = {key: base64.b64decode(data.get(provider.secret[part], "")).decode() for key, part in names.items()}
    client = {"AWS_ENDPOINT_URL": provider.client["endpoint"], "AWS_REGION": provider.client["region"]}
    return keys | {key: value for key, value in client.items() if value}
