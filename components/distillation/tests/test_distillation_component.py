from retort_components.distillation.component import distillation

STUDENTS = {"sft": {"method": "sft", "from": "base"}, "distillation": {"method": "distillation", "from": "sft"}}


def test_distillation_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(distillation, "distillation-distillation", students=STUDENTS)
