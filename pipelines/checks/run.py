"""What a cluster must have before a run is worth scheduling; `submit` stops at what is missing, `doctor` shows all.

Each check asks one question and changes nothing (the storage check writes one small object and removes it).
"""

from __future__ import annotations

from collections.abc import Callable

import yaml
from retort_pipelines.checks import kueue
from retort_pipelines.checks.base import Cluster
from retort_pipelines.checks.pipeline_root import LAUNCHER, pipeline_root
from retort_pipelines.checks.store import storage, store_details, store_secret

from retort.errors import ClusterError
from retort.pod.termination import FOR_GOOD
from retort.run.doctor import Check

RIGHTS = (
    ("get", "namespaces", "namespace"),
    ("get", "secrets", "store"),
    ("get", "serviceaccounts", "account"),
    ("list", "resourcequotas", ""),
    ("list", "pods", ""),
    ("get", "pods/log", ""),
    ("get", "configmaps", "launcher"),
)
"""What Retort's commands ask of Kubernetes themselves: verb, resource, and which one. Everything else Kubeflow does."""


def examine(cluster: Cluster) -> list[Check]:
    """Every check of the Kubernetes side."""
    from retort_pipelines.checks.capacity import gpus, images, quota
    from retort_pipelines.checks.trainer_runtime import trainer

    checks = (
        api_server,
        namespace,
        rights,
        service_account,
        store_secret,
        storage,
        pipeline_root,
        gpus,
        quota,
        images,
        kueue.queue,
        retries,
        trainer,
    )
    return [_asked(check, cluster) for check in checks] + store_details(cluster)


def blocking(cluster: Cluster) -> list[Check]:
    """The checks whose failure a run could not survive, for `submit`."""
    from retort_pipelines.checks.capacity import gpus, images, quota
    from retort_pipelines.checks.trainer_runtime import trainer

    checks = (api_server, namespace, service_account, store_secret, storage, gpus, quota, images, kueue.queue, trainer)
    return [_asked(check, cluster) for check in checks]


def _asked(check: Callable[[Cluster], Check], cluster: Cluster) -> Check:
    """A check that may not ask says so, instead of stopping the others."""
    from kubernetes.client import ApiException

    try:
        return check(cluster)
    except ApiException as error:
        if error.status != 403:
            raise
        return Check(check.__name__.replace("_", " "), "optional", "cannot be asked: no right to", "See rights")


def api_server(cluster: Cluster) -> Check:
    """The API server answers."""
    from kubernetes.client import VersionApi

    version = VersionApi(cluster.api).get_code().git_version
    return Check("api server", "OK", f"Kubernetes {version} at {cluster.api.configuration.host}")


def namespace(cluster: Cluster) -> Check:
    """The run's namespace is there."""
    name = cluster.profile.namespace
    found = cluster.get(lambda: cluster.core.read_namespace(name))
    if found is None:
        remedy = "kubectl apply -k k8s/overlays/generic"
        return Check("namespace", "missing", f"no {name}", f"Correct the profile's namespace, or make it: {remedy}")
    level = (found.metadata.labels or {}).get("pod-security.kubernetes.io/enforce", "not enforced")
    return Check("namespace", "OK", f"{name}, Pod Security {level}")


def rights(cluster: Cluster) -> Check:
    """We may do what Retort's commands do."""
    from kubernetes import client

    ask = client.AuthorizationV1Api(cluster.api).create_self_subject_access_review
    profile = cluster.profile
    names = {"namespace": profile.namespace, "store": profile.secrets.store, "account": profile.service_account}
    names["launcher"] = LAUNCHER
    lacking = []
    needed = RIGHTS + (kueue.RIGHTS if kueue.named(profile) else ())
    for verb, resource, which in needed:
        kind, _, sub = resource.partition("/")
        kind, _, group = kind.partition(".")
        attributes = client.V1ResourceAttributes(
            namespace=profile.namespace, verb=verb, group=group, resource=kind, subresource=sub, name=names.get(which)
        )
        review = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        )
        if not ask(review).status.allowed:
            lacking.append(" ".join(filter(None, (verb, resource, names.get(which)))))
    if lacking:
        remedy = "Have role retort-user of k8s/base bound to you"
        return Check("rights", "missing", f"may not {', '.join(lacking)} in {profile.namespace}", remedy)
    return Check("rights", "OK", f"all {len(needed)} that Retort's commands use")


def service_account(cluster: Cluster) -> Check:
    """The pods' service account is there."""
    where = (cluster.profile.service_account, cluster.profile.namespace)
    if cluster.get(lambda: cluster.core.read_namespaced_service_account(*where)) is None:
        remedy = "kubectl apply -k k8s/overlays/generic, or name another in the profile"
        return Check("service account", "missing", f"no {where[0]} in {where[1]}", remedy)
    return Check("service account", "OK", where[0])


def retries(cluster: Cluster) -> Check:
    """The workflow controller retries stages that fail as well as pods that were taken away."""
    name = "workflow-controller-configmap"
    maps = cluster.core.list_config_map_for_all_namespaces(field_selector=f"metadata.name={name}").items
    if not maps:
        return Check("retries", "optional", f"no {name} found", "Patch it where Argo runs: docs/guides/cluster.md")
    defaults = yaml.safe_load((maps[0].data or {}).get("workflowDefaults") or "{}") or {}
    for key in ("spec", "templateDefaults", "retryStrategy"):
        defaults = defaults.get(key) or {}
    policy = defaults.get("retryPolicy")
    remedy = f"Patch {name} in {maps[0].metadata.namespace} with k8s/kubeflow: docs/guides/cluster.md says how"
    if policy == "Always" and FOR_GOOD not in str(defaults.get("expression")):
        found = "failed stages and evicted pods alike, also a stage that failed twice for what no attempt mends"
        return Check("retries", "optional", found, remedy)
    if policy == "Always" and not defaults.get("backoff"):
        found = "failed stages and evicted pods alike, but a restart of Kubeflow's API server ends a run between stages"
        return Check("retries", "optional", found, remedy)
    if policy == "Always":
        return Check("retries", "OK", "failed stages, evicted pods and Kubeflow's drivers alike")
    found = f"Argo's template defaults say {policy or 'nothing'}: a failed stage or an evicted pod is not tried again"
    return Check("retries", "optional", found, remedy)


def refuse(checks: list[Check]) -> None:
    """Stop where a run could not succeed.

    Raises:
        ClusterError: names every check that failed and its remedy.
    """
    if failed := [check for check in checks if check.status == "missing"]:
        lines = [f"  {check.name}: {check.found}\n    -> {check.remedy}" for check in failed]
        raise ClusterError("\n".join(["nothing was scheduled, because the run could not succeed:", *lines]))
