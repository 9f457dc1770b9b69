from retort_components.votes.component import votes


def test_votes_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(votes, "votes")
