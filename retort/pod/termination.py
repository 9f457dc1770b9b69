"""A failed pod's last word to what started it: Kubernetes keeps what is in this file beside the container's exit code.

Kubeflow's launcher ends with 1 whatever the stage ended with, so this is how Argo learns that another attempt is of no
use: its controller's expression (`k8s/kubeflow`) ends the attempts at a task where the message holds `FOR_GOOD`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from retort.errors import NEVER_MENDED
from retort.pod.run_records import Failure

FILE = Path("/dev/termination-log")
"""Kubernetes' default; whatever user the container has may write it."""

FOR_GOOD = "retort: not tried again"


def failed_for_good(failure: Failure, earlier: Iterable[Failure]) -> bool:
    """Whether an attempt failed as one in another pod did, on the same inputs, by a code that no attempt mends.

    Twice, because the first pod's node may have been at fault: an older image, a damaged file in its cache.
    """
    same = (failure.task, failure.exit_code, failure.upstream)
    alike = any((one.task, one.exit_code, one.upstream) == same and one.pod != failure.pod for one in earlier)
    return alike and failure.exit_code in NEVER_MENDED


def say_for_good(failure: Failure) -> None:
    """Let the scheduler know that this task has failed for good; nothing outside a cluster."""
    if FILE.is_file():
        with contextlib.suppress(OSError):  # then it is tried again, as without this
            FILE.write_text(f"{FOR_GOOD}: {failure.task} has failed twice with exit code {failure.exit_code}")
