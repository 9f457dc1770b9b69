"""Whether Argo can hold a run's workflow: one object, of which etcd takes about 1 MB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retort_pipelines.graph.distil import is_loop

from retort.config import RetortConfig
from retort.errors import ConfigError
from retort.pod.settings import CONFIGURATION, parameter_of
from retort.run.graph import Graph
from retort.run.tasks import graph

LARGEST_BYTES = 1_000_000
"""Of a workflow with the state of its nodes, packed."""

# Measured at the end of two smoke runs of 2026-11-28 (Kubeflow 2.17, Argo 4.0.5), both of 276 nodes: with settings as
# texts 305 kB of nodes, packed, and 275 kB of graph; with their addresses 213 and 247 kB. What a single task costs: by
# leaving out its nodes. Kubeflow repeats a task's arguments in five of them.
_TASK_BYTES, _COPIES = 5600, 3.0
"""Of a task's nodes without its arguments; of them for each character of its arguments."""
_LOOP_BYTES = 6000
"""Of the nodes around the tasks of a loop, and of what collects its fragments."""
_BOOKS_BYTES, _OF_ALL_COPIES = 53_500, 0.84
"""Of the nodes around all tasks and of those that keep the run's books; of them for each character of all arguments."""
_SPEC_TO_YAML, _SPEC_COPIES = 1.44, 1.4
"""Bytes of the graph in a workflow for one of the compiled file, and for a character of the run's arguments."""


def check_workflow(config: RetortConfig, file: Path, given: Mapping[str, Any]) -> None:
    """Refuse a pipeline with more tasks than one workflow can hold: it would fail in the middle, at great cost.

    Args:
        config: The run's configuration.
        file: The compiled pipeline.
        given: The run's arguments.

    Raises:
        ConfigError: it is too large; names the stage with most tasks.
    """
    made = graph(config)
    size = workflow_bytes(made, given, file.stat().st_size)
    if size > LARGEST_BYTES:
        counts = Counter(task.stage.name for task in made)
        largest = max(counts, key=lambda name: counts[name])
        raise ConfigError(
            f"the run has {sum(counts.values())} tasks, {counts[largest]} of them of {largest}: its workflow would "
            f"grow to about {size / 1e6:.1f} MB, and Kubernetes keeps {LARGEST_BYTES / 1e6:.0f} MB. Make fewer, larger "
            f"shards ({largest}.shards), or evaluate less in one run."
        )


def workflow_bytes(made: Graph, given: Mapping[str, Any], file_bytes: int) -> float:
    """About how large a workflow is at its end.

    Args:
        made: The run's tasks.
        given: The run's arguments.
        file_bytes: Size of the compiled pipeline.
    """
    together = sum(len(str(value)) for value in given.values())
    nodes = _BOOKS_BYTES + _COPIES * len(given[CONFIGURATION]) + _OF_ALL_COPIES * together
    for name, tasks in made.groups.items():
        nodes += len(tasks) * (_TASK_BYTES + _COPIES * len(given[parameter_of(name)]))
        nodes += _LOOP_BYTES if is_loop(tasks) else 0
    return _SPEC_TO_YAML * file_bytes + _SPEC_COPIES * together + nodes
