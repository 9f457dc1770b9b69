"""MLflow's registry, over its REST interface (`/api/2.0/mlflow`): a run with its metrics, and a model version."""

from __future__ import annotations

import json
import time
from typing import Any

from retort.config.base import flat
from retort.errors import ConfigError
from retort.handover.rest import Rest
from retort.handover.version import Version

CHAMPION = "champion"
"""Alias of the version that is the champion."""
EXPERIMENT = "retort"
_BATCH, _LONGEST = 100, 6000
"""What MLflow takes: parameters at once, characters of a value."""


class MLflowRegistry:
    """See `retort.handover.registry.Registry`."""

    def __init__(self, address: str) -> None:
        """Args: address: Of the tracking server, which holds the registry too."""
        self._address = address.rstrip("/")
        self._rest = Rest(f"{self._address}/api/2.0/mlflow")

    def register(self, version: Version) -> str:
        """A run of the experiment `retort`, and a version of the model that came from it."""
        if self._rest.get("registered-models/get", name=version.model) is None:
            self._rest.post("registered-models/create", {"name": version.model})
        if (known := self._version(version.model, version.run)) is not None:
            content = _tags(known).get("retort.content")
            if content != version.content:
                raise ConfigError(
                    f"{version.model}: has a version of run {version.run!r} with other content ({content}). Register "
                    "this run under another --name, or rename the run."
                )
            return self._link(version.model, known)
        run_id = self._log(version)
        made = self._rest.post(
            "model-versions/create",
            {
                "name": version.model,
                "source": version.uri,
                "run_id": run_id,
                "description": version.description,
                "tags": [{"key": key, "value": value} for key, value in version.lineage.items()],
            },
        )
        return self._link(version.model, made["model_version"])

    def crown(self, model: str, run: str) -> None:
        """The alias `champion` is that of one version."""
        if (known := self._version(model, run)) is None:
            raise ConfigError(f"{model}: has no version of run {run!r} in {self._address}. Register it first.")
        self._rest.post("registered-models/alias", {"name": model, "alias": CHAMPION, "version": known["version"]})

    def champion(self, model: str) -> str | None:
        """The run of the version with the alias."""
        try:
            found = self._rest.get("registered-models/alias", name=model, alias=CHAMPION)
        except ConfigError:  # a model without the alias is an invalid request to MLflow
            return None
        return _tags(found["model_version"]).get("retort.run") if found else None

    def _version(self, model: str, run: str) -> dict[str, Any] | None:
        token: dict[str, str] = {}
        while True:
            found = (
                self._rest.get("model-versions/search", filter=f"name = '{model}'", max_results="100", **token) or {}
            )
            for one in found.get("model_versions") or []:
                if _tags(one).get("retort.run") == run:
                    return dict(one)
            if not found.get("next_page_token"):
                return None
            token = {"page_token": found["next_page_token"]}

    def _log(self, version: Version) -> str:
        known = self._rest.get("experiments/get-by-name", experiment_name=EXPERIMENT)
        experiment = (
            known["experiment"]["experiment_id"]
            if known
            else self._rest.post("experiments/create", {"name": EXPERIMENT})["experiment_id"]
        )
        now = int(time.time() * 1000)
        tags = [{"key": key, "value": value} for key, value in version.lineage.items()]
        made = self._rest.post(
            "runs/create", {"experiment_id": experiment, "run_name": version.run, "start_time": now, "tags": tags}
        )
        run_id = str(made["run"]["info"]["run_id"])
        params = [{"key": key, "value": _value(value)} for key, value in flat(version.params).items()]
        for start in range(0, len(params), _BATCH):
            self._rest.post("runs/log-batch", {"run_id": run_id, "params": params[start : start + _BATCH]})
        metrics = [
            {"key": key, "value": float(value), "timestamp": now, "step": 0} for key, value in version.figures.items()
        ]
        self._rest.post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
        self._rest.post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": now})
        return run_id

    def _link(self, model: str, version: dict[str, Any]) -> str:
        return f"{self._address}/#/models/{model}/versions/{version['version']}"


def _tags(version: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in version.get("tags") or []}


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
