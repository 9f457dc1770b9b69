"""What Kubeflow's refusals are made into."""

import json

import kfp_server_api
import pytest
from retort_pipelines.runs.refusals import explained

from retort.errors import ClusterError

# As Kubeflow Pipelines 2.17 says it in multi-user mode.
FORBIDDEN = (
    "Failed to list runs: Failed to list runs due to authorization error. Check if you have permission to access "
    "namespace retort: Failed to access run . Check if you have access to namespace retort: PermissionDenied: User "
    "'system:serviceaccount:retort:default' is not authorized with reason:  (request: &ResourceAttributes{"
    "Namespace:retort,Verb:list,Group:pipelines.kubeflow.org,Version:v1beta1,Resource:runs,Subresource:,Name:,FieldSelector:nil,"
    "LabelSelector:nil,}): Unauthorized access"
)


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (403, FORBIDDEN, "system:serviceaccount:retort:default may not list runs in retort. Have role retort-user"),
        (403, "RBAC: access denied", "forbids this: RBAC: access denied. Have role retort-user"),
        (401, "Unauthenticated", "does not know us, or the token expired. Put a fresh one into RETORT_KFP_TOKEN"),
        (409, "Conflict", "answered 409 (Conflict)."),
    ],
)
def test_a_refusal_names_who_may_not_do_what_and_the_remedy(status, message, said):
    error = kfp_server_api.ApiException(status=status, reason="No")
    error.body = json.dumps({"error": message})
    with pytest.raises(ClusterError) as refused, explained("http://kfp"):
        raise error
    assert str(refused.value).startswith(f"http://kfp: {said}")
