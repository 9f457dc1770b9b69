"""`retort cancel`: exactly the runs that are meant, and no other."""

import pytest


def states(cluster):
    return {run["run_id"]: run["state"] for run in cluster.kubeflow.runs.values()}


def test_a_run_is_ended_by_its_name_and_no_other_is(cluster):
    mine, other = cluster.submitted("a"), cluster.submitted("a-2")
    out, _ = cluster.retort("cancel", "a")
    assert out == "a: cancelled\n"
    assert states(cluster) == {mine: "CANCELING", other: "PENDING"}


def test_all_that_are_under_way_are_ended_where_several_have_the_name(cluster):
    ended, first, second = (cluster.submitted("a") for _ in range(3))
    cluster.end(ended, "FAILED")
    out, _ = cluster.retort("cancel", "a")
    assert sorted(out.splitlines()) == sorted([f"a {first}: cancelled", f"a {second}: cancelled"])
    assert states(cluster) == {ended: "FAILED", first: "CANCELING", second: "CANCELING"}


def test_by_its_id_one_of_several_is_ended(cluster):
    first, second = cluster.submitted("a"), cluster.submitted("a")
    cluster.retort("cancel", first)
    assert states(cluster) == {first: "CANCELING", second: "PENDING"}


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_what_has_ended_is_left_alone_and_its_state_is_said(cluster, state):
    run = cluster.submitted()
    cluster.end(run, state)
    assert cluster.retort("cancel", "a")[0] == f"a: has ended already ({state})\n"
    assert not [line for line in cluster.kubeflow.asked if line.startswith("POST") and "terminate" in line]


def test_cancelled_twice_is_no_error(cluster):
    run = cluster.submitted()
    cluster.retort("cancel", "a")
    assert cluster.retort("cancel", "a")[0] == "a: has ended already (CANCELING)\n"
    cluster.end(run, "FAILED")
    assert cluster.retort("cancel", "a")[0] == "a: has ended already (CANCELED)\n"


def test_a_run_that_ends_at_that_moment_is_no_error(cluster):
    run = cluster.submitted()
    cluster.kubeflow.before.append(("POST .*:terminate", lambda: cluster.end(run)))
    assert cluster.retort("cancel", "a")[0] == "a: has ended already\n"


def test_a_refusal_is_said(cluster):
    cluster.submitted()
    cluster.kubeflow.refuse("POST .*:terminate", 403, "RBAC: access denied")
    _, err = cluster.retort("cancel", "a", code=69)
    assert "forbids this: RBAC: access denied" in err
    cluster.kubeflow.faults.clear()
    cluster.kubeflow.refuse("POST .*:terminate", 400, "no")
    _, err = cluster.retort("cancel", "a", code=64)
    assert "answered 400 (no)" in err


def test_an_unknown_run_is_refused(cluster):
    _, err = cluster.retort("cancel", "b", code=64)
    assert "no run 'b'" in err
    assert "the newest are: none" in err
