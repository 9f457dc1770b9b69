"""A stand-in cluster for the verbs that need Kubeflow."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp
import kfp.client.client
import pytest
import s3fs
import yaml
from retort_pipelines.graph import compile as compiling
from retort_pipelines.runs import logs, patience, runs

import retort.cli.check
from tests.kubeflow_server.cluster import StandInCluster, running


@pytest.fixture
def cluster(stand_in: Callable[..., StandInCluster]) -> StandInCluster:
    """A cluster, and a folder with the configuration `toy.yaml`."""
    return stand_in()


@pytest.fixture
def stand_in(
    toy: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    compiled_once: Callable[..., None],
    kept_run: dict[str, Any],
) -> Iterator[Callable[..., StandInCluster]]:
    """Make a cluster: `stand_in(multi_user=True)`."""
    opened = []

    def make(**options: Any) -> StandInCluster:
        made = toy(evaluate={"models": ["ppo"]})
        opened.append(running(made.home, capsys, monkeypatch, kept_run, **options))
        return opened[-1].__enter__()

    # The toy's models and prompts are none that could be trained with: `with_check` has the check back.
    monkeypatch.setattr(retort.cli.check, "before_submit", lambda *_: None)
    s3fs.S3FileSystem.clear_instance_cache()  # those of another test's store
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "no-context.json"))
    monkeypatch.setattr(compiling, "compile", compiled_once)
    # What kfp reads again is what it wrote just now: 1.2 of 3 seconds by yaml's parser in Python.
    fast = functools.partial(yaml.load_all, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    monkeypatch.setattr(kfp.client.client.yaml, "safe_load_all", fast)
    for module, name, value in ((runs, "EVERY_S", 0.01), (logs, "EVERY_S", 0.01), (patience, "_FIRST_S", 0.05)):
        monkeypatch.setattr(module, name, value)
    yield make
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture(scope="session")
def kept_run() -> dict[str, Any]:
    """What `StandInCluster.submitted` keeps."""
    return {}


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """The compiler, which keeps what it has compiled: most tests submit the same."""
    folder, compiler = tmp_path_factory.mktemp("compiled"), compiling.compile
    kept: dict[tuple[str, ...], Path] = {}

    def compile(  # noqa: A001
        config: Any, profile: Any, path: Path, *, forced: Any = (), root: Path = Path(), **named: Any
    ) -> None:
        # A pipeline holds its run's name only to tell it to a tracker.
        name = named.get("run", "") if config.tracker is not None else ""
        defaults = json.dumps(named.get("defaults"))
        key = (config.model_dump_json(), profile.model_dump_json(), name, defaults, *sorted(forced))
        if key not in kept:
            kept[key] = folder / f"{len(kept)}.yaml"
            compiler(config, profile, kept[key], forced=forced, root=root, **named)
        shutil.copyfile(kept[key], path)

    return compile
