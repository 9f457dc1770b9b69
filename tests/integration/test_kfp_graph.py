"""The compiled pipeline and `dvc.yaml` are one graph: stages, tasks, edges, parameters, and what tasks ask for."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from retort_components.stages import OF_THE_RUN
from retort_pipelines.graph import compile as compiling
from retort_pipelines.graph.compile import arguments
from retort_pipelines.graph.offered import offered
from retort_pipelines.graph.placement import NEVER_CACHED
from retort_pipelines.profiles import Profile

from retort.config import load_config, resolved
from retort.config.load import pick
from retort.pod.kept_settings import read
from retort.pod.settings import CONFIGURATION, INTERNAL, OPERATION, parameter_of, typed_of
from retort.run.known_stages import known_stages
from retort.run.tasks import graph
from retort.run.workspace import create, dvc_yaml


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    values = {
        "models": {
            "teacher": {
                "engine": {"type": "openai", "base_url": "http://llm/v1", "model": "m", "concurrency": 7},
            },
            "base": {"source": "hub/student"},
        },
        "students": {
            "sft": {"method": "sft", "from": "base"},
            "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
            "sft_more": {"method": "sft", "from": "base", "compute_of": "ppo"},
            "ppo2": {"method": "ppo", "from": "ppo", "reward": "learned2", "engine": {"type": "vllm"}},
        },
        "rewards": {
            "learned": {"type": "model"},
            "learned2": {"type": "model", "trunk": "ppo", "likelihood": ["ppo"], "responses": ["teacher", "ppo"]},
        },
        "prompts": {"sources": [{"path": "data/prompts.jsonl"}], "decontaminate": ["data/gsm8k.jsonl"]},
        "teacher_responses": {"shards": [0, 1, 2]},
        "evaluate": {
            "models": ["teacher", "sft", "ppo", "ppo2"],
            "benchmarks": [
                {"name": "heldout"},
                {"name": "gsm8k", "task": "gsm8k", "data": {"test": "data/gsm8k.jsonl"}},
            ],
        },
    }
    file.write_text(json.dumps(values))
    return load_config(file)


PROFILE = Profile.model_validate(
    {
        "parallelism": 3,
        "images": {"train": "registry/train:1", "generate": "registry/generate:1", "pull_secrets": ["registry"]},
        "secrets": {"store": "s3"},
        "tables": {"memory": "2Gi"},
        "models": {
            "cpu": "4",
            "memory": "32Gi",
            "gpus": 1,
            "shm": "8Gi",
            "scratch": "50Gi",
            "timeout_hours": 2,
            "queue": "gpus",
            "priority": "low",
            "node_selector": {"nvidia.com/gpu.product": "H100"},
            "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
        },
        "stages": {"ppo": {"gpus": 4, "memory": "64Gi", "scratch_class": "fast"}},
    }
)


@pytest.fixture(scope="module")
def documents(config, tmp_path_factory):
    file = tmp_path_factory.mktemp("compiled") / "distil.yaml"
    compiling.compile(config, PROFILE, file)
    return list(yaml.safe_load_all(file.read_text()))


@pytest.fixture(scope="module")
def compiled(documents):
    return Compiled(documents[0])


class Compiled:
    """Stages, edges and tasks of a compiled pipeline, read from its YAML alone."""

    def __init__(self, document):
        self.document = document
        self.edges: dict[str, set[str]] = {}
        """By parameter with a group's settings: those of the groups that it reads from."""
        self.functions: dict[str, str] = {}
        """Function of each group's pods."""
        self.items: dict[str, set[str]] = {}
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
            elif "taskFinalStatus" in value:
                continue
            else:
                constant = value["runtimeValue"]["constant"]
                given[name] = {f"items {json.dumps(constant)}"} if isinstance(constant, list) else set()
        component = self.document["components"][task["componentRef"]["name"]]
        if "dag" in component:
            made = self._walk(component, given)
            for items in given.get("items", ()):
                (group,) = made
                self.items.setdefault(group, set()).update(json.loads(items.removeprefix("items ")))
            return made
        container = self.document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        function = container["args"][container["args"].index("--function_to_execute") + 1]
        upstream = {
            name for key, origins in given.items() if key != "settings" for name in origins if name.startswith(INTERNAL)
        }
        if function == "collect":
            return upstream
        if function == "parameters":  # checks what was given, and tells `prompts`
            return given["prompts"]
        if function in ("record", "summary"):
            return set()
        (group,) = (origin.removeprefix("argument ") for origin in given["settings"])
        self.edges.setdefault(group, set()).update(upstream)
        self.functions[group] = function
        constant = task["inputs"]["parameters"]["item"].get("runtimeValue", {}).get("constant")
        self.items.setdefault(group, set()).update([] if constant is None else [constant])
        return {group}


def test_tasks_are_those_of_the_graph(compiled, config):
    groups = graph(config).groups
    assert compiled.items == {parameter_of(name): {task.item for task in tasks} for name, tasks in groups.items()}


def test_each_group_runs_the_component_of_its_stage(compiled, config):
    groups = graph(config).groups
    assert compiled.functions == {parameter_of(name): tasks[0].stage.name for name, tasks in groups.items()}


def test_edges_are_those_of_the_graph(compiled, config):
    made = graph(config)
    assert compiled.edges == {
        parameter_of(name): {parameter_of(maker.group) for task in tasks for maker in made.producers(task)}
        for name, tasks in made.groups.items()
    }


def test_dvc_sees_the_same_edges(toy):
    from dvc.repo import Repo

    run = toy()
    made = graph(run.config, run.home)
    create(Path("runs/toy"), run.config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    found: dict[str, set[str]] = {task.address: set() for task in made}
    with contextlib.chdir("runs/toy"), Repo() as repo:
        for stage, needed in repo.index.graph.edges:
            found[stage.addressing].add(needed.addressing)
    assert found == {task.address: {maker.address for maker in made.producers(task)} for task in made}


def test_each_group_is_told_its_own_parameters_and_no_other(config):
    declared = yaml.safe_load(dvc_yaml(graph(config)))["stages"]
    given = arguments(config, remote="memory://bucket/store", files={})
    for name, tasks in graph(config).groups.items():
        told = read(given[parameter_of(name)])
        told = told.filled([f"{one.key}={given[one.name]}" for one in typed_of(config, tasks)])
        keys = [key for key in declared[tasks[0].address]["params"] if isinstance(key, str)]
        assert told.params == pick(resolved(config), keys)
        assert told.code == {task.item: task.code() for task in tasks}
        assert [task.address for task in told.tasks.values()] == [task.address for task in tasks]


def changed(config, tmp_path, *changes):
    """Names of the arguments that differ when a value of the configuration does."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(resolved(config), sort_keys=False))
    other = load_config(tmp_path / "config.yaml", changes=changes)
    before, after = (arguments(one, remote="memory://bucket/store", files={}) for one in (config, other))
    return {name for name in before if before[name] != after[name]} - {CONFIGURATION}


def test_a_changed_parameter_changes_the_settings_of_its_own_tasks_alone(config, tmp_path):
    assert changed(config, tmp_path, "ppo.iterations=7") == {*map(parameter_of, ("ppo-ppo", "ppo-ppo2"))}
    assert changed(config, tmp_path, "students.ppo2.iterations=7") == {*map(parameter_of, ("ppo-ppo2", "report"))}


def test_speed_patience_prices_and_addresses_change_no_settings(config, tmp_path):
    engine = "models.teacher.engine"
    changes = [f"{engine}.concurrency=9", f"{engine}.prompt_cost=3", f"{engine}.base_url=http://x/v1"]
    assert changed(config, tmp_path, *changes, "tracker={type: mlflow}", "sft.checkpoint_steps=9") == set()


def test_the_whole_configuration_is_an_argument_that_only_its_check_reads(config, documents):
    from retort_pipelines.runs.runs import config_of

    found, remote = config_of(arguments(config, remote="memory://bucket/store", files={}))
    assert (found, remote) == (config, "memory://bucket/store")
    assert list(found.students) == list(config.students)
    readers = {
        name
        for component in documents[0]["components"].values()
        for name, task in component.get("dag", {}).get("tasks", {}).items()
        for given in task.get("inputs", {}).get("parameters", {}).values()
        if given.get("componentInputParameter", "").endswith(CONFIGURATION)
    }
    assert readers == {"parameters"}


def executors(documents):
    """Stage, container and pod settings of every executor, one a group."""
    placed = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in documents[0]["deploymentSpec"]["executors"].items():
        container = executor["container"]
        stage = container["args"][container["args"].index("--function_to_execute") + 1]
        yield stage, container, placed[label]


def test_stages_with_models_get_the_gpus_nodes_and_volumes_of_the_profile_and_others_do_not(config, documents):
    known, seen = known_stages(), set()
    with_models = {name for name, stage in known.items() if stage.uses == "models"}
    for stage, container, pod in executors(documents):
        resources = container["resources"]
        if stage in with_models:
            seen.add(stage)
            assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
            assert resources["accelerator"]["resourceCount"] == ("4" if stage == "ppo" else "1")
            assert resources["resourceMemoryLimit"] == ("64Gi" if stage == "ppo" else "32Gi")
            assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
            assert pod["nodeSelector"]["labels"] == {"nvidia.com/gpu.product": "H100"}
            shm, *scratch = pod["emptyDirMounts"]
            assert (shm["mountPath"], shm["medium"], shm["sizeLimit"]) == ("/dev/shm", "Memory", "8Gi")  # noqa: S108
            if stage == "ppo":  # the one with a storage class
                assert scratch == []
                (volume,) = pod["genericEphemeralVolume"]
                assert (volume["mountPath"], volume["size"], volume["storageClassName"]) == ("/scratch", "50Gi", "fast")
            else:
                assert [(one["mountPath"], one["sizeLimit"]) for one in scratch] == [("/scratch", "50Gi")]
                assert "genericEphemeralVolume" not in pod
            assert {"name": "TMPDIR", "value": "/scratch"} in container["env"]
            assert pod["activeDeadlineSeconds"] == "7200"
            labels = {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "low"}
            assert pod["podMetadata"]["labels"] == labels | ({"retort/training": "true"} if known[stage].trains else {})
        else:
            assert "accelerator" not in resources
            assert resources["resourceMemoryLimit"] == "2Gi"
            assert not {"tolerations", "nodeSelector", "emptyDirMounts", "genericEphemeralVolume"} & set(pod)
    assert seen == with_models & {task.stage.name for task in graph(config)}


def test_every_pod_is_the_images_numeric_user_and_knows_secrets_by_name_only(documents):
    text = json.dumps(documents)
    for _, container, pod in executors(documents):
        assert container["image"] in ("registry/train:1", "registry/generate:1")
        assert pod["securityContext"] == {"runAsUser": "65532", "runAsGroup": "65532", "runAsNonRoot": True}
        names = [secret["secretNameParameter"]["runtimeValue"]["constant"] for secret in pod["secretAsEnv"]]
        assert names == ["s3", "retort-models"]
        assert all(secret["optional"] for secret in pod["secretAsEnv"])
        assert [one["secretName"] for one in pod["imagePullSecret"]] == ["registry"]
        (run,) = pod["fieldPathAsEnv"]
        assert (run["name"], run["fieldPath"]) == ("RETORT_RUN", "metadata.labels['pipeline/runid']")
    assert "AWS_SECRET_ACCESS_KEY=" not in text


def test_pods_reach_a_tracker_by_a_secret_and_call_the_run_by_its_name(tmp_path, config):
    told = load_config(Path("smoke"), changes=["tracker={type: mlflow}"])
    path = tmp_path / "tracked.yaml"
    compiling.compile(told, Profile(), path, run="monday")
    documents = list(yaml.safe_load_all(path.read_text()))
    tracked = {
        label
        for label, _, pod in executors(documents)
        if "retort-tracker" in json.dumps(pod["secretAsEnv"]) and "MLFLOW_TRACKING_PASSWORD" in json.dumps(pod)
    }
    everyone = {label for label, _, _ in executors(documents)}
    assert {label.removeprefix("exec-") for label in everyone - tracked} == {*OF_THE_RUN} - {"refresh"}
    for label, container, _ in executors(documents):
        env = {one["name"]: one.get("value") for one in container["env"]}
        if label in tracked:
            assert json.loads(env[OPERATION])["tracker"]["run"] == "monday"
    given = arguments(told, remote="memory://b/f", files={})
    assert "mlflow" not in json.dumps({name: value for name, value in given.items() if name != CONFIGURATION})


def test_pods_get_the_image_of_their_engine_and_the_values_that_are_no_cache_key(documents):
    executors_ = documents[0]["deploymentSpec"]["executors"]
    images = {label: one["container"]["image"] for label, one in executors_.items()}
    assert {label for label, image in images.items() if image == "registry/generate:1"} == {"exec-evaluate-ppo2"}
    env = {one["name"]: one["value"] for one in executors_["exec-teacher-responses"]["container"]["env"]}
    assert json.loads(env[OPERATION])["models"]["teacher"]["engine"]["concurrency"] == 7
    assert OPERATION not in json.dumps(executors_["exec-votes"])


def test_no_retries_are_said_too_for_argos_default_is_six(config, tmp_path):
    compiling.compile(config, PROFILE.model_copy(update={"retries": 0}), tmp_path / "distil.yaml")
    (document, *_) = yaml.safe_load_all((tmp_path / "distil.yaml").read_text())
    policies = [
        task.get("retryPolicy")
        for component in [document["root"], *document["components"].values()]
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "executorLabel" in document["components"][task["componentRef"]["name"]]
    ]
    assert policies
    for policy in policies:
        assert policy is not None
        assert policy.get("maxRetryCount", 0) == 0


def test_every_task_is_retried_with_patience_and_all_that_have_contents_are_cached(documents):
    for component in [documents[0]["root"], *documents[0]["components"].values()]:
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            if "executorLabel" in documents[0]["components"][task["componentRef"]["name"]]:
                assert task["retryPolicy"]["maxRetryCount"] == 3
                assert task["retryPolicy"]["backoffDuration"] == "30s"
                # Counted from the first attempt: must exceed every attempt's time together.
                assert task["retryPolicy"]["backoffMaxDuration"] == f"{30 * 24 * 3600}s"
                assert bool(task["cachingOptions"].get("enableCache")) == (name not in NEVER_CACHED)


def test_shards_are_run_a_few_at_a_time(config, documents):
    loops = [
        task
        for component in documents[0]["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    fanned = [tasks for tasks in graph(config).groups.values() if tasks[0].stage.fan is not None]
    assert len(loops) == len(fanned) >= 7  # responses, what is read of them by shard, and one a model
    assert {task["iteratorPolicy"]["parallelismLimit"] for task in loops} == {3}


def test_the_run_ends_with_a_summary_whatever_happens(documents):
    task = documents[0]["root"]["dag"]["tasks"]["summary"]
    assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_a_place_is_no_input_of_a_task_so_that_moving_a_run_keeps_its_cache(documents, config):
    inputs = set(documents[0]["root"]["inputDefinitions"]["parameters"])
    values = {one.name for one in offered(config, graph(config), Path()).parameters}
    assert inputs == {*map(parameter_of, graph(config).groups), CONFIGURATION, *values}


def test_no_argument_spans_lines(config):
    for value in arguments(config, remote="memory://bucket/store", files={}).values():
        assert "\n" not in str(value)


@pytest.fixture(scope="module")
def scheduled(config, tmp_path_factory):
    from kfp import compiler
    from retort_pipelines.graph.distil import Schedule, build

    file = tmp_path_factory.mktemp("scheduled") / "distil.yaml"
    schedule = Schedule("weekly", "plan-1", {"data/prompts.jsonl": "s3://exports/prompts.jsonl"})
    compiler.Compiler().compile(build(config, PROFILE, schedule=schedule), str(file))
    return next(yaml.safe_load_all(file.read_text()))


def test_a_scheduled_run_does_nothing_unless_its_data_changed(scheduled):
    tasks = scheduled["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    stages = {name: task for name, task in tasks.items() if name not in ("parameters", "refresh")}
    assert len(stages) == 1  # everything else is inside the condition
    (condition,) = stages.values()
    assert "refresh-changed'] == true" in condition["triggerPolicy"]["condition"]
    assert tasks["refresh"]["cachingOptions"] == {}
    given = condition["inputs"]["parameters"]["pipelinechannel--refresh-settings"]
    assert given["taskOutputParameter"] == {"outputParameterKey": "settings", "producerTask": "refresh"}


def test_a_stage_that_is_to_run_again_is_neither_remembered_by_kubeflow_nor_by_dvc(config, tmp_path):
    compiling.compile(config, PROFILE, tmp_path / "forced.yaml", forced={"ppo-ppo"})
    document = next(yaml.safe_load_all((tmp_path / "forced.yaml").read_text()))
    tasks_ = {
        name: task
        for component in document["components"].values()
        for name, task in component.get("dag", {}).get("tasks", {}).items()
    }
    assert (tasks_["ppo-ppo"]["cachingOptions"], tasks_["sft-sft"]["cachingOptions"]) == ({}, {"enableCache": True})
    env = document["deploymentSpec"]["executors"]["exec-ppo-ppo"]["container"]["env"]
    assert {"name": "RETORT_FORCE", "value": "1"} in env
