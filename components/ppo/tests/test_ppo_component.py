from retort_components.ppo.component import ppo


def test_ppo_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(ppo, "ppo-ppo")
