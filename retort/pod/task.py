"""One task in a pod: through DVC, in a private workspace without git, so that pods and laptops cannot disagree.

A pod is given strings only. `settings` is the address of what says what the stage is (parameters, code, source files
by content hash) and where contents lie (`retort.pod.kept_settings`); each upstream task's *fragment* names its outputs
by content hash. What it gives back is its own fragment. Kubeflow's cache key is made of such strings, so it contains
every hash that matters and nothing else: no file is uploaded twice, and the fragments of a run merge into the
`dvc.lock` of the whole run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from retort.errors import ConfigError, RetortError, harmless
from retort.io.files import write_text
from retort.io.objects import Objects
from retort.io.outages import patient
from retort.io.stderr_tail import Tail
from retort.modeling import preemption
from retort.pod import lock_fragments
from retort.pod.artifacts import describe, measure
from retort.pod.kept_settings import keep, read, remote_of
from retort.pod.lock_fragments import Fragment, key_of
from retort.pod.run_records import Failure, Records, summary
from retort.pod.settings import GroupSettings, merged, told_operation
from retort.pod.state_mirror import Mirror
from retort.pod.termination import failed_for_good, say_for_good
from retort.run import dvc_adapter
from retort.run.dvc_adapter import Entry
from retort.run.embedded import embedded, is_embedded
from retort.run.graph import Task, as_plain
from retort.run.paths import CODE, TASK
from retort.run.workspace import code_yaml, link, task_yaml

_log = logging.getLogger(__name__)

_LAST_WORDS_S = 60.0
"""How long a failed task waits for a store that is away, to keep what it has to say."""


def run(
    settings: str,
    upstream: Sequence[str] = (),
    item: str = "",
    changes: Sequence[str] = (),
    *,
    metrics: Any = None,
    made: Any = None,
    page: str = "",
) -> str:
    """Run one task and return the name of its fragment; what it wrote is in the remote then.

    Environment: RETORT_STATE, a folder that outlives the pod, keeps the resume state instead of the remote;
    RETORT_RUN is the run's id, under which failures and timings are kept; RETORT_FORCE lets the stage run though an
    equal run is on record; RETORT_TRAINJOB, a TrainJob as JSON, lets it run on several nodes.

    Args:
        settings: What the pods of its group are told (`retort.pod.kept_settings`).
        upstream: Names of the fragments of the tasks that it reads from.
        item: Which task of the group, by its matrix values: `0`, `ppo-heldout`; empty where there is one.
        changes: Values that the run was given one by one, as `key=value` (`retort.config.typed`).
        metrics: Kubeflow's Metrics artifact; gets the task's figures.
        made: Kubeflow's Model or Dataset artifact; gets names, addresses and hashes of what the task wrote.
        page: File that gets the report's page, of the stage that writes one.

    Raises:
        SystemExit: the task failed; with the exit code of the error's class.
    """
    started = time.monotonic()
    with Tail() as tail, patient():
        with _recorded(settings, "settings", tail, [settings]):
            told = read(settings).filled(changes)  # as if the run had been submitted with these values
            task = told.task(item)
        with _recorded(settings, task.address, tail, upstream), workspace(task, told, upstream) as root:
            force = bool(os.environ.get("RETORT_FORCE"))
            if on_nodes := os.environ.get("RETORT_TRAINJOB"):
                entry = _run_on_nodes(root, task, told, upstream, json.loads(on_nodes), force=force)
            else:
                with resumable(root, told.remote, [told.to_json(), *upstream]):
                    dvc_adapter.reproduce_one(root, task.address, force=force)
                entry = dvc_adapter.read_lock(root)[task.address]
            _show(root, task, metrics=metrics, page=page)
            if made is not None:
                describe(made, root, task, entry, told.remote)
            _keep_timing(root, told.remote, task, started)
            return lock_fragments.save({task.address: entry}, told.remote)


def parameters(configuration: str, prompts: str, report: str, changes: Sequence[str], data: Mapping[str, str]) -> str:
    """Check what the run was given (`retort.pod.parameters.check`); return the settings of stage `prompts`."""
    from retort.pod.parameters import check

    with Tail() as tail, patient(), _recorded(configuration, "parameters", tail, []):
        return check(configuration, prompts, report, changes, data)


def refresh(
    settings: str, schedule: str, plan: str, data: Mapping[str, str], changes: Sequence[str] = ()
) -> tuple[str, bool]:
    """Take a schedule's data as it is now (`retort.pod.scheduled_data.refresh`)."""
    from retort.pod.scheduled_data import refresh as take

    with Tail() as tail, patient(), _recorded(settings, "refresh", tail, []):
        return take(settings, schedule, plan, data, changes)


def collect(settings: str, upstream: Sequence[str]) -> str:
    """Merge the fragments of a stage's tasks into one; return its name."""
    with _ended(), patient():
        remote = remote_of(settings)
        return lock_fragments.save(lock_fragments.merge(upstream, remote), remote)


def record(settings: str, upstream: Sequence[str]) -> None:
    """Keep the merged fragments of all tasks as the lock of this run."""
    with _ended(), patient():
        remote = remote_of(settings)
        if (records := Records.here(remote)) is not None:
            records.keep_lock(lock_fragments.merge(upstream, remote))


@contextlib.contextmanager
def _ended(keep_failure: Callable[[RetortError], None] | None = None) -> Iterator[None]:
    """An error ends the task with its message and exit code, once it is kept."""
    try:
        yield
    except RetortError as error:
        _log.error("retort: %s", error)
        if keep_failure is not None:
            keep_failure(error)
        raise SystemExit(error.exit_code) from error


@contextlib.contextmanager
def _recorded(settings: str, address: str, tail: Tail, upstream: Sequence[str]) -> Iterator[None]:
    """An error ends the task with its message and exit code, and is kept as the failure of `address`."""
    with _ended():
        remote = remote_of(settings)
    with _ended(lambda error: _keep_failure(remote, address, error, tail, upstream)):
        yield


def summarise(settings: str, *, state: str, message: str, page: str) -> None:
    """Write a summary of how this run ended, with what each failed task said, to the file `page`."""
    records = Records.here(remote_of(settings))
    text = summary(state, message, records.failures() if records else [])
    Path(page).parent.mkdir(parents=True, exist_ok=True)
    Path(page).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def workspace(task: Task, told: GroupSettings, upstream: Sequence[str]) -> Iterator[Path]:
    """A folder for the block, ready for DVC: nothing in it but what this task reads; SIGTERM reaches its processes."""
    with tempfile.TemporaryDirectory(prefix="retort-") as folder, preemption.passed_on(), _environment():
        root = Path(folder)
        _prepare(root, task, told, upstream)
        yield root


def _run_on_nodes(
    root: Path, task: Task, told: GroupSettings, upstream: Sequence[str], job: dict[str, Any], *, force: bool
) -> Entry:
    """Let a TrainJob do the task, unless an equal run is on record; the task's lock entry."""
    from retort.pod import trainjob

    if not force and dvc_adapter.recorded(root, task.address):
        dvc_adapter.reproduce_one(root, task.address)
        return dvc_adapter.read_lock(root)[task.address]
    entry: Entry = lock_fragments.load(trainjob.run(task, [keep(told), *upstream], job), told.remote)[task.address]
    dvc_adapter.write_lock(root, {task.address: entry})
    dvc_adapter.fetch(root, list(task.metrics))
    return entry


def _prepare(root: Path, task: Task, told: GroupSettings, upstream: Sequence[str]) -> None:
    if told.code[task.item] != task.code():
        raise ConfigError(
            f"{task.address}: this image holds other code than the machine that submitted the run, so its result would "
            "be recorded as what it is not. Build the image from the same commit, or submit from it."
        )
    dvc_adapter.init(root, remote=told.remote, site_cache=root / ".dvc/site")
    for name in task.sources:
        if is_embedded(name, root):
            link(root / name, embedded(name))
    params = merged(told.params, told_operation(told.remote), task)
    write_text(root / "params.yaml", yaml.safe_dump(params, sort_keys=False))
    write_text(root / "dvc.yaml", task_yaml(task))
    write_text(root / CODE, code_yaml([task]))
    write_text(root / TASK, json.dumps(as_plain(task)))
    fragment: Fragment = lock_fragments.merge(upstream, told.remote)
    outs = ((address, out) for address, entry in fragment.items() for out in entry.get("outs", []))
    made = {out["path"]: out | {"meta": {"stage": address}} for address, out in outs if out["path"] in task.deps}
    wanted = [file for file in told.files if file["path"] in task.sources]
    dvc_adapter.write_inputs(root, [*made.values(), *wanted])


def _show(root: Path, task: Task, *, metrics: Any, page: str) -> None:
    """Give Kubeflow's interface the task's figures and the report's page."""
    if metrics is not None:
        measure(metrics, root, task)
    if page and (root / "outputs/report/metrics.json").exists():
        from retort.run.paths import Paths
        from retort.stages.report import write_page

        Path(page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(write_page(Paths(root)), page)


def _keep_timing(root: Path, remote: str, task: Task, started: float) -> None:
    if (records := Records.here(remote)) is None:
        return
    whole = {"task": task.address, "pod_seconds": time.monotonic() - started}
    for file in (root / ".retort/timings").glob("*.json"):  # absent where DVC restored an equal run
        records.keep_timing(json.loads(file.read_text(encoding="utf-8")) | whole)


def _keep_failure(remote: str, address: str, error: RetortError, tail: Tail, upstream: Sequence[str]) -> None:
    pod = os.environ.get("KFP_POD_NAME", "")
    with contextlib.suppress(RetortError), patient(_LAST_WORDS_S):  # the store may be the very failure
        if (records := Records.here(remote)) is not None:
            said = str(error), [harmless(line) for line in tail.lines], list(upstream)
            failure = Failure(address, pod, error.exit_code, *said)
            records.keep_failure(failure)
            if failed_for_good(failure, records.failures(address)):
                say_for_good(failure)


def state_of(remote: str, inputs: Sequence[str]) -> Objects:
    """Where the resume state of a task with these inputs is kept."""
    return Objects.of(remote, f"state/{key_of(inputs)}")


@contextlib.contextmanager
def resumable(root: Path, remote: str, inputs: Sequence[str]) -> Iterator[None]:
    """Keep the resume state where it outlives the pod, apart from that of runs with other inputs."""
    os.environ["RETORT_KEEP_STATE"] = "1"  # what the stage made is not in the store when it ends
    if state := os.environ.get("RETORT_STATE"):
        folder = Path(state).resolve() / key_of(inputs)
        os.environ["RETORT_STATE"] = str(folder)
        yield
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with Mirror(root / ".retort/state", state_of(remote, inputs)):
            yield


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """The `retort` of this installation on PATH; what the block changes of the environment is undone."""
    kept = dict(os.environ)
    # DVC starts the stage in this shell. Bash becomes the stage; Debian's sh stays between them, ends at SIGTERM at
    # once, and the pod with it, before the stage has saved its checkpoint.
    os.environ["SHELL"] = shutil.which("bash") or "/bin/sh"
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")  # s3fs tries again as well, five times: silence would last too long
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
