"""The toys of the guide on extending, outside the package: in dvc.yaml, pipeline, plan, run and report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from retort_pipelines.graph import compile as compiling
from retort_pipelines.profiles import Profile
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config
from retort.errors import ConfigError
from retort.pod.settings import parameter_of
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import create, dvc_yaml
from tests.guide import code_blocks, write_python_files

CHECKOUT = Path(__file__).parents[2]
PROBLEMS = {"path": "retort/demo/assets/prompts.jsonl", "prompt_field": "question", "answer_field": "answer"}
TINY = {
    # Without the demonstration's unlabelled prompts: none of the guide's students trains on such.
    "prompts": {"sources": [PROBLEMS], "limit": 24, "validation": 12, "test": 10},
    "teacher_responses": {"samples": 1, "shards": [0], "temperatures": [1.0]},
    "sft": {"steps": 2, "batch_size": 8},
    "evaluate": {"max_new_tokens": 24},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder of a user's with the guide's files, and a configuration that uses them."""
    monkeypatch.chdir(tmp_path)
    assert write_python_files("extending.md", tmp_path) == [
        *("my_reward.py", "my_method.py", "my_engine.py", "my_benchmark.py")
    ]
    values = yaml.safe_load(code_blocks("extending.md", "yaml")[0])
    values = {**values, **TINY, "evaluate": {**values["evaluate"], **TINY["evaluate"]}}
    file = tmp_path / "toys.yaml"
    file.write_text(yaml.safe_dump({"extends": str(CHECKOUT / "configs/demo.yaml"), **values}, sort_keys=False))
    return tmp_path, file


def test_the_toys_are_tasks_of_dvc_and_of_the_pipeline_with_their_files_as_inputs(project):
    folder, file = project
    config = load_config(file)
    made = graph(config)
    stages = yaml.safe_load(dvc_yaml(made))["stages"]
    assert stages["best-short"]["cmd"] == "retort stage best --student short"
    assert {"my_method.py", "my_reward.py", "outputs/models/sft"} <= set(stages["best-short"]["deps"])
    assert "best.steps" not in stages["best-short"]["params"]  # the entry says it
    assert "students.short.steps" in stages["best-short"]["params"]
    assert "my_benchmark.py" in stages["evaluate-sft-sums"]["deps"]
    assert "my_engine.py" in stages["evaluate-adder-heldout"]["deps"]
    assert "my_benchmark.py" not in stages["evaluate-sft-heldout"]["deps"]
    compiling.compile(config, Profile(), folder / "pipeline.yaml")
    pipeline = next(yaml.safe_load_all((folder / "pipeline.yaml").read_text()))
    assert {parameter_of("best_short"), parameter_of("evaluate-adder")} <= set(
        pipeline["root"]["inputDefinitions"]["parameters"]
    )
    assert "comp-best-short" in pipeline["components"]


def test_the_plan_lists_a_method_that_has_none(project):
    _, file = project
    done = CliRunner().invoke(app, ["plan", str(file)])
    assert done.exit_code == 0, done.output
    assert "best-short" in done.output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_toys_run_and_are_in_the_report(project, monkeypatch):
    folder, file = project
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    root = folder / "runs/toys"
    create(root, load_config(file), home=folder, remote="runs/.remote", cache=Path("runs/.cache"))
    assert "best-short" in dvc_adapter.reproduce(root)
    report = json.loads((root / "outputs/report/metrics.json").read_text())
    assert report["final_model"] == "short"
    assert {"adder", "short", "sft"} <= set(report["models"])
    sums = report["benchmarks"]["sums"]["models"]
    assert sums["adder"]["accuracy"] == 1.0  # it adds; the rule gives a point for each sum
    assert {"short_minus_sft", "short_minus_adder"} <= set(report["paired"])
    assert json.loads((root / "metrics/best-short.json").read_text())["steps"] == 4
    # A change in the reward's file makes its student again, and not the other; one of the engine's speed nothing.
    (folder / "my_reward.py").write_text((folder / "my_reward.py").read_text() + "\n\nWEIGHT = 2\n")
    values = yaml.safe_load(file.read_text())
    values["models"]["adder"]["engine"]["batch"] = 5
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    create(root, load_config(file), home=folder, remote="runs/.remote", cache=Path("runs/.cache"))
    ran = dvc_adapter.reproduce(root)
    assert "best-short" in ran
    assert not {"sft-sft", "evaluate-adder-heldout", "evaluate-sft-heldout"} & set(ran)


def install(folder: Path, entries: str, files: dict[str, str]) -> dict[str, str]:
    """A package as pip leaves one: modules and a dist-info with entry points; the environment that sees it."""
    place = folder / "site"
    (place / "toys-1.0.dist-info").mkdir(parents=True)
    (place / "toys-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (place / "toys-1.0.dist-info/entry_points.txt").write_text(entries)
    (place / "toys").mkdir()
    for name, text in {"__init__.py": "", **files}.items():
        (place / "toys" / name).write_text(text)
    return {**os.environ, "PYTHONPATH": str(place)}


def ask(folder: Path, file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retort", "graph", "--config", str(file), "--json"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def registered(folder: Path, file: Path) -> Path:
    """The configuration with registered names in place of paths."""
    text = file.read_text()
    for path, name in (
        ("my_method.py:METHOD", "best"),
        ("my_engine.py:ENGINE", "adder"),
        ("my_benchmark.py:BENCHMARK", "sums"),
    ):
        text = text.replace(path, name)
    (folder / "registered.yaml").write_text(text)
    return folder / "registered.yaml"


ENTRIES = """\
[retort.methods]
best = toys.method:METHOD
[retort.engines]
adder = toys.engine:ENGINE
[retort.benchmarks]
sums = toys.benchmark:BENCHMARK
"""


def test_a_package_registers_the_same_toys_and_its_code_counts(project):
    folder, file = project
    files = {
        "method.py": (folder / "my_method.py").read_text(),
        "engine.py": (folder / "my_engine.py").read_text().replace("my_engine.py:ENGINE", "adder"),
        "benchmark.py": (folder / "my_benchmark.py").read_text().replace("my_benchmark.py:BENCHMARK", "sums"),
    }
    environment = install(folder, ENTRIES, files)
    done = ask(folder, registered(folder, file), environment)
    assert done.returncode == 0, done.stderr
    tasks = {task["address"]: task for task in json.loads(done.stdout)}
    assert "toys.method" in tasks["best-short"]["modules"]
    assert "toys.engine" in tasks["evaluate-adder-sums"]["modules"]
    assert "toys.benchmark" in tasks["evaluate-adder-sums"]["modules"]
    assert tasks["best-short"]["sources"] == ["my_reward.py"]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            "import nothing_like_this\n",
            ["does not import", "No module named 'nothing_like_this'", "toys.method:METHOD"],
        ),
        ("METHOD = 3\n", ["is a int, where a retort.plugins.Method is needed", "by package toys 1.0"]),
        ("x = 1\n", ["does not import", "has no attribute 'METHOD'"]),
        (
            "from retort.config.training import SFTConfig\nfrom retort.plugins import Method\n"
            "METHOD = Method('other', SFTConfig, print)\n",
            ["calls itself 'other'. Register it under that name"],
        ),
    ],
    ids=["does not import", "is something else", "is not there", "has another name"],
)
def test_a_registration_that_cannot_be_used_is_refused_with_its_name_and_cause(project, method, words):
    folder, file = project
    config = folder / "one.yaml"
    values = yaml.safe_load(file.read_text())
    values["students"]["short"]["method"] = "best"
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    done = ask(folder, config, install(folder, ENTRIES, {"method.py": method}))
    assert done.returncode == 64
    assert "students.short.method" in done.stderr
    for one in words:
        assert one in done.stderr


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("method", "my_methd.py:METHOD", "my_methd.py does not exist"),
        ("method", "my_method.py:METHD", "defines no 'METHD'; it has METHOD"),
        ("method", "my_reward.py:score", "is a function, where a retort.plugins.Method is needed"),
        ("keep", "half", r"students.short.keep: Input should be a valid number"),
        ("kep", 0.5, r"unknown key 'kep'; did you mean 'keep'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_when_the_configuration_is_read(project, key, value, words):
    folder, file = project
    values = yaml.safe_load(file.read_text())
    values["students"]["short"][key] = value
    (folder / "wrong.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(ConfigError, match=words):
        load_config(folder / "wrong.yaml")
