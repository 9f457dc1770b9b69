"""What pods are told beside their settings: the values that Kubeflow gives a run one by one."""

from __future__ import annotations

from collections.abc import Sequence

from retort.config import RetortConfig, resolved
from retort.config.typed import shown
from retort.pod.settings import typed_of
from retort.run.graph import Task


def changes_of(config: RetortConfig, tasks: Sequence[Task]) -> list[str]:
    """The values of `config` that a group of tasks reads, as `key=value`."""
    return [f"{one.key}={shown(resolved(config), one)}" for one in typed_of(config, tasks)]
