"""Fixtures shared by the tests of the library, the components and the pipelines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# DVC's logger keeps the stdout that it finds when it is imported; one test's captured stdout is closed in the next.
import dvc.logger  # noqa: F401
import pytest

from retort.config import RetortConfig, load_config
from retort.run.tasks import graph

_TOY_COMMAND = """#!{python} -S
import hashlib, json, os, pathlib, sys, time
sys.path.insert(0, {yaml!r})
import yaml
address, params, reads, writes = json.loads(pathlib.Path({table!r}).read_text())[" ".join(sys.argv[1:])]
with open({log!r}, "a") as log:
    log.write(address + "\\n")
failing, _, code = os.environ.get("TOY_FAIL", "").partition(":")
if failing == address:
    print(f"retort: {{address}} was told to fail.", file=sys.stderr)
    sys.exit(int(code))
if os.environ.get("TOY_SLEEP") == address:
    time.sleep(120)
values = yaml.safe_load(pathlib.Path("params.yaml").read_text())
seen = hashlib.sha256()
for key in params:
    value = values
    for part in key.split("."):
        value = value[part]
    seen.update(json.dumps(value, sort_keys=True).encode())
for path in map(pathlib.Path, reads):
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        seen.update(file.read_bytes() if file.is_file() else b"")
for path in map(pathlib.Path, writes):
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({{"task": address, "seen": seen.hexdigest()}}) + "\\n")
    elif path.parts[0] == "curves":
        (path / "plots/metrics").mkdir(parents=True, exist_ok=True)
        (path / "plots/metrics/loss.tsv").write_text("step\\tloss\\n0\\t2.0\\n1\\t1.0\\n")
    else:
        path.mkdir(parents=True, exist_ok=True)
        (path / "content.txt").write_text(address + seen.hexdigest())
print("task:", address)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@dataclass(frozen=True)
class Toy:
    """A folder with a configuration and its source files, and a `retort` command that only hashes what it reads."""

    home: Path
    file: Path
    config: RetortConfig
    log: Path

    def ran(self) -> list[str]:
        """Tasks that ran since this was asked last."""
        lines = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Toy]:
    """Make a toy run: `toy()` with the graph's defaults, `toy(ppo={...})` with other sections."""

    def make(**sections: Any) -> Toy:
        home = tmp_path / "home"
        for folder in ("teacher", "student"):
            (home / "data" / folder).mkdir(parents=True, exist_ok=True)
            (home / "data" / folder / "config.json").write_text(json.dumps({"model": folder}))
        (home / "data/prompts.jsonl").write_text('{"prompt": "1+1?"}\n')
        values = {
            "models": {"teacher": {"source": "data/teacher"}, "base": {"source": "data/student"}},
            "students": {
                "sft": {"method": "sft", "from": "base"},
                "ppo": {"method": "ppo", "from": "sft"},
                "sft_more": {"method": "sft", "from": "base", "compute_of": "ppo"},
            },
            "rewards": {"learned": {"type": "model"}},
            "prompts": {"sources": [{"path": "data/prompts.jsonl"}]},
            "teacher_responses": {"shards": [0, 1]},
            **sections,
        }
        file = home / "toy.yaml"
        file.write_text(json.dumps(values))
        config = load_config(file)
        log = _command(config, home, tmp_path)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin")
        monkeypatch.chdir(home)
        return Toy(home, file, config, log)

    return make


def _command(config: RetortConfig, home: Path, folder: Path) -> Path:
    import yaml

    table = {
        task.command.removeprefix("retort "): (
            task.address,
            task.params,
            [*task.deps, *task.sources],
            task.written,
        )
        for task in graph(config, home)
    }
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "toy.json").write_text(json.dumps(table))
    command = folder / "bin/retort"
    command.write_text(
        _TOY_COMMAND.format(
            python=sys.executable,
            yaml=str(Path(yaml.__file__).parent.parent),
            table=str(folder / "toy.json"),
            log=str(folder / "ran.log"),
        )
    )
    command.chmod(0o755)
    return folder / "ran.log"


class Shown:
    """An artifact as Kubeflow gives it to a component: a path, metadata, and figures that are logged into them."""

    def __init__(self, path: Path):
        self.path, self.uri = str(path), ""
        self.metadata: dict[str, Any] = {}

    def log_metric(self, name: str, value: float) -> None:
        """Keep a figure."""
        self.metadata[name] = value


@dataclass(frozen=True)
class PodCheck:
    """Runs a component's function as a pod would, with small upstream outputs that lie in a remote."""

    make: Callable[..., Toy]
    """Makes a toy run with the sections given."""

    @cached_property
    def toy(self) -> Toy:
        """The toy run with the graph's defaults."""
        return self.make()

    def check(self, component: Any, address: str, **sections: Any) -> None:
        """Run `component` for a task twice: its command runs once, and both give the same fragment of its outputs."""
        from retort.config import resolved
        from retort.config.typed import shown as as_argument
        from retort.pod import lock_fragments
        from retort.pod.settings import settings, typed_of
        from retort.run import dvc_adapter
        from retort.run.workspace import create

        toy = self.make(**sections) if sections else self.toy
        made = graph(toy.config, toy.home)
        task = made.by_address[address]
        root = toy.home / "runs/submit"
        create(root, toy.config, home=toy.home, remote=str(root / "remote"), cache=root / "cache")
        for path in map(root.__truediv__, task.deps):
            file = path if path.suffix else path / "content.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f'"{path.name}"')
        entries = dvc_adapter.store(root, {*task.deps, *made.sources})
        remote = dvc_adapter.remote(root)
        upstream = lock_fragments.save({"upstream": {"outs": [entries[path] for path in task.deps]}}, remote)
        shown = {name: Shown(root / name) for name in set(component.component_spec.outputs) - {"Output"}}
        told = settings(toy.config, made.groups[task.group], entries, remote=remote).to_json()
        values = resolved(toy.config)
        changes = [f"{one.key}={as_argument(values, one)}" for one in typed_of(toy.config, made.groups[task.group])]
        call = {"settings": told, "item": task.item, "upstream": [upstream], "changes": changes, **shown}
        first, second = (lock_fragments.load(component.python_func(**call), remote) for _ in range(2))
        assert first == second
        assert {out["path"] for out in first[address]["outs"]} == set(task.written)
        assert toy.ran() == [address]
        hashes = {out["path"]: out["md5"] for out in first[address]["outs"]}
        if "metrics" in shown:  # figures alone
            assert shown["metrics"].metadata["display_name"] == f"metrics/{address}"
            assert not shown["metrics"].metadata.keys() & hashes.keys()
        for name in shown.keys() & {"model", "data"}:
            assert shown[name].metadata.items() >= hashes.items()
            scheme, _, place = shown[name].uri.partition("+")
            assert scheme == "dvc"
            assert Path(place).is_file()  # in the store: a file's content, or a folder's list
            assert shown[name].metadata[f"address of {task.outs[0]}"] == place
            assert set(json.loads(shown[name].metadata["made from"])) == {*task.deps, *task.sources}


@pytest.fixture
def pod(toy: Callable[..., Toy]) -> PodCheck:
    """Check a component."""
    return PodCheck(toy)
