"""A stage as MLflow and TensorBoard have it afterwards: a real store in SQLite, real event files."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from retort.config import load_config
from retort.errors import ConfigError, InterruptionError
from retort.rewards.learned import train
from retort.run import dvc_adapter
from retort.run.stage import run_stage
from retort.run.true_hashes import dvc_digest
from retort.tracking import sender

REWARD = {"reward": "learned"}


@pytest.fixture(scope="session")
def made_store(tmp_path_factory):
    """An SQLite store of MLflow with its tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(made_store, tmp_path, monkeypatch):
    """Address of an MLflow store of the test's own."""
    monkeypatch.chdir(tmp_path)  # MLflow names ./mlruns as the place of artifacts
    file = tmp_path / "mlflow.db"
    file.write_bytes(made_store.read_bytes())
    return f"sqlite:///{file}"


@pytest.fixture
def tracked_root(training_root, store):
    """`tracked_root(...)`: a workspace with training data whose tracker is that store."""

    def make(**changes):
        root = training_root(**{"reward": {"steps": 8, "evaluate_steps": 2}} | changes)
        values = yaml.safe_load((root / "params.yaml").read_text())
        values["tracker"] = {"type": "mlflow", "address": store, "experiment": "tests", "run": None}
        (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        return root

    return make


def runs(store):
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("tests")
    return client, client.search_runs([experiment.experiment_id], order_by=["start_time"])


def curve(client, run, name):
    return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]


def drawn(root, name):
    lines = (root / f"curves/learned/plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [(int(step), pytest.approx(float(value), rel=1e-5)) for step, value in (line.split("\t") for line in lines)]


def test_mlflow_has_parameters_curves_metrics_and_the_model_of_a_stage(tracked_root, store, tmp_path, caplog):
    root = tracked_root()
    dvc_adapter.init(root, remote=str(tmp_path / "remote"))
    metrics = run_stage("reward", REWARD, root)
    client, (parent, child) = runs(store)
    assert parent.info.run_name == "ws"
    assert child.info.run_name == "reward-learned"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == "FINISHED"
    assert parent.info.status == "RUNNING"  # until the report has its say
    assert child.data.params["reward.steps"] == "8"
    assert child.data.params["seed"] == "0"
    assert child.data.params["reward"] == "learned"
    assert not [name for name in child.data.params if name.startswith(("tracker", "models"))]
    assert curve(client, child, "auc") == drawn(root, "auc")
    assert [step for step, _ in curve(client, child, "loss")] == [2, 4, 6, 8]
    assert child.data.metrics["result/auc"] == metrics["auc"]
    assert child.data.metrics["result/gate_passed"] == float(metrics["gate_passed"])
    # The model, by the hash that DVC gives it and where DVC will put it.
    digest = dvc_digest(root / "outputs/rewards/learned")
    address = f"{tmp_path}/remote/files/md5/{digest[:2]}/{digest[2:]}"
    assert child.data.tags["retort.rewards/learned.address"] == address
    (model,) = client.search_logged_models([child.info.experiment_id])
    assert (model.name, model.source_run_id, model.tags["md5"]) == ("ws-rewards-learned", child.info.run_id, digest)
    assert [one for one in caplog.messages if "tracker" in one] == []


def test_a_folder_is_named_as_dvc_names_it(training_root, tmp_path):
    root = training_root()
    dvc_adapter.init(root, remote=str(tmp_path / "remote"))
    (entry,) = dvc_adapter.store(root, ["outputs/models/sft"]).values()
    assert dvc_digest(root / "outputs/models/sft") == entry["md5"]
    (file,) = dvc_adapter.store(root, ["outputs/votes/votes.parquet"]).values()
    assert dvc_digest(root / "outputs/votes/votes.parquet") == file["md5"]


def test_a_killed_stage_goes_on_in_the_same_run_and_tells_no_row_twice(tracked_root, store, monkeypatch):
    root = tracked_root()
    honest = train._step

    def step(*args, **kwargs):
        if kwargs["step"] == 5:
            raise InterruptionError
        return honest(*args, **kwargs)

    monkeypatch.setattr(train, "_step", step)
    with pytest.raises(InterruptionError):
        run_stage("reward", REWARD, root)
    client, (parent, child) = runs(store)
    assert (parent.info.status, child.info.status) == ("KILLED", "KILLED")
    assert [step for step, _ in curve(client, child, "loss")] == [2, 4]
    monkeypatch.setattr(train, "_step", honest)
    run_stage("reward", REWARD, root)
    client, found = runs(store)
    assert [one.info.run_id for one in found] == [parent.info.run_id, child.info.run_id]
    assert curve(client, child, "loss") == drawn(root, "loss")
    assert found[1].info.status == "FINISHED"


def test_another_parameter_is_another_run(tracked_root, store):
    root = tracked_root()
    run_stage("reward", REWARD, root)
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["reward"]["steps"] = 4
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    run_stage("reward", REWARD, root)
    _, found = runs(store)
    assert [one.info.run_name for one in found] == ["ws", "reward-learned"] * 2
    assert found[3].data.tags["mlflow.parentRunId"] == found[2].info.run_id


def test_tasks_of_one_kubeflow_run_share_its_run(tracked_root, store, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "5f")
    root = tracked_root()
    run_stage("ballots", {"shard": "0"}, root)
    run_stage("reward", REWARD, root)
    _, found = runs(store)
    assert [one.info.run_name for one in found] == ["ws", "ballots-0", "reward-learned"]
    assert {one.data.tags.get("mlflow.parentRunId") for one in found[1:]} == {found[0].info.run_id}


def test_a_failed_stage_is_a_failed_run(tracked_root, store):
    root = tracked_root()
    (root / "outputs/reward_data/learned/train.parquet").unlink()
    with pytest.raises(Exception, match=r"train\.parquet"):
        run_stage("reward", REWARD, root)
    _, (parent, child) = runs(store)
    assert (parent.info.status, child.info.status) == ("FAILED", "FAILED")


def test_without_the_tracker_the_stage_makes_the_same(tracked_root, training_root, monkeypatch, caplog):
    monkeypatch.setattr(sender, "FIRST_PAUSE_S", 0.1)
    plain = training_root("plain", reward={"steps": 8, "evaluate_steps": 2})
    away = tracked_root()
    values = yaml.safe_load((away / "params.yaml").read_text())
    values["tracker"]["address"] = "http://127.0.0.1:9"  # where nobody listens
    (away / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    for root in (plain, away):
        run_stage("reward", REWARD, root)
    said = [one for one in caplog.messages if one.startswith("tracker")]
    assert len(said) == 2
    assert said[0].startswith("tracker mlflow, of reward-learned cannot be reached")
    assert "4 rows and 2 messages did not arrive there" in said[1]
    for path in ("metrics/reward-learned.json", "curves/learned/metrics.json"):
        assert (plain / path).read_bytes() == (away / path).read_bytes()
    folders = [root / "outputs/rewards/learned" for root in (plain, away)]
    assert dvc_digest(folders[0]) == dvc_digest(folders[1])


def test_tensorboard_has_the_rows_and_figures(training_root, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    root = training_root(reward={"steps": 4, "evaluate_steps": 2})
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["tracker"] = {"type": "tensorboard", "folder": f"file://{tmp_path}/boards", "run": "mine"}
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    run_stage("reward", REWARD, root)
    (file,) = (tmp_path / "boards").rglob("events.*")
    assert file.parent.name.startswith("reward-learned.")
    assert file.parent.parent.name.startswith("mine.")
    content, events, at = file.read_bytes(), [], 0
    while at < len(content):  # a record: length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + length]))
        at += 16 + length
    scalars = [(one.tag, event.step) for event in events for one in event.summary.value]
    assert [one for one in scalars if one[0] in ("loss", "auc")] == [("loss", 2), ("auc", 2), ("loss", 4), ("auc", 4)]
    assert ("result/auc", 0) in scalars
    text = b"".join(
        value.tensor.string_val[0] for event in events for value in event.summary.value if value.tensor.string_val
    )
    assert b"| reward.steps | 4 |" in text


@pytest.mark.parametrize(
    ("tracker", "gone", "words"),
    [
        (
            "{type: wandb}",
            "wandb",
            "tracker: wandb wandb is not installed, so nothing would arrive.*`pip install wandb`",
        ),
        ("{type: tensorboard}", "tensorboard", "tensorboard is not installed"),
        ("{type: mlflow, address: http://x}", "mlflow", "mlflow is not installed.*pip install mlflow-skinny"),
        ("{type: mlflow, address: 'sqlite:////x.db'}", "alembic", "alembic is not installed"),
        ("{type: mlflow}", "", "names no address"),
    ],
)
def test_what_is_not_installed_is_refused_before_the_stage_begins(training_root, monkeypatch, tracker, gone, words):
    honest = importlib.util.find_spec
    absent = {gone, f"{gone}X"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in absent else honest(name, *more)
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = training_root()
    values = yaml.safe_load((root / "params.yaml").read_text()) | {"tracker": yaml.safe_load(tracker)}
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(ConfigError, match=words):
        run_stage("reward", REWARD, root)
    assert not (root / "outputs/rewards/learned").exists()


@pytest.mark.parametrize(
    ("tracker", "words"),
    [
        ("{type: mlflow, address: 'http://ada:secret@host'}", "give them in the environment"),
        ("{type: mlflow, address: 'sqlite:///mlflow.db'}", "write the file from the root"),
        ("{type: mlfow}", "tracker"),
    ],
)
def test_a_tracker_that_cannot_be_meant_is_refused(tracker, words):
    with pytest.raises(ConfigError, match=words):
        load_config(Path("demo"), changes=[f"tracker={tracker}"])


def test_an_earlier_section_tracker_is_the_runs(caplog):
    config = load_config(Path("demo"), changes=["ppo.tracker=tensorboard", "sft.tracker=none"])
    assert config.tracker.type == "tensorboard"
    assert any("ppo.tracker is tracker.type now" in one for one in caplog.messages)
    assert json.loads(config.ppo.model_dump_json()).get("tracker") is None
