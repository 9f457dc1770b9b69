"""Whether Argo can hold a run's workflow: one object, of which etcd takes about 1 MB."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from retort.config import RetortConfig
from retort.errors import ConfigError
from retort.run.tasks import graph

LARGEST_BYTES = 1_000_000
"""Of a workflow with the state of its nodes, packed."""

_NODE_BYTES = 660
"""A node's state, packed. This and what follows was measured at a Kubeflow 2.17: docs/concepts/kubeflow-and-dvc.md."""

_NODES_A_TASK, _NODES_AROUND = 12, 30
"""Nodes of a task with its driver, pods and the levels of the graph around it; of the run's own books."""

_SPEC_TO_YAML = 1.54
"""Bytes of the graph in a workflow for one of the compiled file."""


def check_workflow(config: RetortConfig, file: Path) -> None:
    """Refuse a pipeline with more tasks than one workflow can hold: it would fail in the middle, at great cost.

    Args:
        config: The run's configuration.
        file: The compiled pipeline.

    Raises:
        ConfigError: it is too large; names the stage with most tasks.
    """
    counts = Counter(task.stage.name for task in graph(config))
    size = workflow_bytes(sum(counts.values()), file.stat().st_size)
    if size > LARGEST_BYTES:
        largest = max(counts, key=lambda name: counts[name])
        raise ConfigError(
            f"the run has {sum(counts.values())} tasks, {counts[largest]} of them of {largest}: its workflow would "
            f"grow to about {size / 1e6:.1f} MB, and Kubernetes keeps {LARGEST_BYTES / 1e6:.0f} MB. Make fewer, larger "
            f"shards ({largest}.shards), or evaluate less in one run."
        )


def workflow_bytes(tasks: int, file_bytes: int) -> float:
    """About how large a workflow of so many tasks is at its end, with a compiled file of that size."""
    return _SPEC_TO_YAML * file_bytes + _NODE_BYTES * (_NODES_AROUND + _NODES_A_TASK * tasks)
