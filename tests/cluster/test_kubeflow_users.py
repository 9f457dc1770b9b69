"""A Kubeflow that keeps its users apart; RETORT_KFP_TOKEN is a token of account `retort-submit`."""

import pytest

from tests.cluster.runs import api, pods_of, shown
from tests.cluster.support import Retort


@pytest.fixture
def space(kubeflow):
    """The namespace of the runs."""
    if not (found := api(kubeflow).namespace):
        pytest.skip("this Kubeflow does not keep users apart: it is not in multi-user mode")
    return found


def test_a_run_needs_no_right_beyond_the_manifests_and_is_restricted(kubeflow, pods, first, space):
    assert shown(kubeflow, first)["state"] == "SUCCEEDED"
    labels = pods.json("get", "namespace", space)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    accounts = {pod["spec"]["serviceAccountName"] for group in pods_of(pods, first).values() for pod in group}
    assert accounts == {"pipeline-runner"}


def test_an_account_without_the_role_is_told_what_it_lacks(kubeflow, pods, space):
    token = pods("create", "token", "default", "--audience", "pipelines.kubeflow.org").strip()
    stranger = Retort(kubeflow.home, kubeflow.environment | {"RETORT_KFP_TOKEN": token})
    said = stranger("status", "never-was", code=69)
    assert f"system:serviceaccount:{space}:default may not list runs in {space}" in said
    assert "retort-user" in said


def test_a_token_of_another_audience_is_refused(kubeflow, pods, space):
    token = pods("create", "token", "retort-submit").strip()
    stranger = Retort(kubeflow.home, kubeflow.environment | {"RETORT_KFP_TOKEN": token})
    assert "does not know us, or the token expired" in stranger("status", "never-was", code=69)
