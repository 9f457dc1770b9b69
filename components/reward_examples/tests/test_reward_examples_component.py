from retort_components.reward_examples.component import reward_examples


def test_reward_examples_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(reward_examples, "reward_examples-learned-1")
