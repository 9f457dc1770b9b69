from retort_components.teacher_responses.component import teacher_responses


def test_teacher_responses_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(teacher_responses, "teacher_responses-1")
