"""The manifests on a real API server: applied, restricted, and no right more than is said."""

import json

import pytest

from tests.cluster.support import CHECKOUT, NAMESPACE


def pod(**container):
    secure = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    main = {"name": "main", "image": "x:1", "securityContext": secure | container}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {"containers": [main]}}
    )


def test_the_namespace_admits_a_restricted_pod_and_no_root(kubectl):
    kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", given=pod())
    for change in ({"runAsNonRoot": False}, {"privileged": True}, {"allowPrivilegeEscalation": True}):
        said = kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", given=pod(**change), check=False)
        assert 'violates PodSecurity "restricted' in said or "cannot set `allowPrivilegeEscalation`" in said


def test_applying_again_changes_nothing(kubectl):
    again = kubectl("apply", "--server-side", "-k", str(CHECKOUT / "k8s/overlays/generic"))
    assert "serverside-applied" in again
    assert kubectl("diff", "--server-side", "-k", str(CHECKOUT / "k8s/overlays/generic")) == ""


def may(kubectl, account, verb, resource):
    """What the API server's authorizer says; `resource` is RESOURCE[/SUBRESOURCE][.GROUP][:NAME]."""
    kind, _, name = resource.partition(":")
    kind, _, group = kind.partition(".")
    kind, _, subresource = kind.partition("/")
    asked = {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": kind, "name": name}
    asked |= {"subresource": subresource}
    who = f"system:serviceaccount:{NAMESPACE}:{account}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": who,
            "resourceAttributes": {key: value for key, value in asked.items() if value},
        },
    }
    return json.loads(kubectl("create", "-f", "-", "-o", "json", given=json.dumps(review)))["status"]["allowed"]


USED = [
    ("retort-submit", "list", "pods"),
    ("retort-submit", "get", "pods/log"),
    ("retort-submit", "get", "secrets:retort-store"),
    ("retort-submit", "get", "serviceaccounts:pipeline-runner"),
    ("retort-submit", "get", "configmaps:kfp-launcher"),
    ("retort-submit", "list", "resourcequotas"),
    ("retort-submit", "get", f"namespaces:{NAMESPACE}"),
    ("retort-submit", "list", "nodes"),
    *(("retort-submit", verb, "runs.pipelines.kubeflow.org") for verb in ("create", "get", "list", "terminate")),
    *(("retort-submit", verb, "experiments.pipelines.kubeflow.org") for verb in ("create", "get", "list")),
    *(
        ("retort-submit", verb, "jobs.pipelines.kubeflow.org")
        for verb in ("create", "list", "enable", "disable", "delete")
    ),
    *(("retort-submit", verb, "pipelines.pipelines.kubeflow.org") for verb in ("create", "get", "list")),
    *(("retort-submit", verb, "pipelineversions.pipelines.kubeflow.org") for verb in ("create", "get", "list")),
    ("pipeline-runner", "create", "workflowtaskresults.argoproj.io"),
    ("pipeline-runner", "patch", "workflowtaskresults.argoproj.io"),
    ("pipeline-runner", "get", "configmaps:kfp-launcher"),
    ("pipeline-runner", "get", "secrets:mlpipeline-minio-artifact"),
    ("pipeline-runner", "get", "pods"),
]
REFUSED = [
    ("retort-submit", "get", "secrets:another"),
    ("retort-submit", "list", "secrets"),
    ("retort-submit", "create", "pods"),
    ("retort-submit", "delete", "pods"),
    ("retort-submit", "create", "pods/exec"),
    ("retort-submit", "delete", "nodes"),
    ("retort-submit", "delete", "runs.pipelines.kubeflow.org"),
    ("retort-submit", "delete", "pipelines.pipelines.kubeflow.org"),
    ("pipeline-runner", "create", "runs.pipelines.kubeflow.org"),
    ("pipeline-runner", "get", "secrets:retort-store"),
    ("pipeline-runner", "list", "secrets"),
    ("pipeline-runner", "create", "pods"),
    ("pipeline-runner", "delete", "pods"),
    ("pipeline-runner", "list", "nodes"),
    ("pipeline-runner", "create", "rolebindings.rbac.authorization.k8s.io"),
]


@pytest.mark.parametrize(("account", "verb", "resource"), USED)
def test_what_is_used_is_allowed(kubectl, account, verb, resource):
    assert may(kubectl, account, verb, resource)


@pytest.mark.parametrize(("account", "verb", "resource"), REFUSED)
def test_everything_else_is_refused(kubectl, account, verb, resource):
    assert not may(kubectl, account, verb, resource)
