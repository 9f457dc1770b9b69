"""Planted secrets are in nothing that a run leaves behind; text from outside does nothing where it is shown."""

from __future__ import annotations

import json
import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from retort_pipelines.cli.status import reasons
from retort_pipelines.graph.compile import arguments
from retort_pipelines.graph.compile import compile as compile_pipeline
from retort_pipelines.profiles import load_profile
from s3fs import S3FileSystem

from retort.config import load_config
from retort.errors import EngineError, RetortError, harmless
from retort.io import tables
from retort.modeling.checkpoint import Checkpoints
from retort.pod import lock_fragments, task
from retort.pod.run_records import Failure, Records, summary
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.stage import run_stage
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.endpoint_stand_in import Handler, serving
from tests.s3_server import S3Server

REMOTE = "s3://bucket/store"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0001",
    "AWS_SECRET_ACCESS_KEY": "planted-store-secret-0002",
    "AWS_SESSION_TOKEN": "planted-session-token-0003",
    "OPENAI_API_KEY": "sk-planted-teacher-key-0004",
    "HF_TOKEN": "hf_planted_hub_token_0005",
    "RETORT_KFP_TOKEN": "planted-kubeflow-token-0006",
}


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def leaks(content):
    """Secrets in a content."""
    data = content if isinstance(content, bytes) else str(content).encode()
    return [name for name, value in SECRETS.items() if value.encode() in data]


def leaks_under(folder):
    """Files under a folder with a secret in them, or in their names."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 10
    return {str(file): found for file in files if (found := leaks(file.read_bytes()) + leaks(file))}


def test_a_run_leaves_no_secret_behind_whether_it_ends_well_or_its_stage_shouts_all_it_knows(
    toy, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("RETORT_RUN", "run-1")
    S3FileSystem.clear_instance_cache()
    made = toy()
    with S3Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        root = made.home / "runs/a"
        create(root, made.config, home=made.home, remote=REMOTE, cache=made.home / "runs/.cache")
        dvc_adapter.reproduce(root)
        dvc_adapter.push(root)
        lock = dvc_adapter.read_lock(root)
        upstream = lock_fragments.save({one: lock[one] for one in lock if one != "votes"}, REMOTE)
        told = settings(made.config, graph(made.config, made.home).groups["votes"], {}, remote=REMOTE).to_json()
        monkeypatch.setenv("RETORT_FORCE", "1")
        task.record(told, [upstream, task.run(told, [upstream])])
        command = tmp_path / "bin/retort"
        command.write_text(command.read_text() + "\nprint(dict(os.environ), file=sys.stderr)\nsys.exit(65)\n")
        with pytest.raises(SystemExit):
            task.run(told, [upstream])
        task.summarise(told, state="FAILED", message="x", page=str(tmp_path / "summary.md"))
        (failure,) = Records.of(REMOTE, "run-1").failures()
        assert "[OPENAI_API_KEY]" in "".join(failure.lines)  # it did shout
        given = arguments(made.config, remote=REMOTE, files={}, root=made.home)
        kept = {key: found for key, content in server.objects.items() if (found := leaks(content) + leaks(key))}
        server.fault = lambda *_: "403"
        S3FileSystem.clear_instance_cache()
        monkeypatch.setenv("RETORT_STORE_PATIENCE", "0")
        monkeypatch.setattr(task, "_LAST_WORDS_S", 0.0)
        with pytest.raises(SystemExit):
            task.run(told, [upstream])
    compile_pipeline(load_config(made.file), load_profile("generic"), tmp_path / "pipeline.yaml")
    assert kept == {}
    assert leaks_under(tmp_path) == {}
    assert leaks(json.dumps(given)) == []
    ours = "\n".join(one.getMessage() for one in caplog.records if one.name.startswith(("retort", "dvc")))
    assert leaks(ours) == []


class Telling(Handler):
    """An endpoint that refuses and says which key it was given, as many do."""

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Refuse."""
        self.rfile.read(int(self.headers["Content-Length"]))
        said = f"Incorrect API key provided: {self.headers['Authorization']}"
        self._reply(401, {"error": {"message": said, "code": "invalid_api_key"}})


def test_an_endpoint_that_repeats_the_key_does_not_get_it_into_errors_logs_or_state(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rows = [{"prompt_id": f"p{n}", "prompt": f"{n} ?", "answer": None, "source": "x", "row": n} for n in range(20)]
    tables.write_table(tmp_path / "outputs/prompts/train.parquet", rows[:10], tables.PROMPTS)
    tables.write_table(tmp_path / "outputs/prompts/validation.parquet", rows[10:], tables.PROMPTS)
    (tmp_path / "outputs/models/teacher").mkdir(parents=True)
    (tmp_path / "outputs/models/teacher/x").write_text("x")
    with serving() as server:
        server.RequestHandlerClass = Telling
        engine = {"type": "openai", "base_url": server.url, "model": "m"}
        params = {
            "seed": 0,
            "models": {"teacher": {"engine": engine}, "base": {"source": "base"}},
            "prompts": {"sources": [{"path": "p.jsonl"}]},
        }
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        with pytest.raises(RetortError) as refused:
            run_stage("teacher_responses", {"shard": "0"}, tmp_path)
    assert "[OPENAI_API_KEY]" in str(refused.value)
    assert leaks(str(refused.value)) == []
    assert [one for one in caplog.records if leaks(one.getMessage()) and one.name.startswith("retort")] == []
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or leaks(file.read_bytes()) == [], file


NASTY = "\x1b[2J\x1b]0;title\x07 </pre><script>alert(1)</script> ```\n# Not a heading \u202egnp.exe \x9b31m"


def test_a_text_from_outside_moves_no_cursor_turns_no_line_and_is_still_readable():
    shown = harmless(NASTY)
    assert not [one for one in shown if ord(one) < 32 and one != "\n"]
    assert "\u202e" not in shown
    assert "\x9b" not in shown
    assert "\\x1b[2J" in shown
    assert "<script>" in shown  # pages escape it themselves
    assert str(EngineError(NASTY)) == shown
    assert harmless("Übung\t5 €\n数学") == "Übung\t5 €\n数学"


def test_what_a_failed_stage_said_stays_in_its_frame_in_kubeflows_page_and_in_the_terminal():
    failure = Failure("sft-sft", "pod", 65, NASTY, NASTY.splitlines())
    page = summary("FAILED", "", [failure])
    assert page.count("```") == 2
    assert "\n# Not" not in page.partition("```text")[0]
    assert "<script>" not in page.partition("```text")[0]
    assert "\x1b" not in page
    (words,) = reasons([failure])
    assert "\x1b" not in words
    assert "\u202e" not in words


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_resume_state_that_would_run_code_is_passed_over(tmp_path, caplog):
    kept = Checkpoints(tmp_path)
    kept.save(1, {"weights": torch.ones(2), "state": Failure("a", "b", 1, "c", [])})
    whole = torch.load(tmp_path / "step-00000001.pt", weights_only=False)
    torch.save(whole | {"payload": Runs(tmp_path / "ran")}, tmp_path / "step-00000002.pt")
    (tmp_path / "step-00000003.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    payload = kept.load()
    assert payload is not None
    assert payload["state"] == Failure("a", "b", 1, "c", [])
    assert torch.equal(payload["weights"], torch.ones(2))
    assert not (tmp_path / "ran").exists()
    assert "step-00000002.pt: is damaged and passed over" in caplog.text
