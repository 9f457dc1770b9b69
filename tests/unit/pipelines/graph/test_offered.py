"""What Kubeflow's interface offers one by one, and that a run with it is the run that `submit --set` would start."""

import json
from pathlib import Path

import pytest
import yaml
from retort_pipelines.graph.compile import arguments
from retort_pipelines.graph.compile import compile as write
from retort_pipelines.graph.offered import offered
from retort_pipelines.profiles import Profile
from retort_pipelines.runs.runs import config_of

from retort.config import load_config, resolved
from retort.config.typed import read, typed
from retort.errors import ConfigError
from retort.pod import kept_settings
from retort.pod.run_records import Records
from retort.pod.settings import (
    CONFIGURATION,
    OPERATION,
    GroupSettings,
    parameter_of,
    settings,
    told_operation,
    typed_of,
)
from retort.run.tasks import graph

REMOTE = "memory://bucket/store"
ENDPOINT = {"type": "openai", "base_url": "http://llm/v1", "model": "m", "budget": {"tokens": 900}}
VALUES = {
    "models": {"teacher": {"engine": ENDPOINT}, "base": {"source": "hub/student"}},
    "students": {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
        "ppo2": {"method": "ppo", "from": "sft", "reward": "learned", "learning_rate": 2e-6, "kl": {"horizon": 9}},
        "grpo": {"method": "grpo", "from": "sft", "reward": "vote", "beta": 0.1},
        "best": {"method": "best_of", "from": "sft", "reward": "vote"},
    },
    "rewards": {"learned": {"type": "model"}, "vote": {"type": "vote"}},
    "prompts": {"sources": [{"path": "data/prompts.jsonl"}], "limit": 50},
    "teacher_responses": {"shards": [0, 1, 2]},
    "student_responses": {"temperatures": [1.0]},  # a section that is not said has other defaults than one that is
}
NEW = {
    "prompts.limit": 40,
    "teacher_responses.samples": 9,
    "student_responses.samples": 3,
    "sft.learning_rate": 1e-7,
    "ppo.learning_rate": 0.25,
    "ppo.kl.coefficient": 0.5,
    "students.ppo2.learning_rate": 3e-6,
    "grpo.learning_rate": 0.125,
    "students.grpo.beta": 0.75,
    "reward.learning_rate": 2e-5,
    "models.teacher.engine.budget.requests": 70,
    "models.teacher.engine.budget.tokens": 80,
    "models.teacher.engine.budget.cost": 1.5,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    made = tmp_path_factory.mktemp("config") / "config.yaml"
    made.write_text(json.dumps(VALUES))
    return made


@pytest.fixture(scope="module")
def config(file):
    return load_config(file)


def test_what_is_usually_changed_is_offered_for_the_entries_that_there_are(config):
    assert {one.key for one in typed(config)} == set(NEW)  # nothing of best-of-n, no KL that an entry left unsaid


@pytest.mark.parametrize("key", NEW)
def test_a_value_changed_in_the_interface_is_the_run_of_submit_with_set(config, file, key):
    told = load_config(file, changes=[f"{key}={NEW[key]}"])
    (name,) = [one.name for one in typed(config) if one.key == key]
    base, wanted = (arguments(one, remote=REMOTE, files={}) for one in (config, told))
    assert {one for one in base if base[one] != wanted[one]} == {name, CONFIGURATION}
    found, remote = config_of(base | {name: NEW[key]})
    assert (resolved(found), remote) == (resolved(told), REMOTE)


def test_in_the_alphabets_order_what_a_person_may_change_comes_before_what_is_left_alone(config):
    """In which Kubeflow's interface shows them, without their descriptions."""
    shown = sorted(arguments(config, remote=REMOTE, files={}))
    assert shown[: len(NEW) + 1] == sorted([*(one.name for one in typed(config)), "prompts_address"])
    assert all(name.startswith("zz_internal_") for name in shown[len(NEW) + 1 :])


def test_pods_fold_values_into_what_would_have_been_submitted(config, file):
    told = load_config(file, changes=[f"{key}={value}" for key, value in NEW.items()])
    for tasks in graph(config).groups.values():
        keys = [one.key for one in typed_of(config, tasks)]
        # As Kubeflow writes a number into a text: without an exponent, a whole one without a point.
        changes = [f"{key}={format(NEW[key], '.10f').rstrip('0').rstrip('.')}" for key in keys]
        folded = GroupSettings.from_json(settings(config, tasks, {}, remote=REMOTE).to_json()).filled(changes)
        open_ = settings(told, tasks, {}, remote=REMOTE)
        assert folded.to_json() == open_.filled([f"{key}={NEW[key]}" for key in keys]).to_json()
        text = json.dumps(folded.params)
        assert all(json.dumps(NEW[key]) in text for key in keys)


def test_the_pipeline_has_each_with_type_meaning_and_the_configurations_value(config, tmp_path):
    write(config, Profile(), tmp_path / "pipeline.yaml")
    document = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    inputs = document["root"]["inputDefinitions"]["parameters"]
    rate = inputs["students_ppo2_learning_rate"]
    assert (rate["parameterType"], rate["defaultValue"]) == ("NUMBER_DOUBLE", 2e-06)
    assert rate["description"].startswith("Peak learning rate. `students.ppo2.learning_rate`")
    assert (inputs["prompts_limit"]["parameterType"], inputs["prompts_limit"]["defaultValue"]) == ("NUMBER_INTEGER", 50)
    assert inputs["teacher_budget_requests"]["defaultValue"] == 0
    assert inputs["prompts_address"]["parameterType"] == "STRING"
    executed = document["components"]
    for group in ("sft-sft", "ppo-ppo", "reward-learned", "models"):
        assert executed[f"comp-{group}"]["outputDefinitions"]["artifacts"]["model"]["artifactType"] == {
            "schemaTitle": "system.Model",
            "schemaVersion": "0.0.1",
        }
    for group in ("prompts", "votes", "teacher-responses"):
        made = executed[f"comp-{group}"]["outputDefinitions"]["artifacts"]["data"]
        assert made["artifactType"]["schemaTitle"] == "system.Dataset"
    dag = executed["comp-exit-handler-1"]["dag"]["tasks"]
    assert dag["parameters"]["cachingOptions"] == {}
    waiting = {name for name, task in dag.items() if "parameters" in task.get("dependentTasks", ())}
    assert waiting >= {"prompts", "models"}
    given = dag["sft-sft"]["inputs"]["parameters"]
    assert [name for name in given if name.endswith("learning_rate")] == ["pipelinechannel--sft_learning_rate"]
    assert dag["votes"]["inputs"]["parameters"]["changes"]["runtimeValue"]["constant"] == []


def test_a_pipeline_with_defaults_can_be_started_as_it_is(config, tmp_path):
    given = arguments(config, remote=REMOTE, files={})
    write(config, Profile(), tmp_path / "pipeline.yaml", defaults=given)
    document = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    inputs = document["root"]["inputDefinitions"]["parameters"]
    assert {name: one["defaultValue"] for name, one in inputs.items()} == given
    assert parameter_of("votes") in inputs


@pytest.mark.parametrize(
    ("kind", "given", "found"),
    [("int", "4", 4), ("int", 4.0, 4), ("float", "0.00001", 1e-5), ("float", "1e-05", 1e-5), ("int?", "0", None)],
)
def test_numbers_are_read_as_either_kubeflow_writes_them(kind, given, found):
    assert (read(kind, "key", given), type(read(kind, "key", given))) == (found, type(found))


@pytest.mark.parametrize(("kind", "given"), [("int", "4.5"), ("float", "many"), ("float", "nan"), ("int", "")])
def test_what_is_no_number_is_refused_by_its_key(kind, given):
    with pytest.raises(ConfigError, match=r"sft.steps: .* is no"):
        read(kind, "sft.steps", given)


def test_settings_of_another_configuration_are_refused(config):
    tasks = graph(config).groups["sft-sft"]
    told = settings(config, tasks, {}, remote=REMOTE)
    with pytest.raises(ConfigError, match=r"sft.learning_rate: the pipeline and its arguments"):
        told.filled([])


def test_a_budget_reaches_pods_by_the_runs_record_and_is_in_no_settings(config, tmp_path, monkeypatch):
    from retort.pod.parameters import check

    remote = str(tmp_path)
    given = arguments(config, remote=remote, files={})
    monkeypatch.setenv("RETORT_RUN", "run-1")
    changes = [f"{one.key}={NEW[one.key]}" for one in typed(config)]
    prompts, report = given[parameter_of("prompts")], given[parameter_of("report")]
    assert check(given[CONFIGURATION], prompts, report, changes, {"data/prompts.jsonl": ""}) == prompts
    monkeypatch.setenv(OPERATION, json.dumps({"models": {"teacher": {"engine": {"budget": {"tokens": 900}}}}}))
    assert told_operation(remote)["models"]["teacher"]["engine"]["budget"] == {"tokens": 80}
    assert Records.of(remote, "run-1").operation()["models.teacher.engine.budget.cost"] == 1.5


def test_prompts_are_taken_from_their_address_by_content(config, tmp_path):
    from retort.pod.parameters import check

    remote, export = str(tmp_path / "store"), tmp_path / "bucket/export/new.jsonl"
    export.parent.mkdir(parents=True)
    export.write_text('{"prompt": "1+1?"}\n')
    entry = {"path": "data/prompts.jsonl", "md5": "old"}
    given = arguments(config, remote=remote, files={"data/prompts.jsonl": entry})
    told = given[CONFIGURATION], given[parameter_of("prompts")], given[parameter_of("report")], []
    (found,) = kept_settings.read(check(*told, {"data/prompts.jsonl": f" {export} "})).files
    assert (found["path"], found["size"]) == ("data/prompts.jsonl", export.stat().st_size)
    export.write_text("")
    with pytest.raises(Exception, match=r"parameters of this run: .*new.jsonl: is empty"):
        check(*told, {"data/prompts.jsonl": str(export)})


def test_files_of_retort_itself_and_folders_have_no_address(tmp_path):
    smoke = load_config(Path("smoke"))
    assert offered(smoke, graph(smoke), tmp_path).files == {}
