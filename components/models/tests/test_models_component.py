from retort_components.models.component import models


def test_models_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(models, "models")
