from retort_components.sft_equal_compute.component import sft_equal_compute


def test_sft_equal_compute_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(sft_equal_compute)
