from retort_components.best_of.component import best_of

STUDENTS = {"sft": {"method": "sft", "from": "base"}, "best_of": {"method": "best_of", "from": "sft", "reward": "vote"}}


def test_best_of_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(best_of, "best_of-best_of", students=STUDENTS, rewards={"vote": {"type": "vote"}})
