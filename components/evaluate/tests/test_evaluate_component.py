from retort_components.evaluate.component import evaluate


def test_evaluate_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(evaluate, "evaluate-ppo-heldout")
