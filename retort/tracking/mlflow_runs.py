"""MLflow: a run for each run of Retort, and inside it a run for each of its tasks."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

from retort.config.tracker import MLflowConfig
from retort.tracking.protocol import Made, Outcome, RefusedError, Row, Subject

_F = TypeVar("_F", bound=Callable[..., None])
_PARAMS, _METRICS, _LONGEST = 100, 1000, 6000
"""What one request takes: parameters, metrics, characters of a value."""
_STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_REFUSALS = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "NOT_IMPLEMENTED",
)
_FORBIDDEN = re.compile(r"[^\w.\-/ ]")


def _refusals_named(call: _F) -> _F:
    """What a server will never take is told apart from one that is away."""

    @wraps(call)
    def told(*arguments: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            call(*arguments)
        except MlflowException as error:
            if error.error_code in _REFUSALS:
                raise RefusedError(str(error)) from error
            raise

    return told  # type: ignore[return-value]


class MLflowRuns:
    """See `retort.tracking.protocol.Tracker`."""

    def __init__(self, config: MLflowConfig):
        # Its own patience would outlast the stage: seven attempts of two minutes each.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # how it makes its tables is not news of a stage
            logging.getLogger(name).setLevel(logging.ERROR)
        self._config = config
        self._client: Any = MlflowClient(config.address)
        self._experiment = self._parent = self._run = ""
        self._subject: Subject | None = None

    @_refusals_named
    def begin(self, subject: Subject) -> None:
        """Find or make the experiment, the run and the task's run in it."""
        self._subject = subject
        self._experiment = self._find_experiment()
        named = {"retort.run": subject.run}
        self._parent = self._one("retort.group", subject.group, subject.run, named)
        inside = {**named, **subject.tags, "mlflow.parentRunId": self._parent, "retort.task": subject.task}
        self._run = self._one("retort.key", subject.key, subject.task, inside)
        for run in (self._parent, self._run):
            self._client.update_run(run, status="RUNNING")
        from mlflow.entities import Param

        params = [Param(_name(key), str(value)[:_LONGEST]) for key, value in subject.parameters.items()]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self._run, params=params[start : start + _PARAMS])

    @_refusals_named
    def rows(self, rows: Sequence[Row]) -> None:
        """Rows as metrics of the task's run."""
        for row in rows:
            self._log(self._run, row.figures, step=row.step, moment=row.time)

    @_refusals_named
    def end(self, outcome: Outcome) -> None:
        """Metrics under `result/`, models as models of that run; the run itself ends with the report."""
        figures = {f"result/{name}": value for name, value in outcome.figures.items()}
        self._log(self._run, figures)
        for made in outcome.made:
            self._keep(made)
        state = _STATES[outcome.state]
        self._client.set_terminated(self._run, state)
        if outcome.summary:
            self._log(self._parent, outcome.summary)
            self._client.set_terminated(self._parent, state)
        elif outcome.state != "finished":
            self._client.set_terminated(self._parent, state)

    def _keep(self, made: Made) -> None:
        """A model by its hash and address: MLflow's own store gets no second copy of the weights."""
        assert self._subject is not None, "begin comes first"
        for key, value in {"address": made.address, "md5": made.digest}.items():
            self._client.set_tag(self._run, f"retort.{made.name}.{key}", value)
        if not hasattr(self._client, "create_logged_model"):  # MLflow 2
            return
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        model = self._client.create_logged_model(
            self._experiment,
            name=_model_name(f"{self._subject.run}-{made.name}"),
            source_run_id=self._run,
            tags={"address": made.address, "md5": made.digest, "retort.task": self._subject.task},
            model_type="retort",
        )
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(self._run, [LoggedModelOutput(model.model_id, step=0)])

    def _log(self, run: str, figures: Mapping[str, float], *, step: int = 0, moment: float | None = None) -> None:
        from mlflow.entities import Metric

        now = int((moment or time.time()) * 1000)
        metrics = [Metric(_name(name), value, now, step) for name, value in figures.items()]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(run, metrics=metrics[start : start + _METRICS])

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self._config.experiment
        if (found := self._client.get_experiment_by_name(name)) is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another task made it just now
                if (found := self._client.get_experiment_by_name(name)) is None:
                    raise
        return str(found.experiment_id)

    def _one(self, tag: str, value: str, shown: str, tags: Mapping[str, str]) -> str:
        """The run with this tag: tasks side by side all want the first, so all but the first one made are deleted."""
        if not (found := self._tagged(tag, value)):
            mine = self._client.create_run(self._experiment, run_name=shown, tags={**tags, tag: value}).info.run_id
            found = self._tagged(tag, value)
            if found and mine != found[0]:
                self._client.delete_run(mine)
            return found[0] if found else str(mine)
        return found[0]

    def _tagged(self, tag: str, value: str) -> list[str]:
        found = self._client.search_runs([self._experiment], f"tags.`{tag}` = '{value}'")
        return [str(one.info.run_id) for one in sorted(found, key=lambda one: (one.info.start_time, one.info.run_id))]


def _name(name: str) -> str:
    return _FORBIDDEN.sub("_", name)


def _model_name(name: str) -> str:
    return re.sub(r"[/:.%\"']", "-", name)
