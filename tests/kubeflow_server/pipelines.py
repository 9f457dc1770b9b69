"""Kubeflow Pipelines' API: health, experiments, pipelines with their versions, runs, recurring runs."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import yaml

from tests.kubeflow_server.http import Refused, Request, StandIn
from tests.kubeflow_server.listing import page

Item = dict[str, Any]

_NAMED = ("display_name", "created_at", "description")
_API = "/apis/v2beta1"
_ID = "([^/:]+)"
_LIVE = ("PENDING", "RUNNING", "PAUSED")


class KubeflowServer(StandIn):
    """Kubeflow Pipelines 2.17 without anything that runs."""

    routes = (
        ("GET", "/apis/v(?:1|2)beta1/healthz", "health"),
        ("GET", f"{_API}/experiments", "list_experiments"),
        ("POST", f"{_API}/experiments", "create_experiment"),
        ("GET", f"{_API}/pipelines", "list_pipelines"),
        ("POST", f"{_API}/pipelines/upload", "upload_pipeline"),
        ("POST", f"{_API}/pipelines/upload_version", "upload_version"),
        ("GET", f"{_API}/pipelines/{_ID}/versions", "list_versions"),
        ("GET", f"{_API}/runs", "list_runs"),
        ("POST", f"{_API}/runs", "create_run"),
        ("GET", f"{_API}/runs/{_ID}", "get_run"),
        ("POST", f"{_API}/runs/{_ID}:terminate", "terminate_run"),
        ("GET", f"/apis/v1beta1/runs/{_ID}", "get_workflow"),
        ("GET", f"{_API}/recurringruns", "list_recurring"),
        ("POST", f"{_API}/recurringruns", "create_recurring"),
        ("DELETE", f"{_API}/recurringruns/{_ID}", "delete_recurring"),
        ("POST", f"{_API}/recurringruns/{_ID}:(enable|disable)", "change_recurring"),
    )

    def __init__(self, *, multi_user: bool = False, version: str = "2.17.0", token: str = "") -> None:
        self.multi_user, self.version, self.token = multi_user, version, token
        self.experiments: dict[str, Item] = {}
        self.pipelines: dict[str, Item] = {}
        self.versions: dict[str, Item] = {}
        self.runs: dict[str, Item] = {}
        self.workflows: dict[str, Item] = {}
        """Workflow of each run, as Kubeflow keeps it."""
        self.recurring: dict[str, Item] = {}
        self.deleted: list[tuple[str, str]] = []
        """Name and propagation policy of each recurring run that was deleted."""
        self.clock: datetime | None = None
        """The server's time, where a test sets it."""
        self.ids: list[str] = []
        """Ids of what is made next, where a test sets them."""
        super().__init__()

    def allowed(self, request: Request) -> None:
        """Everybody, unless a token is asked for; health is told to strangers too."""
        given = request.headers.get("authorization", "")
        if self.token and not request.path.endswith("healthz") and given != f"Bearer {self.token}":
            raise Refused(401, "Unauthenticated: Request header error: there is no user identity header")

    def _now(self) -> str:
        return (self.clock or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")  # whole seconds, as Kubeflow keeps them

    def _new(self) -> str:
        return self.ids.pop(0) if self.ids else str(uuid.uuid4())

    def _namespace(self, request: Request) -> None:
        given = request.query.get("namespace", "")
        if bool(given) != self.multi_user:
            raise Refused(400, "Invalid input error: " + ("namespace is empty" if not given else f"namespace {given}"))

    def health(self, _: Request) -> Item:
        """Who it is."""
        return {"tag_name": self.version, "multi_user": self.multi_user}

    def list_experiments(self, request: Request) -> Item:
        """One page."""
        self._namespace(request)
        found = page(request, list(self.experiments.values()), "experiment_id", fields=_NAMED)
        return _listed("experiments", *found)

    def create_experiment(self, request: Request) -> Item:
        """Names are unique."""
        body = request.json()
        if any(one["display_name"] == body["display_name"] for one in self.experiments.values()):
            raise Refused(409, f"Failed to create a new experiment. The name {body['display_name']} already exists.")
        made = body | {"experiment_id": self._new(), "created_at": self._now(), "storage_state": "AVAILABLE"}
        self.experiments[made["experiment_id"]] = made
        return made

    def list_pipelines(self, request: Request) -> Item:
        """One page."""
        found = page(request, list(self.pipelines.values()), "pipeline_id", fields=_NAMED)
        return _listed("pipelines", *found)

    def upload_pipeline(self, request: Request) -> Item:
        """A pipeline with its first version, of the same name."""
        name = request.query["name"]
        if any(one["display_name"] == name for one in self.pipelines.values()):
            raise Refused(409, f"The name {name} already exists")
        made = {"pipeline_id": self._new(), "display_name": name, "created_at": self._now()}
        self.pipelines[made["pipeline_id"]] = made
        self._version(made["pipeline_id"], name, request)
        return made

    def upload_version(self, request: Request) -> Item:
        """Names are unique in a pipeline."""
        return self._version(request.query["pipelineid"], request.query["name"], request)

    def _version(self, pipeline_id: str, name: str, request: Request) -> Item:
        if pipeline_id not in self.pipelines:
            raise Refused(404, f"Pipeline {pipeline_id} not found")
        if any((one["pipeline_id"], one["display_name"]) == (pipeline_id, name) for one in self.versions.values()):
            raise Refused(409, f"Failed to create a new pipeline version. The name {name} already exists.")
        made: dict[str, Any] = {"pipeline_version_id": self._new(), "pipeline_id": pipeline_id, "display_name": name}
        made |= {"created_at": self._now()}
        kept = made | {"pipeline_spec": _uploaded(request)}
        self.versions[kept["pipeline_version_id"]] = kept
        return made

    def list_versions(self, request: Request, pipeline_id: str) -> Item:
        """One page."""
        mine = [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]
        return _listed("pipeline_versions", *page(request, mine, "pipeline_version_id", fields=_NAMED))

    def list_runs(self, request: Request) -> Item:
        """One page; a listed run has no arguments."""
        if not request.query.get("experiment_id"):
            self._namespace(request)
        found, count, more = page(
            request, list(self.runs.values()), "run_id", fields=(*_NAMED, "run_id", "state", "storage_state")
        )
        short = [{k: v for k, v in one.items() if k not in ("runtime_config", "pipeline_spec")} for one in found]
        return _listed("runs", short, count, more)

    def create_run(self, request: Request) -> Item:
        """Names are not unique."""
        body = request.json()
        _check_arguments(body.get("pipeline_spec") or {}, body.get("runtime_config", {}).get("parameters") or {})
        return self.keep(body | {"state": "PENDING", "storage_state": "AVAILABLE"})

    def keep(self, run: Item) -> Item:
        """Keep a run under a new id, with the workflow of one that has just begun."""
        made = run | {"run_id": self._new(), "created_at": self._now()}
        self.runs[made["run_id"]] = made
        self.workflows[made["run_id"]] = {"spec": {}, "status": {"nodes": {}}}
        return made

    def get_run(self, _: Request, run_id: str) -> Item:
        """A run with its arguments."""
        if run_id not in self.runs:
            raise Refused(404, f"Run {run_id} not found")
        return self.runs[run_id]

    def terminate_run(self, _: Request, run_id: str) -> Item:
        """Tell a run to end; it ends as Argo says, in FAILED."""
        if self.get_run(_, run_id)["state"] not in _LIVE:
            raise Refused(400, f"Failed to terminate a run {run_id}. Row not found")
        self.runs[run_id]["state"] = "CANCELING"
        self.workflows[run_id]["spec"]["activeDeadlineSeconds"] = 0
        return {}

    def get_workflow(self, _: Request, run_id: str) -> Item:
        """A run as the first version of the API tells it: with its workflow."""
        run = self.get_run(_, run_id)
        manifest = json.dumps(self.workflows[run_id]) if self.workflows[run_id] else ""
        return {"run": {"id": run_id, "name": run["display_name"]}, "pipeline_runtime": {"workflow_manifest": manifest}}

    def list_recurring(self, request: Request) -> Item:
        """One page."""
        wanted = request.query.get("experiment_id")
        mine = [one for one in self.recurring.values() if wanted in (None, one["experiment_id"])]
        return _listed("recurringRuns", *page(request, mine, "recurring_run_id", fields=_NAMED))

    def create_recurring(self, request: Request) -> Item:
        """Names are not unique; the moment is checked."""
        body = request.json()
        _check_cron((body["trigger"].get("cron_schedule") or {}).get("cron"))
        reference = body["pipeline_version_reference"]
        version = self.versions.get(reference["pipeline_version_id"])
        if version is None:
            raise Refused(404, f"PipelineVersion {reference['pipeline_version_id']} not found")
        _check_arguments(version["pipeline_spec"], body["runtime_config"]["parameters"])
        made = body | {"recurring_run_id": self._new(), "created_at": self._now()}
        made["status"] = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
        self.recurring[made["recurring_run_id"]] = made
        return made

    def delete_recurring(self, request: Request, recurring_run_id: str) -> Item:
        """Remove it."""
        gone = self.recurring.pop(recurring_run_id, None)
        if gone is None:
            raise Refused(404, f"Job {recurring_run_id} not found")
        self.deleted.append((gone["display_name"], request.query.get("propagation_policy", "")))
        return {}

    def change_recurring(self, _: Request, recurring_run_id: str, verb: str) -> Item:
        """Let it fire, or not."""
        if recurring_run_id not in self.recurring:
            raise Refused(404, f"Job {recurring_run_id} not found")
        self.recurring[recurring_run_id]["status"] = f"{verb}d".upper()
        return {}


def _listed(name: str, items: list[Item], count: int, more: str) -> Item:
    """A page as it is sent: what is empty is left out."""
    whole = {name: items, "total_size": count, "next_page_token": more}
    return {key: value for key, value in whole.items() if value}


def _uploaded(request: Request) -> Item:
    """The pipeline in an uploaded form."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    part = request.body.split(b"--" + boundary)[1]
    content = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
    found: Item = next(yaml.safe_load_all(content))
    if "deploymentSpec" not in found:
        raise Refused(400, "Failed to validate the pipeline: unknown template format")
    return found


def _check_arguments(spec: Item, given: Item) -> None:
    document = spec.get("pipeline_spec", spec)
    declared = set(document["root"].get("inputDefinitions", {}).get("parameters", {}))
    if unknown := set(given) - declared:
        raise Refused(400, f"Unrecognized input parameter: {', '.join(sorted(unknown))}")
    if lacking := declared - set(given):
        raise Refused(400, f"Missing required input parameter: {', '.join(sorted(lacking))}")


def _check_cron(cron: str | None) -> None:
    """The refusals of robfig/cron that tests ask for."""
    if cron is None:
        return
    fields = cron.split()
    words = "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: "
    if len(fields) not in (5, 6):
        raise Refused(400, f"{words}Expected 5 to 6 fields, found {len(fields)}: {cron}")
    for one, high in zip(fields, (59, 59, 23, 31, 12, 6), strict=False):
        if one.isdigit() and int(one) > high:
            raise Refused(400, f"{words}End of range ({one}) above maximum ({high}): {one}")
