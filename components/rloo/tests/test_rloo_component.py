from retort_components.rloo.component import rloo

STUDENTS = {"sft": {"method": "sft", "from": "base"}, "rloo": {"method": "rloo", "from": "sft", "reward": "vote"}}


def test_rloo_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(rloo, "rloo-rloo", students=STUDENTS, rewards={"vote": {"type": "vote"}})
