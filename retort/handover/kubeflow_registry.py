"""Kubeflow's Model Registry, over its REST interface (`/api/model_registry/v1alpha3`)."""

from __future__ import annotations

from typing import Any

from retort.errors import ConfigError
from retort.handover.rest import Rest
from retort.handover.version import Version

_PATH = "api/model_registry/v1alpha3"
CHAMPION = "retort.champion"
"""Property of a registered model with the name of the version that is its champion."""


class KubeflowRegistry:
    """See `retort.handover.registry.Registry`."""

    def __init__(self, address: str) -> None:
        """Args: address: Of the registry's REST service."""
        self._address = address.rstrip("/")
        self._rest = Rest(f"{self._address}/{_PATH}")

    def register(self, version: Version) -> str:
        """A version with its figures and lineage as properties, its model as an artifact, its metrics as others."""
        model = self._model(version.model) or self._rest.post("registered_models", {"name": version.model})
        place = f"{self._address}/model-registry/{model['id']}"
        if (known := self._version(model, version.run)) is not None:
            content = known.get("customProperties", {}).get("retort.content", {}).get("string_value")
            if content != version.content:
                raise ConfigError(
                    f"{version.model}: has a version {version.run!r} with other content ({content}). Register this run "
                    "under another --name, or rename the run."
                )
        else:
            known = self._rest.post(
                "model_versions",
                {
                    "name": version.run,
                    "registeredModelId": model["id"],
                    "description": version.description,
                    "author": version.author,
                    "state": "LIVE",
                    "customProperties": _properties(version),
                },
            )
        self._complete(known, version)
        return f"{place}/versions/{known['id']}"

    def crown(self, model: str, run: str) -> None:
        """The registered model names its champion: one place, so that there cannot be two."""
        found = self._model(model)
        if found is None or self._version(found, run) is None:
            raise ConfigError(f"{model}: has no version {run!r} in {self._address}. Register it first.")
        properties = found.get("customProperties", {}) | {CHAMPION: _text(run)}
        self._rest.patch(f"registered_models/{found['id']}", {"customProperties": properties})

    def champion(self, model: str) -> str | None:
        """As the registered model names it."""
        found = self._model(model) or {}
        crowned = found.get("customProperties", {}).get(CHAMPION, {}).get("string_value")
        return None if crowned is None else str(crowned)

    def _model(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._rest.get("registered_model", name=name)
        return found

    def _version(self, model: dict[str, Any], run: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._rest.get("model_version", name=run, parentResourceId=model["id"])
        return found

    def _complete(self, known: dict[str, Any], version: Version) -> None:
        """Artifacts that the version has not yet: an earlier attempt may have ended between two of them."""
        place = f"model_versions/{known['id']}/artifacts"
        there = {one["name"] for one in (self._rest.get(place, pageSize="100") or {}).get("items") or []}
        wanted: list[dict[str, Any]] = [
            {
                "artifactType": "model-artifact",
                "name": f"{version.model}-{version.run}",
                "uri": version.uri,
                "modelFormatName": "huggingface",
                "modelSourceKind": "retort",
                "modelSourceName": version.run,
                "state": "LIVE",
            },
            *(
                {"artifactType": "metric", "name": name, "value": float(value), "state": "LIVE"}
                for name, value in version.figures.items()
            ),
        ]
        for one in wanted:
            if one["name"] not in there:
                self._rest.post(place, one)


def _properties(version: Version) -> dict[str, dict[str, Any]]:
    texts = {name: _text(value) for name, value in version.lineage.items()}
    numbers = {
        name: {"metadataType": "MetadataDoubleValue", "double_value": float(value)}
        for name, value in version.figures.items()
    }
    return texts | numbers


def _text(value: str) -> dict[str, str]:
    return {"metadataType": "MetadataStringValue", "string_value": value}
