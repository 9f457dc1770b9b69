"""Recurring runs: Kubeflow has no call to change one, so setting one makes it anew and then deletes the one before.

A schedule never catches up on what it missed and never overlaps itself. When it fires, it reads its data anew and ends
at once if a run on them has ended well before (`retort.pod.scheduled_data`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from retort_pipelines.checks.base import Cluster
from retort_pipelines.checks.run import blocking, refuse
from retort_pipelines.graph.distil import NAME, Schedule, build
from retort_pipelines.runs import submit
from retort_pipelines.runs.client import Kubeflow, kubernetes_api
from retort_pipelines.runs.refusals import ConflictError, InvalidRequestError
from retort_pipelines.runs.workflow_size import check_workflow

from retort.errors import ConfigError, RetortError
from retort.pod.kept_settings import read
from retort.pod.scheduled_data import plan_of
from retort.pod.settings import parameter_of
from retort.run import dvc_adapter, workspace
from retort.run.tasks import graph

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_TRIES = 3
"""Labels that are tried for a new version, where others set schedules at the same moment."""


@dataclass(frozen=True)
class When:
    """When a schedule fires: one of both."""

    cron: str | None = None
    """Six fields, seconds first."""
    interval_s: int | None = None

    @property
    def words(self) -> str:
        """For people. The zone of cron is Kubeflow's: no call of its API tells it."""
        return f"cron {self.cron}" if self.cron else f"every {self.interval_s} s"


def when(cron: str | None, every: str | None) -> When:
    """Read a cron expression (five or six fields; what they hold is Kubeflow's to refuse) or an interval (`90m`, `7d`).

    Raises:
        ConfigError: it is neither, or both are given.
    """
    if (cron is None) == (every is None):
        raise ConfigError("give either --cron or --every: --cron '0 3 * * 1' (Mondays at 3:00), or --every 7d.")
    if every is not None:
        found = re.fullmatch(r"(\d+)([mhdw])", every)
        if not found or int(found[1]) == 0:
            raise ConfigError(f"--every {every}: write a number and one of m, h, d, w, such as 12h or 7d.")
        return When(interval_s=int(found[1]) * _UNITS[found[2]])
    fields = str(cron).split()
    if len(fields) not in (5, 6):
        raise ConfigError(
            f"--cron {cron!r}: has {len(fields)} fields. Write minute, hour, day of month, month, day of week, "
            "with a second before them or without."
        )
    return When(cron=" ".join(fields if len(fields) == 6 else ["0", *fields]))  # Kubeflow reads the first as seconds


def upsert(
    kubeflow: Kubeflow, submission: submit.Submission, moment: When, data: Mapping[str, str], *, check: bool = True
) -> str:
    """Make a schedule, or replace the one of that name; return its id. Whatever fails, one of both stays.

    Args:
        kubeflow: Where.
        submission: What it runs; its name is the schedule's.
        moment: When.
        data: Address of the current content of source files that change, by the name that the configuration gives.
        check: Ask the cluster first whether a run could succeed there.

    Raises:
        ConfigError: the moment, the name or the data's file is wrong, or the run is too large.
        ClusterError: a run could not succeed, or Kubeflow is away or refuses.
    """
    submit.check_name(submission.name)
    workspace.check_sources(submission.config, graph(submission.config, submission.home), submission.home)
    if check:
        with kubernetes_api() as api:
            refuse(blocking(Cluster(api, submission.profile, submission.remote)))
    given = submit.prepare(submission)
    reads = read(given[parameter_of("prompts")]).task("").sources
    if unknown := sorted(set(data) - set(reads)):
        raise ConfigError(f"--data {unknown[0]}=...: stage prompts reads no such file; it reads {', '.join(reads)}.")
    schedule = Schedule(submission.name, plan_of(given), dict(data))
    version = _upload(kubeflow, submission, schedule, given)
    before = find(kubeflow, submission.name)
    made = _create(kubeflow, submission, moment, given, schedule, version)
    try:
        for old in before:
            _remove(kubeflow, old.recurring_run_id)
    except RetortError as error:
        _remove(kubeflow, made)
        raise type(error)(f"{error} Schedule {submission.name} is as it was before.") from error
    return made


def _create(
    kubeflow: Kubeflow,
    submission: submit.Submission,
    moment: When,
    given: Mapping[str, Any],
    schedule: Schedule,
    version: Any,
) -> str:
    group = submit.experiment(kubeflow)
    described = {"data": schedule.data, "remote": submission.remote, "plan": schedule.plan}
    try:
        made = kubeflow.ask(
            lambda client: client.create_recurring_run(
                group,
                submission.name,
                description=json.dumps(described),
                cron_expression=moment.cron,
                interval_second=moment.interval_s,
                max_concurrency=1,
                no_catchup=True,
                params=dict(given),
                pipeline_id=version.pipeline_id,
                version_id=version.pipeline_version_id,
                service_account=submission.profile.service_account,
            )
        )
    except InvalidRequestError as error:
        raise ConfigError(
            f"schedule {submission.name} ({moment.words}) is refused, nothing was changed: {error}"
        ) from error
    return str(made.recurring_run_id)


def _upload(kubeflow: Kubeflow, submission: submit.Submission, schedule: Schedule, given: Mapping[str, Any]) -> Any:
    """The pipeline's version for this schedule: a recurring run needs one by id."""
    from kfp import compiler

    file = submission.root / "schedule.yaml"
    compiler.Compiler().compile(
        build(submission.config, submission.profile, schedule=schedule, run=schedule.name), str(file)
    )
    check_workflow(submission.config, file, given)
    with dvc_adapter.stdout_on_stderr():
        pipeline = _pipeline(kubeflow, file)
        stem = f"{schedule.name}-{schedule.plan}"
        for attempt in range(_TRIES):
            label = f"{stem}-{_next_number(kubeflow, pipeline, stem)}"
            try:
                return kubeflow.ask(partial(_upload_version, file, label, pipeline))
            except ConflictError:  # somebody took the label just now
                if attempt == _TRIES - 1:
                    raise
    raise AssertionError("unreachable")


def _pipeline(kubeflow: Kubeflow, file: Path) -> str:
    """Id of the pipeline that all schedules share; it is made with the first."""
    # kfp's own get_pipeline_id knows no namespace: where users are kept apart it finds none of theirs.
    wanted = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": NAME}]})

    def find_it() -> str | None:
        found = kubeflow.pages("list_pipelines", "pipelines", filter=wanted, namespace=kubeflow.namespace)
        return next((str(one.pipeline_id) for one in found), None)

    if (found := find_it()) is not None:
        return found
    try:
        return str(
            kubeflow.ask(
                lambda client: client.upload_pipeline(str(file), NAME, namespace=kubeflow.namespace)
            ).pipeline_id
        )
    except ConflictError:  # somebody made it just now
        if (found := find_it()) is None:
            raise
        return found


def _next_number(kubeflow: Kubeflow, pipeline_id: str, stem: str) -> int:
    """One more than the largest number of a version's label `STEM-NUMBER`; labels are unique in a pipeline."""
    labels = (one.display_name for one in kubeflow.pages("list_pipeline_versions", "pipeline_versions", pipeline_id))
    numbers = [label.removeprefix(f"{stem}-") for label in labels if label.startswith(f"{stem}-")]
    return max((int(number) for number in numbers if number.isdigit()), default=0) + 1


def listed(kubeflow: Kubeflow) -> list[Any]:
    """All schedules of Retort."""
    experiments = kubeflow.pages("list_experiments", "experiments", namespace=kubeflow.namespace)
    mine = next((one.experiment_id for one in experiments if one.display_name == submit.EXPERIMENT), None)
    if mine is None:
        return []
    return list(kubeflow.pages("list_recurring_runs", "recurring_runs", experiment_id=mine))


def find(kubeflow: Kubeflow, name: str) -> list[Any]:
    """The schedules of that name: one, or two where setting it was broken off between making and deleting."""
    return [one for one in listed(kubeflow) if one.display_name == name]


def _remove(kubeflow: Kubeflow, recurring_run_id: str) -> None:
    """Delete a recurring run and leave a run of it that is under way alone: by default it would end with it."""
    kubeflow.ask(  # kfp's own call takes no policy
        lambda client: client._recurring_run_api.recurring_run_service_delete_recurring_run(
            recurring_run_id, propagation_policy="ORPHAN"
        )
    )


def change(kubeflow: Kubeflow, name: str, action: str) -> None:
    """`pause`, `resume` or `remove` a schedule.

    Raises:
        ConfigError: there is none of that name; names those that there are.
    """
    if not (found := find(kubeflow, name)):
        names = ", ".join(one.display_name for one in listed(kubeflow)) or "none"
        raise ConfigError(f"no schedule {name!r} at {kubeflow.host}; there are: {names}.")
    calls = {"pause": "disable_recurring_run", "resume": "enable_recurring_run"}
    for one in found:
        if action == "remove":
            _remove(kubeflow, one.recurring_run_id)
        else:
            kubeflow.ask(partial(_call, calls[action], one.recurring_run_id))


def _upload_version(file: Path, label: str, pipeline: str, client: Any) -> Any:
    return client.upload_pipeline_version(str(file), label, pipeline_id=pipeline)


def _call(name: str, run_id: str, client: Any) -> Any:
    return getattr(client, name)(run_id)
