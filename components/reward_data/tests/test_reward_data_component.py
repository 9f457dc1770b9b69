from retort_components.reward_data.component import reward_data


def test_reward_data_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(reward_data, "reward_data-learned")
