from retort_components.report.component import report


def test_report_runs_in_a_pod_of_its_own_and_is_not_run_twice(pod):
    pod.check(report, "report")
