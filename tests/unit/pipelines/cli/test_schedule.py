"""`retort schedule`: none is lost, none is there twice, whatever fails in between."""

import json

import pytest

import retort.cli.check
from retort.cli.check import before_submit

SET = ("schedule", "set", "weekly", "--config", "toy.yaml")
CRON = (*SET, "--cron", "0 3 * * 1")


def schedules(cluster):
    return [(one["display_name"], one["trigger"], one["status"]) for one in cluster.kubeflow.recurring.values()]


def test_a_schedule_is_set_with_its_moment_and_never_overlaps_itself(cluster):
    out, err = cluster.retort(*CRON)
    assert out == "weekly: cron 0 0 3 * * 1\n"
    assert "CRON_SCHEDULE_TIMEZONE" in err  # which zone it is, Kubeflow does not tell
    (one,) = cluster.kubeflow.recurring.values()
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (one["max_concurrency"], one["no_catchup"], one["status"]) == (1, True, "ENABLED")
    assert json.loads(one["description"])["remote"] == "s3://bucket/store"


def test_schedules_are_listed_paused_resumed_and_removed(cluster):
    cluster.retort(*SET, "--every", "7d")
    assert cluster.retort("schedule", "list")[0].split() == ["weekly", "ENABLED", "every", "604800", "s"]
    cluster.retort("schedule", "pause", "weekly")
    assert cluster.json("schedule", "list") == [{"name": "weekly", "when": "every 604800 s", "status": "DISABLED"}]
    cluster.retort("schedule", "resume", "weekly")
    assert cluster.json("schedule", "list")[0]["status"] == "ENABLED"
    cluster.retort("schedule", "remove", "weekly")
    assert cluster.json("schedule", "list") == []
    assert cluster.kubeflow.deleted == [("weekly", "ORPHAN")]  # a run of it that is under way goes on


def test_what_would_stop_every_run_of_a_schedule_is_said_before_it_is_set(cluster, monkeypatch):
    monkeypatch.setattr(retort.cli.check, "before_submit", before_submit)
    _, err = cluster.retort(*CRON, code=64)
    assert "error    toy.yaml: prompts: " in err  # one prompt, for training, validation and test
    assert "nothing was started. Mend it, or give --no-check" in err
    assert cluster.kubeflow.recurring == {}
    cluster.retort(*CRON, "--no-check")
    assert len(cluster.kubeflow.recurring) == 1


def test_nothing_is_listed_before_the_first(cluster):
    assert cluster.json("schedule", "list") == []
    _, err = cluster.retort("schedule", "pause", "weekly", code=64)
    assert "no schedule 'weekly'" in err
    assert "there are: none" in err


def test_setting_one_again_replaces_it_and_the_new_one_is_there_before_the_old_one_goes(cluster):
    cluster.retort(*CRON)
    cluster.retort(*SET, "--cron", "0 3 * * 2")
    assert [trigger["cron_schedule"]["cron"] for _, trigger, _ in schedules(cluster)] == ["0 0 3 * * 2"]
    changes = [line for line in cluster.kubeflow.asked if "recurringruns" in line and not line.startswith("GET")]
    assert [line.split()[0] for line in changes] == ["POST", "POST", "DELETE"]


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_where_the_new_one_is_refused_the_old_one_stays(cluster, status):
    cluster.retort(*CRON)
    before = schedules(cluster)
    cluster.kubeflow.refuse("POST .*/recurringruns$", status, "no")
    cluster.retort(*SET, "--cron", "0 3 * * 2", code=64 if status == 400 else 69)
    assert schedules(cluster) == before


def test_where_the_old_one_cannot_be_removed_it_stays_alone(cluster):
    cluster.retort(*CRON)
    before = schedules(cluster)
    cluster.kubeflow.refuse("DELETE", 500, "database is locked", times=1)
    _, err = cluster.retort(*SET, "--cron", "0 3 * * 2", code=69)
    assert "database is locked" in err
    assert "Schedule weekly is as it was before." in err
    assert schedules(cluster) == before


def test_a_moment_that_kubeflow_refuses_is_said_in_its_words_and_the_old_one_stays(cluster):
    cluster.retort(*CRON)
    before = schedules(cluster)
    _, err = cluster.retort(*SET, "--cron", "61 * * * *", code=64)
    assert "schedule weekly (cron 0 61 * * * *) is refused, nothing was changed" in err
    assert "End of range (61) above maximum (59)" in err
    assert schedules(cluster) == before


def test_two_of_one_name_left_by_an_interruption_are_both_replaced(cluster):
    cluster.retort(*CRON)
    (one,) = cluster.kubeflow.recurring.values()
    cluster.kubeflow.recurring["twin"] = one | {"recurring_run_id": "twin"}
    cluster.retort("schedule", "pause", "weekly")
    assert {status for *_, status in schedules(cluster)} == {"DISABLED"}
    cluster.retort(*CRON)
    assert len(schedules(cluster)) == 1


def test_more_schedules_versions_and_experiments_than_a_page_holds(cluster):
    cluster.retort(*CRON)
    label = next(one["display_name"] for one in cluster.kubeflow.versions.values() if "weekly" in one["display_name"])
    assert label.endswith("-1")
    version = next(iter(cluster.kubeflow.versions.values()))
    stem = label.rpartition("-")[0]
    for number in range(2, 251):
        name = f"{stem}-{number}"
        cluster.kubeflow.versions[name] = version | {"display_name": name, "pipeline_version_id": name}
    (one,) = cluster.kubeflow.recurring.values()
    (group,) = cluster.kubeflow.experiments.values()
    for number in range(250):
        name, early = f"other-{number}", f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
        cluster.kubeflow.recurring[name] = one | {"display_name": name, "recurring_run_id": name, "created_at": early}
        cluster.kubeflow.experiments[name] = group | {"display_name": name, "experiment_id": name, "created_at": early}
    assert len(cluster.json("schedule", "list")) == 251
    cluster.retort(*CRON)  # finds the 251st to replace it
    assert len(cluster.json("schedule", "list")) == 251
    assert f"{stem}-251" in {one["display_name"] for one in cluster.kubeflow.versions.values()}


def test_a_versions_label_that_somebody_takes_at_the_same_moment_is_passed_over(cluster):
    cluster.retort(*CRON)
    version = next(one for one in cluster.kubeflow.versions.values() if "weekly" in one["display_name"])
    stem = version["display_name"].rpartition("-")[0]

    def taken():
        cluster.kubeflow.versions["x"] = version | {"display_name": f"{stem}-2", "pipeline_version_id": "x"}

    cluster.kubeflow.before.append(("POST .*upload_version", taken))
    cluster.retort(*CRON)
    assert f"{stem}-3" in {one["display_name"] for one in cluster.kubeflow.versions.values()}


def test_the_pipeline_that_somebody_makes_at_the_same_moment_is_used(cluster):
    made = {"pipeline_id": "p", "display_name": "retort-distil", "created_at": "2026-01-01T00:00:00Z"}
    cluster.kubeflow.before.append(("POST .*/upload$", lambda: cluster.kubeflow.pipelines.update(p=made)))
    cluster.retort(*CRON)
    assert list(cluster.kubeflow.pipelines) == ["p"]


def test_data_is_named_by_the_files_that_the_run_reads(cluster):
    address = "s3://exports/prompts.jsonl"
    cluster.retort(*CRON, "--data", f"data/prompts.jsonl={address}")
    (one,) = cluster.kubeflow.recurring.values()
    assert json.loads(one["description"])["data"] == {"data/prompts.jsonl": address}
    _, err = cluster.retort(*CRON, "--data", f"data/other.jsonl={address}", code=64)
    assert "stage prompts reads no such file; it reads data/prompts.jsonl" in err
    _, err = cluster.retort(*CRON, "--data", "data/prompts.jsonl", code=64)
    assert "write FILE=ADDRESS" in err


def test_a_schedule_whose_runs_could_not_succeed_is_refused(cluster):
    cluster.s3.access_key = "another"
    _, err = cluster.retort(*CRON, code=69)
    assert "Correct secret retort-store" in err
    assert schedules(cluster) == []


def test_in_multi_user_mode_a_schedule_can_be_set_again(stand_in):
    cluster = stand_in(multi_user=True)
    cluster.retort(*CRON)
    cluster.retort(*CRON)
    assert len(schedules(cluster)) == 1
