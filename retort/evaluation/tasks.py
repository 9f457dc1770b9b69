"""Tasks of lm-evaluation-harness by name: finding one, and building it with what a benchmark's configuration changes.

The harness indexes a task by reading all of its 14,000 YAML files, which takes half a minute on a slow machine; here
only the families that mention the name are indexed, unless the task turns out to need others.
"""

from __future__ import annotations

import difflib
import importlib.util
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.data import BenchmarkConfig
from retort.errors import ConfigError, InputError, StorageError
from retort.evaluation.local_data import read_splits

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks.manager import TaskDict

DERIVED: dict[str, tuple[str, dict[str, Any]]] = {
    "gsm_plus_cot": ("gsm8k_cot", {"dataset_path": "qintongli/GSM-Plus", "dataset_name": None}),
}
"""Tasks of Retort: one of the harness, and what differs. The harness's own `gsm_plus` draws its examples from the test
questions themselves, so that a variant of the question asked may stand there solved; GSM8K's eight examples do not."""

_KEY = r"""["']?(?:task|group|tag)["']?[ ]*:"""
_NAME = re.compile(
    rf"""^(?:{_KEY}|[ ]*-(?:[ ]*{_KEY})?)[ ]*["']?([^\s"'\[\]{{}}#:,]+)["']?[ ]*(?:#.*)?$""", re.MULTILINE
)
_FEWSHOT_SEED = 1234
"""The harness's default."""


def check_task(name: str) -> None:
    """Refuse a task that the harness does not have.

    Raises:
        ConfigError: naming the nearest ones.
    """
    if name in DERIVED or _families(name):
        return
    files = _folder().glob("*/**/*.yaml")
    if any(name in file.read_text(encoding="utf-8", errors="replace") for file in files):
        return  # written in some other way; building it will tell
    known = {*DERIVED, *(one for family in _every_family() for one in _names(family))}
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`lm_eval ls tasks` lists its tasks."
    raise ConfigError(f"evaluate.benchmarks: lm-evaluation-harness has no task {name!r}. {hint}")


def build_tasks(benchmark: BenchmarkConfig, root: Path) -> TaskDict:
    """The harness's tasks of a benchmark: one, or those of a group or tag.

    Args:
        benchmark: The benchmark.
        root: Workspace, from which its files are named.

    Raises:
        ConfigError: there is no such task, or it reads a split without a file.
        InputError: a file is missing or malformed, or lacks a field that the task reads.
        StorageError: a data set of the hub cannot be fetched.
    """
    import numpy as np
    from lm_eval.tasks._factory import TaskFactory

    check_task(benchmark.task)
    name, changes = DERIVED.get(benchmark.task, (benchmark.task, {}))
    manager = _manager(name)
    if name not in manager.task_index:
        raise ConfigError(f"evaluate.benchmarks: {name!r} is written in lm-evaluation-harness, but is no task of it.")
    changes = {**changes, **_changes(benchmark, root)}
    if name != benchmark.task:
        changes["task"] = benchmark.task
    # As the harness's own command seeds them: some tasks shuffle their options when they are built.
    random.seed(0)
    np.random.seed(_FEWSHOT_SEED)
    with explained_fields(benchmark), _explained_hub(benchmark):
        built = TaskFactory().build(manager.task_index[name], overrides=changes, registry=manager.task_index)
        tasks = manager.load(built if isinstance(built, list) else [built])
    for task in tasks["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    return tasks


def _changes(benchmark: BenchmarkConfig, root: Path) -> dict[str, Any]:
    """What the configuration changes of a task, as fields of the harness's own configuration."""
    changes: dict[str, Any] = {}
    if benchmark.prompt is not None:
        changes["doc_to_text"] = benchmark.prompt
    if benchmark.num_fewshot is not None:
        changes["num_fewshot"] = benchmark.num_fewshot
    if benchmark.num_fewshot == 0:  # then the split of examples is not needed
        changes |= {"training_split": None, "fewshot_split": None, "fewshot_config": {"samples": []}}
    if benchmark.data:
        splits = read_splits(benchmark.name, benchmark.task, benchmark.data, root)
        changes["custom_dataset"] = _given(splits)
    return changes


def _given(splits: Any) -> Callable[..., Any]:
    def custom_dataset(**_: Any) -> Any:
        return splits

    return custom_dataset


@contextmanager
def explained_fields(benchmark: BenchmarkConfig) -> Iterator[None]:
    """Say which task reads a field that rows lack, where a template or function only says that it is not there.

    Raises:
        InputError: naming the files, the task and the field.
    """
    from jinja2 import UndefinedError

    try:
        yield
    except (UndefinedError, KeyError) as error:
        raise InputError(
            f"its rows lack a field that task {benchmark.task!r} reads ({error})",
            file=files_of(benchmark),
            remedy="Give the benchmark's own file, with the columns of its data set on the hub",
        ) from error
    except IndexError as error:
        raise InputError(
            f"it holds no row for one of the tasks that {benchmark.task!r} consists of",
            file=files_of(benchmark),
            remedy="Give the whole file, or name the one task of the group that it is for (mmlu_pro_math, say)",
        ) from error


def files_of(benchmark: BenchmarkConfig) -> str:
    """Where a benchmark's items come from, for messages."""
    return ", ".join(benchmark.data.values()) or f"task {benchmark.task}"


@contextmanager
def _explained_hub(benchmark: BenchmarkConfig) -> Iterator[None]:
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield
    except (DatasetNotFoundError, OSError) as error:
        raise StorageError(
            f"benchmark {benchmark.name!r}: the data set of task {benchmark.task!r} cannot be fetched ({error}). "
            "Connect to the hub, or give its files in `data` (docs/guides/benchmarks.md)."
        ) from error


def _manager(name: str) -> TaskManager:
    """An index of the families that mention `name`; of all where a group among them has members elsewhere."""
    from lm_eval.tasks import TaskManager

    families: list[str | Path] = [_folder() / family for family in _families(name)]
    manager = TaskManager(include_path=families, include_defaults=False)
    index = manager.task_index
    groups = [name]
    while groups:
        entry = index.get(groups.pop())
        if entry is None:
            return TaskManager()
        members = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else []
        names = [one if isinstance(one, str) else one.get("task") or one.get("group") for one in members or []]
        groups += [one for one in names if isinstance(one, str)]
    return manager


def _families(name: str) -> list[str]:
    """Families (folders of the harness's tasks) that mention `name`; those that it begins with are asked first."""
    near = [family for family in _every_family() if name.startswith(family) and name in _names(family)]
    return near or [family for family in _every_family() if name in _names(family)]


def _every_family() -> list[str]:
    return sorted(place.name for place in _folder().iterdir() if place.is_dir())


@cache
def _names(family: str) -> frozenset[str]:
    """Names in a family that stand for tasks, groups, tags or members of them, by their looks."""
    files = sorted((_folder() / family).glob("**/*.yaml"))
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return frozenset(name for text in texts for name in _NAME.findall(text))


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None, "a dependency"
    assert spec.origin is not None, "a package with a file"
    return Path(spec.origin).parent / "tasks"
