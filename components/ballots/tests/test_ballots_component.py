from retort_components.ballots.component import ballots


def test_ballots_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(ballots, "ballots-1")
