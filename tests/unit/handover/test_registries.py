"""`retort register` and the champion in Kubeflow's and MLflow's registries, against stand-ins of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from typer.testing import CliRunner

from retort.cli.app import app
from retort.errors import ConfigError, StorageError
from retort.handover.registry import registry, version_of
from retort.handover.rest import TOKEN
from retort.handover.student import Student
from tests.kubeflow_server.http import Answer, Refused, Request, StandIn

Run = Callable[..., Student]
V = "/api/model_registry/v1alpha3"
M = "/api/2.0/mlflow"


class ModelRegistry(StandIn):
    """What of Kubeflow's Model Registry is asked; names are unique as there, and bodies have the fields it takes."""

    routes = (
        ("GET", f"{V}/registered_model", "find"),
        ("POST", f"{V}/registered_models", "make"),
        ("PATCH", rf"{V}/registered_models/(\d+)", "change"),
        ("GET", f"{V}/model_version", "find_version"),
        ("POST", f"{V}/model_versions", "make_version"),
        ("GET", rf"{V}/model_versions/(\d+)/artifacts", "artifacts"),
        ("POST", rf"{V}/model_versions/(\d+)/artifacts", "add"),
    )

    def __init__(self) -> None:
        self.numbers = count(1)
        self.models: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.files: dict[str, list[dict[str, Any]]] = {}
        super().__init__()

    def _made(self, known: list[dict[str, Any]], body: dict[str, Any], fields: set[str]) -> Answer:
        if unknown := set(body) - fields:
            raise Refused(400, f"unknown fields {unknown}")
        for value in body.get("customProperties", {}).values():
            kind = value["metadataType"].removeprefix("Metadata").removesuffix("Value").lower()
            if set(value) != {"metadataType", f"{kind}_value"}:
                raise Refused(400, f"not a metadata value: {value}")
        known.append(body | {"id": str(next(self.numbers))})
        return Answer(201, known[-1])

    def _one(self, known: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
        found = [one for one in known if all(one.get(key) == value for key, value in wanted.items())]
        if not found:
            raise Refused(404, "no such thing")
        return found[0]

    def find(self, request: Request) -> object:
        return self._one(self.models, name=request.query["name"])

    def make(self, request: Request) -> object:
        return self._made(self.models, request.json(), {"name", "customProperties", "description"})

    def change(self, request: Request, number: str) -> object:
        found = self._one(self.models, id=number)
        found.update(request.json())
        return found

    def find_version(self, request: Request) -> object:
        return self._one(self.versions, name=request.query["name"], registeredModelId=request.query["parentResourceId"])

    def make_version(self, request: Request) -> object:
        fields = {"name", "registeredModelId", "description", "author", "state", "customProperties"}
        return self._made(self.versions, request.json(), fields)

    def artifacts(self, _request: Request, number: str) -> object:
        return {"items": self.files.get(number, []), "size": 0, "pageSize": 100, "nextPageToken": ""}

    def add(self, request: Request, number: str) -> object:
        shared = {"artifactType", "name", "state"}
        own = {
            "model-artifact": {"uri", "modelFormatName", "modelSourceKind", "modelSourceName"},
            "metric": {"value"},
        }[request.json()["artifactType"]]
        return self._made(self.files.setdefault(number, []), request.json(), shared | own)


class MLflow(StandIn):
    """What of MLflow's tracking server is asked, with its ways of saying no."""

    routes = (
        ("GET", f"{M}/registered-models/get", "get_model"),
        ("POST", f"{M}/registered-models/create", "make_model"),
        ("GET", f"{M}/registered-models/alias", "get_alias"),
        ("POST", f"{M}/registered-models/alias", "set_alias"),
        ("GET", f"{M}/model-versions/search", "search"),
        ("POST", f"{M}/model-versions/create", "make_version"),
        ("GET", f"{M}/experiments/get-by-name", "experiment"),
        ("POST", f"{M}/experiments/create", "make_experiment"),
        ("POST", f"{M}/runs/create", "make_run"),
        ("POST", f"{M}/runs/log-batch", "log"),
        ("POST", f"{M}/runs/update", "end"),
    )

    def __init__(self) -> None:
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        self.experiments: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        super().__init__()

    def get_model(self, request: Request) -> object:
        if request.query["name"] not in self.models:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST")
        return {"registered_model": {"name": request.query["name"]}}

    def make_model(self, request: Request) -> object:
        self.models[request.json()["name"]] = []
        return {}

    def get_alias(self, request: Request) -> object:
        name, alias = request.query["name"], request.query["alias"]
        if (name, alias) not in self.aliases:
            raise Refused(400, f"Registered model alias {alias} not found.")
        return {"model_version": self.models[name][int(self.aliases[name, alias]) - 1]}

    def set_alias(self, request: Request) -> object:
        body = request.json()
        self.aliases[body["name"], body["alias"]] = body["version"]
        return {}

    def search(self, request: Request) -> object:
        name = request.query["filter"].partition("'")[2].removesuffix("'")
        return {"model_versions": self.models.get(name, [])}

    def make_version(self, request: Request) -> object:
        body = request.json()
        versions = self.models[body["name"]]
        versions.append(body | {"version": str(len(versions) + 1)})
        return {"model_version": versions[-1]}

    def experiment(self, request: Request) -> object:
        if request.query["experiment_name"] not in self.experiments:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST")
        return {"experiment": {"experiment_id": "1"}}

    def make_experiment(self, request: Request) -> object:
        self.experiments.append(request.json()["name"])
        return {"experiment_id": "1"}

    def make_run(self, request: Request) -> object:
        self.runs["r1"] = {"params": {}, "metrics": {}, **request.json()}
        return {"run": {"info": {"run_id": "r1"}}}

    def log(self, request: Request) -> object:
        body = request.json()
        if len(body.get("params", [])) > 100 or any(len(one["value"]) > 6000 for one in body.get("params", [])):
            raise Refused(400, "INVALID_PARAMETER_VALUE")
        for kind in ("params", "metrics"):
            self.runs[body["run_id"]][kind] |= {one["key"]: one["value"] for one in body.get(kind, [])}
        return {}

    def end(self, request: Request) -> object:
        self.runs[request.json()["run_id"]]["status"] = request.json()["status"]
        return {}


@pytest.fixture(params=["kubeflow", "mlflow"])
def server(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    """Both, in turn."""
    made = ModelRegistry() if request.param == "kubeflow" else MLflow()
    made.place = f"{request.param}:{made.address}"  # type: ignore[attr-defined]
    yield made
    made.stop()


def test_a_version_is_made_once_however_often_it_is_registered(run: Run, server: Any) -> None:
    student = run()
    for _ in range(2):
        link = registry(server.place).register(version_of(student, "math", "s3://bucket/math"))
    assert link.startswith(server.address)
    versions = server.versions if isinstance(server, ModelRegistry) else server.models["math"]
    assert len(versions) == 1


def test_another_student_under_the_same_run_name_is_refused(run: Run, server: Any) -> None:
    registry(server.place).register(version_of(run(seed=1), "math", "s3://bucket/math"))
    with pytest.raises(ConfigError, match="with other content"):
        registry(server.place).register(version_of(run(seed=2), "math", "s3://bucket/math"))


def test_one_version_is_the_champion(run: Run, server: Any) -> None:
    place = registry(server.place)
    assert place.champion("math") is None
    for name in ("first", "second"):
        place.register(version_of(run(name), "math", f"s3://bucket/{name}"))
    assert place.champion("math") is None
    for name in ("first", "second", "first"):
        place.crown("math", name)
        assert place.champion("math") == name
    with pytest.raises(ConfigError, match="has no version"):
        place.crown("math", "third")


def test_kubeflow_is_told_model_metrics_and_lineage(run: Run) -> None:
    server = ModelRegistry()
    student = run()
    registry(f"kubeflow:{server.address}").register(version_of(student, "math", "s3://bucket/math"))
    (version,), (files,) = server.versions, server.files.values()
    model = next(one for one in files if one["artifactType"] == "model-artifact")
    assert (model["uri"], model["state"]) == ("s3://bucket/math", "LIVE")
    assert {one["name"]: one["value"] for one in files if one["artifactType"] == "metric"} == student.summary
    said = {
        key: value.get("string_value", value.get("double_value")) for key, value in version["customProperties"].items()
    }
    assert said["retort.commit"] == "abc12"
    assert (said["retort.teacher"], said["retort.base"]) == ("acme/teacher", "acme/base")
    assert said["accuracy"] == 0.9
    assert version["author"] == "ada@box"
    server.stop()


def test_an_attempt_that_was_cut_off_is_completed_by_the_next(run: Run) -> None:
    server = ModelRegistry()
    version = version_of(run(), "math", "s3://bucket/math")
    server.refuse("POST .*/artifacts", 503, times=1)
    with pytest.raises(StorageError, match="status 503"):
        registry(f"kubeflow:{server.address}").register(version)
    registry(f"kubeflow:{server.address}").register(version)
    assert len(server.versions) == 1
    assert len(next(iter(server.files.values()))) == 1 + len(version.figures)
    server.stop()


def test_mlflow_gets_a_finished_run_with_parameters_and_metrics(run: Run) -> None:
    server = MLflow()
    registry(f"mlflow:{server.address}").register(version_of(run(), "math", "s3://bucket/math"))
    logged = server.runs["r1"]
    assert logged["status"] == "FINISHED"
    assert logged["params"]["seed"] == "0"
    assert len(logged["params"]) > 100  # in several batches
    assert logged["metrics"]["accuracy"] == 0.9
    (version,) = server.models["math"]
    assert (version["run_id"], version["source"]) == ("r1", "s3://bucket/math")
    server.stop()


def test_refusals_name_the_address_and_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ModelRegistry()
    version, place = version_of(run(), "math", "s3://x"), registry(f"kubeflow:{server.address}")
    server.refuse("GET .*registered_model", 403, "who are you?", times=1)
    with pytest.raises(ConfigError, match=rf"status 403: who are you\?\. Set {TOKEN}"):
        place.register(version)
    with server.away(), pytest.raises(StorageError, match="does not answer"):
        place.register(version)
    with pytest.raises(ConfigError, match="name a registry as kubeflow:http"):
        registry("s3://bucket")
    server.stop()


def test_the_verb_needs_an_exported_student_a_registry_and_a_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    server = ModelRegistry()

    def call(*words: str) -> Any:
        return CliRunner().invoke(app, ["register", "first", *words])

    assert "no registry is named" in str(call().exception)
    monkeypatch.setenv("RETORT_REGISTRY", f"kubeflow:{server.address}")
    assert "no model is named" in str(call().exception)
    assert "was not exported yet" in str(call("--name", "math").exception)
    done = call("--name", "math", "--uri", "s3://bucket/math", "--json")
    assert json.loads(done.stdout)["link"].startswith(server.address)
    server.stop()
