"""Whether Kubeflow's Trainer can start what a profile puts on several nodes."""

from __future__ import annotations

from retort_pipelines.checks.base import Cluster
from retort_pipelines.graph.trainjob import RUNTIME

from retort.pod.trainjob import GROUP, VERSION
from retort.run.doctor import Check
from retort.run.known_stages import known_stages


def trainer(cluster: Cluster) -> Check:
    """Kubeflow's Trainer and our runtime are there, where the profile asks for several nodes."""
    from kubernetes.client import CustomObjectsApi

    stages = [stage.name for stage in known_stages().values() if cluster.profile.nodes(stage) > 1]
    if not stages:
        return Check("trainer", "OK", "no stage asks for several nodes")
    api, name = CustomObjectsApi(cluster.api), cluster.profile.namespace
    found = cluster.get(lambda: api.get_namespaced_custom_object(GROUP, VERSION, name, "trainingruntimes", RUNTIME))
    if found is None:
        problem = f"{', '.join(stages)} on several nodes, and no TrainingRuntime {RUNTIME} in {name}"
        return Check("trainer", "missing", problem, "Install Kubeflow Trainer 2.3, then k8s/components/trainer")
    return Check("trainer", "OK", f"TrainingRuntime {RUNTIME}, for {', '.join(stages)}")
