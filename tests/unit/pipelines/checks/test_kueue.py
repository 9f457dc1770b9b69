"""Kueue's queues as checks and `retort status` see them, and what k8s/overlays/gpu-kueue says of them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kubernetes.client import ApiException, CustomObjectsApi
from retort_pipelines.checks import kueue
from retort_pipelines.profiles import Profile, load_profile
from retort_pipelines.profiles.quantities import quantity
from retort_pipelines.runs.waiting import _trouble

from retort.run.known_stages import known_stages

OVERLAY = Path(__file__).parents[4] / "k8s/overlays/gpu-kueue"
PROFILE = load_profile("gpu-kueue")


def documents(name):
    return list(yaml.safe_load_all((OVERLAY / name).read_text()))


def one(kind):
    (found,) = (item for item in documents("queues.yaml") if item["kind"] == kind)
    return found


def flavors():
    return {
        item["metadata"]["name"]: item.get("spec", {}) for item in documents("queues.yaml") if "Flavor" in item["kind"]
    }


def takes(flavor, quotas, needs):
    """Whether Kueue would give a pod this flavor, as its documentation says."""
    tolerated = {toleration.key for toleration in needs.tolerations} | {
        toleration["key"] for toleration in flavor.get("tolerations", [])
    }
    keys = {key for other in flavors().values() for key in other.get("nodeLabels", {})}
    labels = flavor.get("nodeLabels", {})
    return (
        all(taint["key"] in tolerated for taint in flavor.get("nodeTaints", []))
        and all(labels.get(key) == value for key, value in needs.node_selector.items() if key in keys)
        and quantity(quotas[needs.gpu]) >= needs.gpus
        and quantity(quotas["cpu"]) >= quantity(needs.cpu)
        and quantity(quotas["memory"]) >= quantity(needs.memory)
    )


@pytest.mark.parametrize("stage", known_stages().values(), ids=lambda stage: stage.name)
def test_each_stage_is_given_the_flavor_of_its_kind_and_no_other(stage):
    (group,) = one("ClusterQueue")["spec"]["resourceGroups"]
    given = [
        flavor["name"]
        for flavor in group["flavors"]
        if takes(
            flavors()[flavor["name"]],
            {resource["name"]: resource["nominalQuota"] for resource in flavor["resources"]},
            PROFILE.needs(stage),
        )
    ]
    assert given == ["retort-gpu" if stage.uses == "models" else "retort-cpu"]


def test_names_agree_and_the_version_is_the_one_that_is_asked_for():
    local, cluster = one("LocalQueue"), one("ClusterQueue")
    assert kueue.named(PROFILE) == {local["metadata"]["name"]}
    assert local["spec"]["clusterQueue"] == cluster["metadata"]["name"]
    assert local["metadata"]["namespace"] == PROFILE.namespace
    assert cluster["spec"]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == PROFILE.namespace
    assert {item["apiVersion"] for item in documents("queues.yaml")} == {f"{kueue.GROUP}/{kueue.VERSION}"}


def test_the_namespaces_quota_leaves_what_the_queue_counts_to_the_queue():
    quota = next(yaml.safe_load_all((OVERLAY / "../../base/quota.yaml").read_text()))
    (patch,) = documents("kustomization.yaml")[0]["patches"]
    removed = {
        change["path"].rpartition("/spec/hard/")[2].replace("~1", "/") for change in yaml.safe_load(patch["patch"])
    }
    left = {key.removeprefix("requests.").removeprefix("limits.") for key in set(quota["spec"]["hard"]) - removed}
    (group,) = one("ClusterQueue")["spec"]["resourceGroups"]
    assert left
    assert not left & set(group["coveredResources"])


def condition(kind, status, **words):
    return {"conditions": [{"type": kind, "status": status, **words}]}


LOCAL = {"metadata": {"name": "retort"}, "spec": {"clusterQueue": "big"}, "status": condition("Active", "True")}
GROUP = {
    "coveredResources": ["cpu", "memory", "nvidia.com/gpu"],
    "flavors": [
        {
            "name": "gpu",
            "resources": [
                {"name": "cpu", "nominalQuota": "8"},
                {"name": "memory", "nominalQuota": "64Gi"},
                {"name": "nvidia.com/gpu", "nominalQuota": "2"},
            ],
        }
    ],
}


@pytest.fixture
def said(monkeypatch):
    """What the check says of a profile with these models, on a cluster with these queues."""

    def check(models=None, *, local=(LOCAL,), cluster=None, status=None):
        def listed(*_):
            if local is None:
                raise ApiException(404)
            return {"items": list(local)}

        def got(*_):
            if status:
                raise ApiException(status)
            return {"spec": cluster or {"resourceGroups": [GROUP]}}

        def get(what):
            try:
                return what()
            except ApiException:
                return None

        monkeypatch.setattr(CustomObjectsApi, "list_namespaced_custom_object", listed)
        monkeypatch.setattr(CustomObjectsApi, "get_cluster_custom_object", got)
        profile = Profile.model_validate({"models": {"gpus": 1, "memory": "32Gi"} | (models or {"queue": "retort"})})
        return kueue.queue(SimpleNamespace(api=None, profile=profile, get=get))

    return check


def test_a_queue_that_can_admit_every_stage_is_fine(said):
    assert said().found == "retort (0 admitted, 0 waiting)"
    assert said({"queue": None}).found == "none asked for"


def test_what_is_missing_or_closed_is_named(said):
    assert said(local=None).found == "no Kueue 0.15 or newer"
    assert said(local=[]).found == "no retort; there are: none"
    closed = condition("Active", "False", reason="ClusterQueueIsInactive", message="flavor gpu not found")
    assert "ClusterQueueIsInactive: flavor gpu not found" in said(local=[LOCAL | {"status": closed}]).found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": 3}, "has no flavor that is big enough, a pod of teacher_responses asks for"),
        ({"memory": "65Gi"}, "65Gi of memory"),
        ({"gpu": "amd.com/gpu"}, "cluster queue big has no amd.com/gpu"),
    ],
)
def test_a_pod_that_its_queue_could_never_admit_is_refused(said, change, words):
    check = said({"queue": "retort"} | change)
    assert check.status == "missing"
    assert words in check.found


def test_what_may_be_borrowed_or_cannot_be_read_is_not_refused(said):
    big = {"queue": "retort", "gpus": 3}
    assert said(big, cluster={"cohortName": "all", "resourceGroups": [GROUP]}).status == "OK"
    assert said(big, status=403).status == "OK"


CONTAINERS = ("init_container_statuses", "container_statuses")


def test_a_gated_pod_says_why_in_kueues_words(monkeypatch):
    waiting = {
        "metadata": {"name": "w", "ownerReferences": [{"name": "a"}]},
        "status": condition("QuotaReserved", "False", message="insufficient unused quota for nvidia.com/gpu"),
    }
    monkeypatch.setattr(CustomObjectsApi, "list_namespaced_custom_object", lambda *_: {"items": [waiting]})
    told = kueue.reasons(None, "retort")
    gate = SimpleNamespace(type="PodScheduled", status="False", reason="SchedulingGated", message="non-empty gates")
    for name, words in (("a", "insufficient unused quota for nvidia.com/gpu"), ("b", "non-empty gates")):
        pod = SimpleNamespace(
            metadata=SimpleNamespace(name=name),
            status=SimpleNamespace(**dict.fromkeys(CONTAINERS), conditions=[gate]),
        )
        assert _trouble(pod, told) == f"SchedulingGated: {words}"
