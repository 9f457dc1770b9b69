"""Running the very pipeline on this machine with `kfp.local`: the same components, each in a process of its own."""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retort_pipelines.graph.compile import arguments
from retort_pipelines.graph.distil import build
from retort_pipelines.profiles import Needs, Profile

from retort.config import RetortConfig, load_config
from retort.errors import StageError, StorageError
from retort.io.files import write_json
from retort.pod.run_records import Records
from retort.pod.settings import OPERATION, operation
from retort.run import dvc_adapter
from retort.run.dvc_adapter import Entry
from retort.run.embedded import is_embedded
from retort.run.graph import Graph
from retort.run.tasks import graph


def run_locally(root: Path) -> list[str]:
    """Run the workspace's configuration through `kfp.local`; return the tasks whose record changed.

    What the tasks made comes back as under DVC: the merged `dvc.lock` is written to the workspace and everything
    that it names is fetched.

    Raises:
        StageError: a task failed; it has said why on stderr.
        StorageError: the pipeline ended but is not whole.
    """
    config = load_config(root / "params.yaml", root=root)
    made = graph(config, root)
    files = dvc_adapter.store(root, [name for name in made.sources if not is_embedded(name, root)])
    given = arguments(config, remote=dvc_adapter.remote(root), files=files, root=root)
    before = dvc_adapter.read_lock(root)
    lock = _run(config, made, given, root, dvc_adapter.remote(root))
    if lost := {task.address for task in made}.symmetric_difference(lock):
        # kfp.local ends with success when it skips what it cannot evaluate.
        raise StorageError(f"{root}: the pipeline ended, but these tasks did not run: {', '.join(sorted(lost))}.")
    changed = [address for address, entry in lock.items() if before.get(address) != entry]
    if changed:
        dvc_adapter.write_lock(root, lock)
    if dvc_adapter.status(root):
        dvc_adapter.fetch(root)
        if differs := dvc_adapter.status(root):
            raise StorageError(f"{root}: differs from what the pipeline recorded: {differs}. Did a source file change?")
    return changed


def _profile() -> Profile:
    """As many threads a task here as a stage run without Kubeflow has, so that both compute the same bytes."""
    from torch import get_num_threads

    here = Needs(cpu=str(get_num_threads()))
    return Profile(retries=0, tables=here, models=here)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for the tasks of the block; this process keeps none of them."""
    kept = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _print_as_before() -> Iterator[None]:
    """`print` is the same after the block as before it.

    kfp.local 2.17 puts another in its place while a task runs, one that indents; where tasks run side by side, each
    puts back what the other had put there, and this process would indent what it prints for as long as it lives.
    """
    kept = builtins.print
    try:
        yield
    finally:
        builtins.print = kept


def _run(config: RetortConfig, made: Graph, given: dict[str, Any], root: Path, remote: str) -> dict[str, Entry]:
    """Run the pipeline; return the lock of the whole run."""
    local, private = _kfp_local(), (root / ".retort").resolve()
    run, name = f"local-{uuid.uuid4().hex[:12]}", root.resolve().name
    records = Records.of(remote, run)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(private / "kfp"),
        workspace_root=str(private / "kfp"),
        enable_caching=True,
    )
    told = _environment(
        RETORT_STATE=str(private / "state"), RETORT_RUN=run, **{OPERATION: operation(config, made, name)}
    )
    with told, dvc_adapter.stdout_on_stderr(), _print_as_before(), warnings.catch_warnings():
        # kfp.local warns that it starts no image and grants no resources; that is its nature.
        warnings.filterwarnings("ignore", message="You may be attemping")
        try:
            # A local failure is shown at once: its cause will not go away by waiting.
            build(config, _profile(), root=root, run=name)(**given)
            for timing in records.timings():
                write_json(private / "timings" / f"{timing['task']}.json", timing)
            return records.lock()
        except RuntimeError as error:
            if failures := records.failures():
                raise StageError(failures[0].task, failures[0].exit_code) from error
            raise StorageError(f"kfp.local: {error}") from error
        finally:
            records.objects.remove(*records.objects.names())


def _kfp_local() -> Any:
    """kfp.local, which takes whatever can be imported as `docker` for Docker's client: in a checkout, the folder is."""
    found = importlib.util.find_spec("docker") if "docker" not in sys.modules else None
    if found is not None and found.origin is None:
        sys.modules["docker"] = None  # type: ignore[assignment] # from here on it cannot be imported
    from kfp import local

    return local
