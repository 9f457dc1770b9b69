from retort_components.sft.component import sft


def test_sft_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(sft, "sft-sft")
