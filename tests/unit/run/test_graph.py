"""The graph says of every stage what it reads, writes and is made of."""

from pathlib import Path

import pytest
import yaml

from retort.config import RetortConfig
from retort.run.code_hash import SKELETON, closure
from retort.run.graph import BY_NAME, STAGES, expand, keys_of, producers, source_files, task_of, tasks


@pytest.fixture
def config():
    return RetortConfig.model_validate(
        {
            "teacher": {"type": "transformers", "model": "data/teacher"},
            "student": {"model": "data/student", "chat_template": "data/chat.jinja"},
            "prompts": {"sources": [{"path": "data/a.jsonl"}], "decontaminate": ["data/test.jsonl"]},
            "teacher_responses": {"shards": [0, 1]},
            "evaluate": {
                "models": ["sft", "ppo"],
                "benchmarks": [
                    {"name": "heldout"},
                    {"name": "gsm8k", "task": "gsm8k", "data": {"test": "data/test.jsonl"}},
                ],
            },
        }
    )


def test_every_dependency_is_written_by_an_earlier_stage():
    for place, stage in enumerate(STAGES):
        assert {other.name for other in producers(stage)} <= {other.name for other in STAGES[:place]}
        written = {path for other in STAGES[:place] for path in other.written}
        assert set(stage.deps) - {"outputs/models/{model}"} <= written


def test_no_two_stages_write_the_same_path():
    written = [path for stage in STAGES for path in stage.written]
    assert len(written) == len(set(written))


def test_every_declared_parameter_exists():
    for stage in STAGES:
        for key in stage.params:
            section, _, name = key.partition(".")
            field = RetortConfig.model_fields[section]
            assert not name or name in field.annotation.model_fields


def test_every_stage_has_its_module_and_depends_on_it():
    for stage in STAGES:
        assert f"retort/stages/{stage.module or stage.name}.py" in stage.code()


def test_a_stage_that_does_not_train_is_not_rerun_when_ppo_code_changes():
    for stage in STAGES:
        if stage.name not in ("ppo", "sft_equal_compute"):
            assert not any(file.startswith("retort/trainers/ppo/") for file in stage.code()), stage.name


def test_tasks_are_named_as_dvc_names_them(config):
    assert [task.address for task in tasks(config, BY_NAME["teacher_responses"])] == [
        "teacher_responses@0",
        "teacher_responses@1",
    ]
    assert [task.address for task in tasks(config, BY_NAME["evaluate"])] == [
        "evaluate@sft-heldout",
        "evaluate@sft-gsm8k",
        "evaluate@ppo-heldout",
        "evaluate@ppo-gsm8k",
    ]
    assert tasks(config, BY_NAME["evaluate"])[3].command == "retort stage evaluate --model ppo --benchmark gsm8k"


def test_the_item_of_a_task_names_it(config):
    for stage in STAGES:
        for task in tasks(config, stage):
            assert task_of(stage, task.item) == task


def test_a_dependency_on_shards_stands_for_all_of_them(config):
    pattern = "outputs/teacher_responses/shard-{shard}.parquet"
    assert expand(config, BY_NAME["votes"], pattern) == [
        "outputs/teacher_responses/shard-0.parquet",
        "outputs/teacher_responses/shard-1.parquet",
    ]
    assert keys_of(pattern) == {"shard"}
    # Evaluation of one model reads that model alone: its own key stays.
    assert expand(config, BY_NAME["evaluate"], "outputs/models/{model}") == ["outputs/models/{model}"]


def test_source_files_are_those_that_exist_for_models_and_all_for_data(config, tmp_path):
    (tmp_path / "data/teacher").mkdir(parents=True)
    (tmp_path / "data/chat.jinja").write_text("")
    assert source_files(config, BY_NAME["prompts"], tmp_path) == ["data/a.jsonl", "data/test.jsonl"]
    assert source_files(config, BY_NAME["models"], tmp_path) == ["data/chat.jinja", "data/teacher"]
    assert source_files(config, BY_NAME["evaluate"], tmp_path) == ["data/test.jsonl"]
    assert source_files(config, BY_NAME["ppo"], tmp_path) == []


def package(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = tmp_path / "pack" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "pack"


def test_the_closure_follows_imports_inside_functions_and_of_packages(tmp_path):
    folder = package(
        tmp_path,
        {
            "__init__.py": "",
            "a.py": "import json\n\ndef run():\n    from pack import b\n",
            "b.py": "from pack.deep.c import thing\n",
            "deep/__init__.py": '"""Documents only."""\n',
            "deep/c.py": "import pack.a\nthing = 1\n",
            "other.py": "x = 1\n",
        },
    )
    assert closure("pack.a", folder) == ("pack/a.py", "pack/b.py", "pack/deep/c.py")


def test_code_in_a_package_that_is_imported_counts(tmp_path):
    folder = package(tmp_path, {"a.py": "import pack.deep.c\n", "deep/__init__.py": "y = 2\n", "deep/c.py": "x = 1\n"})
    assert closure("pack.a", folder) == ("pack/a.py", "pack/deep/__init__.py", "pack/deep/c.py")


def test_no_stage_loads_a_module_whose_name_the_closure_cannot_read():
    files = {file for stage in STAGES for file in stage.code()}
    dynamic = [file for file in files if "import_module(" in Path(file).read_text()]
    assert dynamic == []


def test_the_skeleton_exists():
    for name in SKELETON:
        place = Path(*name.split("."))
        assert place.with_suffix(".py").exists() or place.is_dir()


def test_the_committed_dvc_yaml_follows_params_and_graph():
    from retort.config import load_config
    from retort.run.workspace import dvc_yaml

    assert Path("dvc.yaml").read_text() == dvc_yaml(load_config(Path("params.yaml")))


def test_the_committed_params_say_every_value():
    from retort.config import load_config, resolved

    assert yaml.safe_load(Path("params.yaml").read_text()) == resolved(load_config(Path("params.yaml")))
