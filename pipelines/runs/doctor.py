"""`retort doctor --cluster`: what is missing on a cluster, and how to get it."""

from __future__ import annotations

from retort_pipelines.checks.base import Cluster
from retort_pipelines.checks.run import examine
from retort_pipelines.profiles import load_profile
from retort_pipelines.runs.client import kubeflow, kubernetes_api
from retort_pipelines.runs.refusals import explained
from retort_pipelines.runs.submit import remote_of

from retort.errors import ClusterError, ConfigError
from retort.run.doctor import Check


def examine_cluster(profile: str, host: str | None, remote: str | None) -> list[Check]:
    """Every check of Kubernetes and of Kubeflow; one that stops others says so itself.

    Raises:
        ConfigError: the profile is wrong, or no object store is named.
    """
    placed = load_profile(profile)
    store = remote_of(remote, placed)
    try:
        with kubernetes_api() as api:
            checks = examine(Cluster(api, placed, store))
    except ClusterError as error:
        checks = [Check("api server", "missing", str(error), "Nothing else of Kubernetes can be asked before this")]
    try:
        found = kubeflow(host, namespace=placed.namespace)
        with explained(found.host):
            found.client.list_runs(page_size=1, namespace=found.namespace)  # its health is told to strangers too
        words = f"{found.version or 'of unknown version'} at {found.host}"
        if found.namespace:
            words += f", runs in {found.namespace}"
        checks.append(Check("kubeflow pipelines", "OK", words))
    except (ClusterError, ConfigError) as error:
        checks.append(Check("kubeflow pipelines", "missing", str(error), "docs/guides/cluster.md"))
    return checks
