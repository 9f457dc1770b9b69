from retort_components.rejection.component import rejection

STUDENTS = {
    "sft": {"method": "sft", "from": "base"},
    "rejection": {"method": "rejection", "from": "sft", "reward": "vote"},
}


def test_rejection_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(rejection, "rejection-rejection", students=STUDENTS, rewards={"vote": {"type": "vote"}})
