from retort_components.prompts.component import prompts


def test_prompts_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(prompts, "prompts")
