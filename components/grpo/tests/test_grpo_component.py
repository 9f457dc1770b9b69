from retort_components.grpo.component import grpo

STUDENTS = {"sft": {"method": "sft", "from": "base"}, "grpo": {"method": "grpo", "from": "sft", "reward": "vote"}}


def test_grpo_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(grpo, "grpo-grpo", students=STUDENTS, rewards={"vote": {"type": "vote"}})
