"""The compiled pipeline and `dvc.yaml` are one graph: stages, tasks, edges, parameters, and what tasks ask for."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml

from pipelines import compile as compiling
from pipelines.compile import arguments
from retort.config import load_config, resolved
from retort.config.run import pick
from retort.graph import STAGES, producers, tasks
from retort.workspace import create, dvc_yaml


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    values = {
        "teacher": {"type": "transformers", "model": "hub/teacher"},
        "student": {"model": "hub/student"},
        "prompts": {"sources": [{"path": "data/prompts.jsonl"}]},
        "teacher_responses": {"shards": [0, 1, 2]},
        "evaluate": {
            "models": ["teacher", "sft", "ppo", "sft_equal_compute"],
            "benchmarks": [{"name": "heldout"}, {"name": "gsm8k", "task": "gsm8k", "path": "data/gsm8k.jsonl"}],
        },
    }
    file.write_text(json.dumps(values))
    return load_config(file)


@pytest.fixture(scope="module")
def documents(config, tmp_path_factory):
    file = tmp_path_factory.mktemp("compiled") / "distil.yaml"
    compiling.compile(config, file)
    return list(yaml.safe_load_all(file.read_text()))


@pytest.fixture(scope="module")
def compiled(documents):
    return Compiled(documents[0])


class Compiled:
    """Stages, edges and tasks of a compiled pipeline, read from its YAML alone."""

    def __init__(self, document):
        self.document = document
        self.edges: dict[str, set[str]] = {}
        self.settings: dict[str, set[str]] = {}
        self.addresses: set[str] = set()
        self.functions: dict[str, set[str]] = {}
        root = document["root"]
        self._walk(root, {name: {f"argument {name}"} for name in root["inputDefinitions"]["parameters"]})

    def _walk(self, component, inputs):
        """What each output of a sub-graph comes from, given what its inputs come from."""
        dag, known = component["dag"], {}

        def origin(task_name):
            if task_name not in known:
                known[task_name] = self._task(dag["tasks"][task_name], inputs, origin)
            return known[task_name]

        for name in dag["tasks"]:
            origin(name)
        outputs = dag.get("outputs", {}).get("parameters", {}).values()
        return set().union(*(origin(out["valueFromParameter"]["producerSubtask"]) for out in outputs))

    def _task(self, task, inputs, origin):
        given = {}
        for name, value in task.get("inputs", {}).get("parameters", {}).items():
            if "taskOutputParameter" in value:
                given[name] = origin(value["taskOutputParameter"]["producerTask"])
            elif "componentInputParameter" in value:
                given[name] = inputs.get(value["componentInputParameter"], {"item"})
            else:
                constant = value["runtimeValue"]["constant"]
                given[name] = {f"items {json.dumps(constant)}"} if isinstance(constant, list) else set()
        component = self.document["components"][task["componentRef"]["name"]]
        if "dag" in component:
            made = self._walk(component, given)
            for items in given.get("items", ()):
                (stage,) = made
                self.addresses |= {f"{stage}@{item}" for item in json.loads(items.removeprefix("items "))}
            return made
        container = self.document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        function = container["args"][container["args"].index("--function_to_execute") + 1]
        upstream = {name for origins in given.values() for name in origins if name.isidentifier() and name != "item"}
        if function == "collect":
            return upstream
        self.edges.setdefault(function, set()).update(upstream)
        self.settings.setdefault(function, set()).update(given["settings"])
        if "item" not in given:
            self.addresses.add(function)
        return {function}


def test_tasks_are_those_of_the_graph(compiled, config):
    assert compiled.addresses == {task.address for stage in STAGES for task in tasks(config, stage)}


def test_edges_are_those_of_the_graph(compiled):
    assert compiled.edges == {stage.name: {other.name for other in producers(stage)} for stage in STAGES}


def test_dvc_sees_the_same_edges(toy):
    from dvc.repo import Repo

    made = toy()
    create(Path("runs/toy"), made.config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    found: dict[str, set[str]] = {stage.name: set() for stage in STAGES}
    with contextlib.chdir("runs/toy"), Repo() as repo:
        for stage, needed in repo.index.graph.edges:
            found[stage.addressing.split("@")[0]].add(needed.addressing.split("@")[0])
    assert found == {stage.name: {other.name for other in producers(stage)} for stage in STAGES}


def test_each_stage_is_told_its_own_parameters_and_no_other(compiled, config):
    declared = yaml.safe_load(dvc_yaml(config))["stages"]
    given = arguments(config, remote="s3://bucket/store", files={})
    for stage in STAGES:
        assert compiled.settings[stage.name] == {f"argument {stage.name}_settings"}
        entry = declared[stage.name].get("do", declared[stage.name])
        told = json.loads(given[f"{stage.name}_settings"])
        assert told["params"] == pick(resolved(config), entry["params"])


def test_a_changed_ppo_parameter_changes_the_settings_of_ppo_alone(config):
    changed = config.model_copy(update={"ppo": config.ppo.model_copy(update={"iterations": 7})})
    before, after = (arguments(one, remote="s3://bucket/store", files={}) for one in (config, changed))
    assert {name for name in before if before[name] != after[name]} == {"ppo_settings"}


def test_every_input_that_a_task_asks_for_is_an_input_of_the_graph_around_it(compiled):
    # kfp 2.17 does not pass accelerator parameters on into loops by itself.
    graphs = [compiled.document["root"], *compiled.document["components"].values()]
    for graph in (one for one in graphs if "dag" in one):
        have = set(graph.get("inputDefinitions", {}).get("parameters", {}))
        for task in graph["dag"]["tasks"].values():
            wanted = {
                value["componentInputParameter"]
                for value in task.get("inputs", {}).get("parameters", {}).values()
                if "componentInputParameter" in value
            }
            assert wanted <= have


GPU = {"teacher-responses", "student-responses", "sft", "reward", "ppo", "sft-equal-compute", "evaluate"}


def test_stages_with_models_ask_for_the_gpus_that_the_run_names(documents):
    executors = documents[0]["deploymentSpec"]["executors"]
    placed = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in executors.items():
        name = label.removeprefix("exec-").rstrip("-0123456789")
        accelerator = executor["container"]["resources"].get("accelerator", {})
        on_gpu = name in GPU
        assert ("resourceType" in accelerator) == on_gpu, label
        assert ("tolerations" in placed[label]) == on_gpu
        assert ("nodeSelector" in placed[label]) == on_gpu
        if on_gpu:
            assert "accelerator_limit" in accelerator["resourceCount"]
            assert "accelerator_type" in accelerator["resourceType"]


def test_secrets_are_named_by_the_run_and_optional(documents):
    for placed in documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        names = [secret["secretNameParameter"]["componentInputParameter"] for secret in placed["secretAsEnv"]]
        assert [name.removeprefix("pipelinechannel--") for name in names] == ["store_secret", "model_secret"]
        assert all(secret["optional"] for secret in placed["secretAsEnv"])


def test_every_task_is_retried_with_patience_and_cached(documents):
    for component in [documents[0]["root"], *documents[0]["components"].values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            if "executorLabel" in documents[0]["components"][task["componentRef"]["name"]]:
                assert task["retryPolicy"]["maxRetryCount"] == 3
                assert task["retryPolicy"]["backoffDuration"] == "30s"
                assert task["cachingOptions"] == {"enableCache": True}


def test_no_argument_spans_lines(config):
    for value in arguments(config, remote="s3://bucket/store", files={}).values():
        assert "\n" not in value
