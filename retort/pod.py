"""One task in a pod: through DVC, in a private workspace without git, so that pods and laptops cannot disagree.

A pod is given strings only. `settings` says what the stage is (parameters, code, source files by content hash) and
where contents lie; each upstream task's *fragment* names its outputs by content hash. What it gives back is its own
fragment. Kubeflow's cache key is made of such strings, so it contains every hash that matters and nothing
else: no file is uploaded twice, and the fragments of a run merge into the `dvc.lock` of the whole run.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from retort import versioning
from retort.closure import PACKAGE, code_hash
from retort.config import RetortConfig, load_keys, resolved
from retort.config.run import pick
from retort.errors import ConfigError, RetortError
from retort.files import write_text
from retort.graph import BY_NAME, Stage, Task, expand, source_files, task_of
from retort.versioning import Entry
from retort.workspace import link, task_yaml

Fragment = dict[str, Entry]
"""Lock entries by task address."""

_log = logging.getLogger(__name__)


def encode(fragment: Fragment) -> str:
    """A fragment as a string without quotes: Kubeflow mangles JSON that it puts into a list."""
    text = json.dumps(fragment, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()


def decode(text: str) -> Fragment:
    """What `encode` made."""
    fragment: Fragment = json.loads(zlib.decompress(base64.urlsafe_b64decode(text)))
    return fragment


def merge(fragments: Sequence[str]) -> str:
    """Several fragments as one."""
    merged: Fragment = {}
    for fragment in fragments:
        merged |= decode(fragment)
    return encode(merged)


def settings(
    config: RetortConfig, stage: Stage, files: Mapping[str, Entry], *, remote: str, root: Path = Path()
) -> str:
    """What a pod is told of `stage`, as JSON.

    Args:
        config: The run's whole configuration; the stage is told what it declares, or any change would void its cache.
        stage: The stage.
        files: DVC's entries of the source files that the run reads, by name; those of the package need none.
        remote: Folder or address of the object store, as pods reach it.
        root: Folder that the configuration's paths start from.
    """
    told: dict[str, Any] = {
        "remote": remote,
        "params": pick(resolved(config), stage.params),
        "code": code_hash(stage.code()),
        "reads": source_files(config, stage, root),
    }
    told["files"] = [files[name] for name in told["reads"] if name in files]
    # `models` may write a reference to a local folder instead of a copy: who loads the model needs that folder too.
    for name, place in (("teacher", getattr(config.teacher, "model", "")), ("base", config.student.model)):
        if place in files and any(need in (f"outputs/models/{name}", "outputs/models/{model}") for need in stage.deps):
            told["files"].append(files[place] | {"behind": f"outputs/models/{name}"})
    return json.dumps(told, sort_keys=True)


def run(stage: str, settings: str, upstream: Sequence[str] = (), item: str = "") -> str:
    """Run one task and return its fragment; what it wrote is in the remote then.

    Environment: RETORT_STATE, a folder that outlives the pod, lets a retried task resume; RETORT_TIMINGS receives
    its wall time; RETORT_FAILURE names a file that receives the exit code of the first failure.

    Args:
        stage: Name of the stage.
        settings: What `settings` made for it.
        upstream: Fragments of the tasks that it reads from.
        item: Matrix values of the task: `0`, `ppo-heldout`.

    Raises:
        SystemExit: the task failed; with the exit code of the error's class.
    """
    task = task_of(BY_NAME[stage], item)
    try:
        with tempfile.TemporaryDirectory(prefix="retort-") as folder, _environment(settings, upstream):
            root = Path(folder)
            _prepare(root, task, json.loads(settings), upstream)
            versioning.reproduce_one(root, task.address)
            if (timings := os.environ.get("RETORT_TIMINGS")) and (made := root / ".retort/timings").exists():
                shutil.copytree(made, timings, dirs_exist_ok=True)
            return encode({task.address: versioning.read_lock(root)[task.address]})
    except RetortError as error:
        _log.error("retort: %s", error)
        if (failure := os.environ.get("RETORT_FAILURE")) and not Path(failure).exists():
            Path(failure).write_text(json.dumps({"task": task.address, "exit_code": error.exit_code}))
        raise SystemExit(error.exit_code) from error


def _prepare(root: Path, task: Task, told: dict[str, Any], upstream: Sequence[str]) -> None:
    """Make the workspace: nothing but what this task reads."""
    if told["code"] != code_hash(task.stage.code()):
        raise ConfigError(
            f"stage {task.stage.name}: this image holds other code than the machine that submitted the run, so its "
            "result would be recorded as what it is not. Build the image from the same commit, or submit from it."
        )
    versioning.init(root, remote=told["remote"], site_cache=root / ".dvc/site")
    link(root / PACKAGE.name, PACKAGE)
    write_text(root / "params.yaml", yaml.safe_dump(told["params"], sort_keys=False))
    config = load_keys(root / "params.yaml", task.stage.params)
    write_text(root / "dvc.yaml", task_yaml(config, task, told["reads"]))
    needs = {path.format(**task.values) for pattern in task.stage.deps for path in expand(config, task.stage, pattern)}
    outs = (out for fragment in upstream for entry in decode(fragment).values() for out in entry.get("outs", []))
    made = {out["path"]: out for out in outs if out["path"] in needs}
    behind = [file["path"] for file in told["files"] if file.get("behind") in needs]
    files = [
        {key: value for key, value in file.items() if key != "behind"}
        for file in told["files"]
        if file.get("behind", "") in ("", *needs)
    ]
    versioning.write_inputs(root, [*made.values(), *files])
    if behind:
        versioning.fetch(root, behind)


@contextlib.contextmanager
def _environment(settings: str, upstream: Sequence[str]) -> Iterator[None]:
    """The `retort` of this installation on PATH; resume state apart from that of runs with other inputs."""
    kept = dict(os.environ)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
    if state := os.environ.get("RETORT_STATE"):
        key = hashlib.sha256("\n".join([settings, *upstream]).encode()).hexdigest()[:16]
        os.environ["RETORT_STATE"] = str(Path(state).resolve() / key)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
