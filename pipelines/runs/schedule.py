"""Recurring runs: Kubeflow has no call to change one, so setting one finds it by name, deletes it and makes it anew.

A schedule never catches up on what it missed and never overlaps itself. When it fires, it reads its data anew and ends
at once if a run on them has ended well before (`retort.pod.scheduled_data`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retort_pipelines.checks.run import Cluster, blocking, refuse
from retort_pipelines.graph.distil import NAME, Schedule, build
from retort_pipelines.runs import submit
from retort_pipelines.runs.client import Kubeflow, explained, kubernetes_api

from retort.errors import ConfigError
from retort.pod.scheduled_data import plan_of
from retort.run import dvc_adapter, workspace

TIMEZONE = "UTC"
"""Of cron expressions, unless the installation's CRON_SCHEDULE_TIMEZONE says otherwise."""

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = (*_DAYS, "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True)
class When:
    """When a schedule fires: one of both."""

    cron: str | None = None
    """Six fields, seconds first."""
    interval_s: int | None = None

    @property
    def words(self) -> str:
        """For people."""
        return f"cron {self.cron} {TIMEZONE}" if self.cron else f"every {self.interval_s} s"


def when(cron: str | None, every: str | None) -> When:
    """Read a cron expression (five or six fields) or an interval (`90m`, `7d`).

    Raises:
        ConfigError: it is neither, or both are given.
    """
    if (cron is None) == (every is None):
        raise ConfigError("give either --cron or --every: --cron '0 3 * * 1' (Mondays at 3:00 UTC), or --every 7d.")
    if every is not None:
        found = re.fullmatch(r"(\d+)([mhdw])", every)
        if not found or int(found[1]) == 0:
            raise ConfigError(f"--every {every}: write a number and one of m, h, d, w, such as 12h or 7d.")
        return When(interval_s=int(found[1]) * _UNITS[found[2]])
    return When(cron=_six_fields(str(cron)))


def _six_fields(cron: str) -> str:
    fields = cron.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ConfigError(
            f"--cron {cron!r}: has {len(fields)} fields. Write minute, hour, day of month, month, day of week, "
            "with a second before them or without."
        )
    for name, field, (low, high) in zip(_FIELDS, fields, _RANGES, strict=True):
        for part in field.split(","):
            if not _fits(part, low, high):
                raise ConfigError(f"--cron {cron!r}: {part!r} is no {name} ({low} to {high}, *, lists, ranges, steps).")
    return " ".join(fields)


def _fits(part: str, low: int, high: int) -> bool:
    found = re.fullmatch(r"(?:\*|\?|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part)
    values = [value for value in found.group(1, 2) if value] if found else [""]
    return all(low <= int(value) <= high if value.isdigit() else value.upper() in _NAMES for value in values)


def upsert(
    kubeflow: Kubeflow, submission: submit.Submission, moment: When, data: Mapping[str, str], *, check: bool = True
) -> str:
    """Make a schedule, or replace the one of that name; return its id.

    Args:
        kubeflow: Where.
        submission: What it runs; its name is the schedule's.
        moment: When.
        data: Address of the current content of source files that change, by the name that the configuration gives.
        check: Ask the cluster first whether a run could succeed there.
    """
    submit.check_name(submission.name)
    workspace.check_sources(submission.config, submission.home)
    if check:
        with kubernetes_api() as api:
            refuse(blocking(Cluster(api, submission.profile, submission.remote)))
    given = submit.prepare(submission)
    reads = json.loads(given["prompts_settings"])["reads"]
    if unknown := sorted(set(data) - set(reads)):
        raise ConfigError(f"--data {unknown[0]}=...: stage prompts reads no such file; it reads {', '.join(reads)}.")
    schedule = Schedule(submission.name, plan_of(given), dict(data))
    version = _upload(kubeflow, submission, schedule)
    old = find(kubeflow, submission.name)
    with explained(kubeflow.host), dvc_adapter.stdout_on_stderr():
        experiment = kubeflow.client.create_experiment(submit.EXPERIMENT, namespace=kubeflow.namespace)
        if old is not None:
            _remove(kubeflow, old.recurring_run_id)
        made = kubeflow.client.create_recurring_run(
            experiment.experiment_id,
            submission.name,
            description=json.dumps({"data": dict(data), "remote": submission.remote, "plan": schedule.plan}),
            cron_expression=moment.cron,
            interval_second=moment.interval_s,
            max_concurrency=1,
            no_catchup=True,
            params=given,
            pipeline_id=version.pipeline_id,
            version_id=version.pipeline_version_id,
            service_account=submission.profile.service_account,
        )
    return str(made.recurring_run_id)


def _upload(kubeflow: Kubeflow, submission: submit.Submission, schedule: Schedule) -> Any:
    """The pipeline's version for this schedule: a recurring run needs one by id."""
    from kfp import compiler

    file = submission.root / "schedule.yaml"
    compiler.Compiler().compile(build(submission.config, submission.profile, schedule=schedule), str(file))
    with explained(kubeflow.host), dvc_adapter.stdout_on_stderr():
        # kfp's own get_pipeline_id knows no namespace: where users are kept apart it finds none of theirs.
        named = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": NAME}]})
        found = kubeflow.client.list_pipelines(filter=named, namespace=kubeflow.namespace).pipelines
        if found:
            pipeline_id = found[0].pipeline_id
        else:
            pipeline_id = kubeflow.client.upload_pipeline(str(file), NAME, namespace=kubeflow.namespace).pipeline_id
        number = len(_versions(kubeflow, pipeline_id)) + 1
        label = f"{schedule.name}-{schedule.plan}-{number}"
        return kubeflow.client.upload_pipeline_version(str(file), label, pipeline_id=pipeline_id)


def _versions(kubeflow: Kubeflow, pipeline_id: str) -> list[Any]:
    return list(kubeflow.client.list_pipeline_versions(pipeline_id, page_size=100).pipeline_versions or [])


def listed(kubeflow: Kubeflow) -> list[Any]:
    """All schedules of Retort."""
    with explained(kubeflow.host):
        experiments = kubeflow.client.list_experiments(page_size=100, namespace=kubeflow.namespace).experiments or []
        ids = [one.experiment_id for one in experiments if one.display_name == submit.EXPERIMENT]
        found = kubeflow.client.list_recurring_runs(page_size=100, experiment_id=ids[0]) if ids else None
    return list(found.recurring_runs or []) if found else []


def find(kubeflow: Kubeflow, name: str) -> Any:
    """The schedule of that name, or None."""
    return next((one for one in listed(kubeflow) if one.display_name == name), None)


def _remove(kubeflow: Kubeflow, recurring_run_id: str) -> None:
    """Delete a recurring run and leave a run of it that is under way alone: by default it would end with it."""
    api = kubeflow.client._recurring_run_api  # kfp's own call takes no policy
    api.recurring_run_service_delete_recurring_run(recurring_run_id, propagation_policy="ORPHAN")


def change(kubeflow: Kubeflow, name: str, action: str) -> None:
    """`pause`, `resume` or `remove` a schedule.

    Raises:
        ConfigError: there is none of that name; names those that there are.
    """
    if (found := find(kubeflow, name)) is None:
        names = ", ".join(one.display_name for one in listed(kubeflow)) or "none"
        raise ConfigError(f"no schedule {name!r} at {kubeflow.host}; there are: {names}.")
    calls = {
        "pause": kubeflow.client.disable_recurring_run,
        "resume": kubeflow.client.enable_recurring_run,
        "remove": lambda run_id: _remove(kubeflow, run_id),
    }
    with explained(kubeflow.host):
        calls[action](found.recurring_run_id)
