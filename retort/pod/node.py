"""One of the nodes that train a stage together: `python -m retort.pod.node JSON`, in each pod of a TrainJob.

Kubeflow's Trainer tells a node its number and where the first one is (PET_...). The first node does what a pod on its
own does, through DVC; the others run the same command on the same inputs and keep nothing.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from retort.errors import RetortError, StageError
from retort.io.objects import Objects
from retort.io.outages import patient
from retort.pod import lock_fragments
from retort.pod.kept_settings import read
from retort.pod.settings import GroupSettings
from retort.pod.state_mirror import Mirror
from retort.pod.task import resumable, state_of, workspace
from retort.run import dvc_adapter
from retort.run.graph import Task

_log = logging.getLogger(__name__)


def run(item: str, given: Sequence[str], job: str) -> None:
    """Run this node's part of a task; the first node keeps the name of the fragment under `job`.

    Args:
        item: Matrix values of the task.
        given: The settings of its group, then the names of the fragments that it reads from.
        job: Name of the TrainJob.

    Raises:
        RetortError: the stage failed.
    """
    told = read(given[0])
    task, inputs = told.task(item), [told.to_json(), *given[1:]]
    with workspace(task, told, given[1:]) as root:
        if int(os.environ["PET_NODE_RANK"]) > 0:
            _help(root, task, told, inputs)
            return
        with resumable(root, told.remote, inputs):
            dvc_adapter.reproduce_one(root, task.address, force=True)  # whoever made the TrainJob knows of no equal run
        entry = dvc_adapter.read_lock(root)[task.address]
        fragment = lock_fragments.save({task.address: entry}, told.remote)
        Objects.of(told.remote, "trainjobs").write(job, fragment.encode())


def _help(root: Path, task: Task, told: GroupSettings, inputs: Sequence[str]) -> None:
    """Run the command on the same inputs and state; what it leaves behind is the first node's to keep."""
    dvc_adapter.fetch_inputs(root, task.address)
    Mirror(root / ".retort/state", state_of(told.remote, inputs)).resume()
    done = subprocess.run(task.command.split(), cwd=root, check=False)
    if done.returncode:
        raise StageError(task.address, done.returncode)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    try:
        with patient():
            run(**json.loads(sys.argv[1]))
    except RetortError as failure:
        _log.error("retort: %s", failure)
        sys.exit(failure.exit_code)
