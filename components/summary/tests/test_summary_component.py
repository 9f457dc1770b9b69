import json
from pathlib import Path

from kfp import dsl
from retort_components.summary.component import summary

from retort.errors import RETRY
from retort.pod.run_records import Failure, Records


def written(tmp_path, state):
    status = dsl.PipelineTaskFinalStatus(
        state=state, pipeline_job_resource_name="run-7", pipeline_task_name="stages", error_code=None, error_message=""
    )
    page = dsl.Markdown(uri=str(tmp_path / "page.md"))
    page.path = str(tmp_path / "page.md")
    summary.python_func(settings=json.dumps({"remote": str(tmp_path / "store")}), status=status, summary_page=page)
    return Path(page.path).read_text()


def test_a_failed_run_names_stage_pod_last_lines_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "run-7")
    records = Records.of(str(tmp_path / "store"), "run-7")
    records.keep_failure(
        Failure("sft", "pod-1", 65, "votes.parquet: no label. Loosen votes.min_share.", ["step 1", "step 2"])
    )
    records.keep_failure(Failure("ppo", "pod-2", RETRY, "was told to stop.", []))
    text = written(tmp_path, "FAILED")
    for part in (
        "# Run failed",
        "## sft",
        "`pod-1`, exit code 65: another attempt will fail",
        "Loosen votes.min_share",
        "step 1\nstep 2",
    ):
        assert part in text
    assert "exit code 75: another attempt may help" in text


def test_a_run_that_failed_without_a_word_says_where_to_look(tmp_path, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "run-8")
    assert "retort status RUN" in written(tmp_path, "FAILED")
    assert "retort status" not in written(tmp_path, "SUCCEEDED")
