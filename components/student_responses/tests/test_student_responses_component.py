from retort_components.student_responses.component import student_responses


def test_student_responses_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(student_responses, "student_responses-sft-0")
