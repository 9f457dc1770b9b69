from retort_components.reward.component import reward


def test_reward_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(reward, "reward-learned")
