"""What makes a task run again: the code that the configuration uses, and nothing that only reads differently."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retort.config import RetortConfig
from retort.run import code_hash
from retort.run.code_hash import NOT_HASHED, PACKAGE, closure, file_hashes
from retort.run.tasks import graph

BASE = {
    "models": {"teacher": {"source": "hub/teacher"}, "base": {"source": "hub/student"}},
    "prompts": {"sources": [{"path": "p.jsonl"}]},
}
OPEN = {"answer": "open", "judge": {"model": {"engine": {"type": "openai", "base_url": "http://j/v1", "model": "j"}}}}
ENDPOINT = {
    "models": {
        "teacher": {"engine": {"type": "openai", "base_url": "http://x/v1", "model": "m"}},
        "base": {"source": "hub/student"},
    }
}


def made(**more):
    return {task.address: task for task in graph(RetortConfig.model_validate(BASE | more))}


def using(file, **more):
    """Addresses of the tasks that a file of the package counts for."""
    return {address for address, task in made(**more).items() if file in file_hashes(task.modules, task.without)}


def package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / "pack" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def pack(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    code_hash._folder.cache_clear()
    yield lambda files: package(tmp_path, files)
    sys.modules.pop("pack", None)
    for cached in (closure, code_hash._folder, code_hash._hash):
        cached.cache_clear()


def names(*modules):
    return [name for name, _ in closure(modules)]


def test_the_closure_follows_imports_inside_functions_of_packages_and_relative_ones(pack):
    pack(
        {
            "__init__.py": "",
            "a.py": "import json\n\ndef run():\n    from pack import b\n",
            "b.py": "from .deep.c import thing\n",
            "deep/__init__.py": '"""Documents only."""\n',
            "deep/c.py": "import pack.a\nfrom . import d\nthing = 1\n",
            "deep/d.py": "y = 1\n",
            "other.py": "x = 1\n",
        }
    )
    assert names("pack.a") == ["pack/a.py", "pack/b.py", "pack/deep/c.py", "pack/deep/d.py"]


def test_code_in_a_package_that_is_imported_counts(pack):
    pack({"__init__.py": "", "a.py": "import pack.deep.c\n", "deep/__init__.py": "y = 2\n", "deep/c.py": "x = 1\n"})
    assert names("pack.a") == ["pack/a.py", "pack/deep/__init__.py", "pack/deep/c.py"]


def test_a_plugin_of_another_package_counts_with_what_it_uses_of_retort(pack):
    pack({"__init__.py": "", "a.py": "from retort.text.numbers import *\nx = 1\n"})
    assert {"pack/a.py", "retort/text/numbers.py"} <= set(names("pack.a"))


def test_comments_docstrings_blank_lines_and_line_numbers_change_no_hash_and_code_does(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('"""One."""\n\n\ndef f(x):\n    """Two."""\n    return x + 1  # three\n')
    before = code_hash._hash(file)

    def now(text):
        file.write_text(text)
        code_hash._hash.cache_clear()
        return code_hash._hash(file)

    assert now('"""Another."""\n# more\n\ndef f(x):\n    # and more\n    return (x + 1)\n') == before
    assert now("def f(x):\n    return x + 1\n") == before
    assert now("def f(x):\n    return x + 2\n") != before
    assert now("def f(x):\n    return '# three'\n") != now("def f(x):\n    return '# four'\n")


def test_a_comment_in_any_file_of_the_package_changes_no_hash(tmp_path):
    """The package is copied, every file gets a comment and a longer docstring, and a new process hashes it."""
    shutil.copytree(PACKAGE, tmp_path / "retort", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for file in (tmp_path / "retort").rglob("*.py"):
        text = file.read_text()
        tree = ast.parse(text)
        if tree.body and ast.get_docstring(tree):
            text = text.replace('"""', '"""Said anew. ', 1)
        file.write_text(f"# first\n{text}\n# last\n")
    ask = (
        "from retort.config import RetortConfig; from retort.run.tasks import graph; import json, sys;"
        "print(json.dumps({t.address: t.code() for t in graph(RetortConfig.model_validate(json.loads(sys.argv[1])))}))"
    )
    import json

    def codes(folder):
        done = subprocess.run(
            [sys.executable, "-c", ask, json.dumps(BASE)], cwd=folder, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    # `python -c` looks in the working folder first.
    assert codes(tmp_path) == codes(PACKAGE.parent)


def test_each_engine_counts_for_the_tasks_that_it_answers_alone():
    assert using("retort/engines/vllm.py") == set()
    teacher = BASE["models"] | {"teacher": {"source": "hub/teacher", "engine": {"type": "vllm"}}}
    assert using("retort/engines/vllm.py", models=teacher) == {"teacher_responses-0", "evaluate-teacher-heldout"}
    served = {"rollout_engine": {"type": "vllm"}}
    assert using("retort/engines/vllm_rollouts.py", ppo=served) == {"ppo-ppo"}
    assert using("retort/engines/endpoint.py") == set()
    assert "teacher_responses-0" in using("retort/engines/endpoint.py", **ENDPOINT)
    assert "teacher_responses-0" not in using("retort/engines/local.py", **ENDPOINT)


def test_the_judge_counts_only_in_a_run_that_asks_it():
    assert using("retort/judge/prompts.py") == set()
    assert using("retort/judge/prompts.py", **OPEN) == {
        *("votes", "sft-sft", "reward_data-learned", "ppo-ppo"),
        *(f"evaluate-{name}-heldout" for name in ("teacher", "base", "sft", "ppo")),
    }


def test_each_method_and_reward_counts_for_its_own_students():
    assert using("retort/trainers/ppo/maths.py") == {"ppo-ppo"}
    assert using("retort/trainers/sft/train.py") == {"sft-sft"}
    students = {"sft": {"method": "sft", "from": "base"}, "ppo": {"method": "ppo", "from": "sft", "reward": "vote"}}
    voted = {"students": students, "rewards": {"vote": {"type": "vote"}}}
    assert using("retort/rewards/vote.py", **voted) == {"ppo-ppo"}
    assert using("retort/rewards/learned/model.py", **voted) == set()
    assert using("retort/rewards/learned/model.py") == {"reward-learned", "ppo-ppo"}


def test_the_harness_counts_for_its_own_tasks():
    assert using("retort/evaluation/harness.py") == set()


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": 3},
        {"timeout_s": 5.0},
        {"max_retries": 1},
        {"prompt_cost": 9.0, "response_cost": 9.0},
        {"base_url": "http://elsewhere/v1"},
        {"api_key_env": "OTHER_KEY"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_speed_patience_price_address_and_key_touch_no_task(change):
    from retort.config import resolved
    from retort.config.load import pick

    def told(engine):
        config = RetortConfig.model_validate(BASE | {"models": ENDPOINT["models"] | {"teacher": {"engine": engine}}})
        return {task.address: (task.code(), pick(resolved(config), task.params)) for task in graph(config)}

    engine = ENDPOINT["models"]["teacher"]["engine"]
    assert told(engine) == told(engine | change)
    assert told(engine) != told(engine | {"model": "another"})


def test_what_is_not_hashed_exists():
    for name in NOT_HASHED:
        place = PACKAGE.parent.joinpath(*name.split("."))
        assert place.with_suffix(".py").exists() or place.is_dir()


def test_no_hashed_module_loads_modules_by_a_name_that_cannot_be_read():
    files = {file for task in made(**OPEN).values() for _, file in closure(task.modules, frozenset(task.without))}
    assert [file for file in files if "import_module(" in file.read_text()] == []
