"""`retort export`: a student in a folder, an object store, and on a hub."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
from typer.testing import CliRunner

from retort.cli.app import app
from retort.errors import ConfigError, InputError, StorageError
from retort.handover import export as exporting
from retort.handover.export import export, exported
from retort.handover.student import Student, student_of
from retort.run.paths import Paths
from tests.kubeflow_server.http import Answer, Refused, Request, StandIn

Run = Callable[..., Student]


def test_a_folder_loads_with_transformers_and_its_card_with_the_hub(run: Run, home: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shown = CliRunner().invoke(app, ["export", "first", "--to", "out"], catch_exceptions=False) if run() else None
    assert shown is not None
    assert shown.stdout == "PPO student of first: out\n"
    model, tokenizer = AutoModelForCausalLM.from_pretrained("out"), AutoTokenizer.from_pretrained("out")
    ids = tokenizer("39 + 25", return_tensors="pt").input_ids
    assert model.generate(ids, max_new_tokens=4, do_sample=False).shape[1] > ids.shape[1]
    card = huggingface_hub.ModelCard.load(home / "out/README.md")
    assert card.data.license == "apache-2.0"
    assert [result.metric_value for result in card.data.eval_results] == [0.9]


def test_a_server_of_another_user_can_read_every_file(run: Run, home: Path) -> None:
    student = run()
    for file in student.folder.iterdir():
        file.chmod(0o600)  # as safetensors writes them
    export(student, "out")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home / "out").iterdir()}
    assert modes == {0o644}
    assert stat.S_IMODE((home / "out").stat().st_mode) == 0o755


def test_an_export_replaces_an_older_one_but_nothing_else(run: Run, home: Path) -> None:
    export(run("first", seed=1), "out")
    export(run("second", seed=2), "out")
    assert (home / "out/model.safetensors").read_bytes() == (
        student_of(home / "runs/second").folder / "model.safetensors"
    ).read_bytes()
    (home / "thesis").mkdir()
    (home / "thesis/chapter.tex").write_text("precious")
    with pytest.raises(InputError, match="is no exported model"):
        export(student_of(home / "runs/first"), "thesis")
    assert (home / "thesis/chapter.tex").read_text() == "precious"


def test_a_store_holds_the_same_files_and_none_of_an_older_export(run: Run, home: Path) -> None:
    student, place = run(), home / "bucket/models/math"
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "model-00001-of-00002.safetensors").write_text("old")
    assert export(student, f"file://{place}") == f"file://{place}"
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [*(path.name for path in student.folder.iterdir()), "README.md"]
    )
    (home / "bucket/other").mkdir()
    (home / "bucket/other/data.csv").write_text("precious")
    with pytest.raises(InputError, match="holds other objects"):
        export(student, f"file://{home}/bucket/other")


def test_a_run_whose_gate_stopped_every_student_has_none_to_export(run: Run) -> None:
    student = run()
    (student.folder / "config.json").rename(student.folder / "reference.json")
    with pytest.raises(InputError, match="a gate stopped every student"):
        student_of(student.root)


def test_where_it_went_is_remembered_until_the_student_changes(run: Run, home: Path) -> None:
    student = run()
    with pytest.raises(ConfigError, match="was not exported yet"):
        exported(student)
    export(student, "out")
    assert exported(student) == str(home / "out")
    (Paths(student.root).model("ppo") / "extra.json").write_text("{}")
    with pytest.raises(ConfigError, match="has changed since it was exported"):
        exported(student)


class Hub(StandIn):
    """What of a Hugging Face hub an upload asks."""

    routes = (
        ("POST", "/api/repos/create", "create"),
        ("POST", "/api/validate-yaml", "validate"),
        ("POST", r"/api/models/(\w+/\w+)/preupload/main", "preupload"),
        ("GET", r"/api/models/(\w+/\w+)/(?:tree|revision)/main", "tree"),
        ("POST", r"/api/models/(\w+/\w+)/commit/main", "commit"),
        ("GET", r"/api/models/(\w+/\w+)", "info"),
    )

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.token = ""
        super().__init__()

    def allowed(self, request: Request) -> None:
        if request.headers.get("authorization") != "Bearer good":
            raise Refused(401, "Invalid username or password.")

    def create(self, request: Request) -> object:
        body = request.json()
        self.private = body.get("visibility") == "private"
        return {"url": f"{self.address}/{body.get('organization') or 'me'}/{body['name']}", "id": "1"}

    def validate(self, request: Request) -> object:
        text = request.json()["content"]
        if "model-index" not in text:
            raise Refused(400, "no model-index")
        return {"errors": [], "warnings": []}

    def preupload(self, request: Request, _repo: str) -> object:
        files = request.json()["files"]
        return {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}

    def tree(self, _request: Request, repo: str) -> object:
        if _request.path.endswith("revision/main"):
            return self.info(_request, repo)
        return [
            {"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in self.files.items()
        ]

    def info(self, _request: Request, repo: str) -> object:
        return {"id": repo, "sha": "0" * 40, "siblings": [{"rfilename": name} for name in self.files]}

    def commit(self, request: Request, repo: str) -> object:
        for line in request.body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del self.files[entry["value"]["path"]]
        return {"commitUrl": f"{self.address}/{repo}/commit/1", "commitOid": "1" * 40, "success": True}

    def refusal(self, status: int, message: str) -> Answer:
        return Answer(status, {"error": message}, {"x-error-message": message})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the real client of huggingface_hub is pointed at."""
    server = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(exporting, "_client", lambda: huggingface_hub.HfApi(server.address, token="good"))
    yield server
    server.stop()


def test_a_hub_gets_model_tokenizer_and_card_and_loses_what_is_old(run: Run, hub: Hub) -> None:
    student = run()
    hub.files = {"model-00001-of-00002.safetensors": b"old"}
    assert export(student, "hub:me/math") == f"{hub.address}/me/math"
    assert hub.private is True
    assert set(hub.files) == {*(path.name for path in student.folder.iterdir()), "README.md"}
    assert hub.files["model.safetensors"] == (student.folder / "model.safetensors").read_bytes()
    assert exported(student) == "hf://me/math"
    export(student, "hub:me/open", private=False)
    assert hub.private is False


def test_a_hub_that_refuses_or_is_away_is_explained(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    student = run()
    monkeypatch.setattr(exporting, "_client", lambda: huggingface_hub.HfApi(hub.address, token="bad"))
    with pytest.raises(ConfigError, match=r"hub:me/math: the hub answers 401 .*Set HF_TOKEN"):
        export(student, "hub:me/math")
    with pytest.raises(ConfigError, match="hub refuses it"):
        export(student, "hub:not/a/name")
    with hub.away(), pytest.raises(StorageError, match="the hub cannot be reached"):
        export(student, "hub:me/math")


def test_a_card_that_the_hub_refuses_is_said(run: Run, hub: Hub) -> None:
    student = run()
    student.card.write_text("---\nlicense: apache-2.0\n---\n# No index\n")
    with pytest.raises(ConfigError, match="no model-index"):
        export(student, "hub:me/math")
    assert hub.files == {}
