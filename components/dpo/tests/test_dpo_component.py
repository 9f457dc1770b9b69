from retort_components.dpo.component import dpo

STUDENTS = {"sft": {"method": "sft", "from": "base"}, "dpo": {"method": "dpo", "from": "sft"}}


def test_dpo_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(dpo, "dpo-dpo", students=STUDENTS)
