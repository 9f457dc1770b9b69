"""What the tasks of a run do, read from the nodes of its workflow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retort.graph import BY_NAME

BOOKS = ("collect", "record", "summary")
"""Tasks that are no stages."""

_ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "ERROR", "OMITTED"}


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run; several tasks where it has shards."""

    stage: str
    states: tuple[str, ...]
    """Of its tasks: PENDING, RUNNING, SUCCEEDED, CACHED, FAILED."""
    seconds: float | None
    """From the first task's start to the last one's end, or to now; None where all were cached."""
    attempts: int
    """Pods that were started for it."""

    @property
    def state(self) -> str:
        """The worst or least finished of its tasks' states."""
        for state in ("FAILED", "RUNNING", "PENDING", "SUCCEEDED", "CACHED"):
            if state in self.states:
                return state
        return "PENDING"


@dataclass(frozen=True)
class _Node:
    key: str
    name: str
    state: str
    children: tuple[str, ...]
    start: datetime | None
    end: datetime | None


def stage_statuses(details: Iterable[Any], now: datetime) -> list[StageStatus]:
    """Stages that have begun, in the order of the graph.

    A task is a node named like its component, above one named `executor`, which is skipped where Kubeflow remembered
    the outputs, and has a node for each attempt where it is retried.

    Args:
        details: `run_details.task_details` of a run.
        now: Until when what runs has run.
    """
    nodes = {node.key: node for node in map(_node, details)}
    found: dict[str, list[tuple[str, list[_Node]]]] = {}
    for node in nodes.values():
        stage = node.name.replace("-", "_")
        if stage not in BY_NAME and stage not in BOOKS:
            continue
        executor = next((nodes[child] for child in node.children if _is(nodes, child, "executor")), None)
        attempts = [nodes[child] for child in executor.children if _is(nodes, child, "executor(")] if executor else []
        pods = attempts or ([executor] if executor and executor.state not in ("SKIPPED", "OMITTED") else [])
        found.setdefault(stage, []).append((_state(node, executor), pods))
    order = [*BY_NAME, *BOOKS]
    return [_summed(stage, found[stage], now) for stage in sorted(found, key=order.index)]


def _node(detail: Any) -> _Node:
    children = tuple(_key(child.pod_name) for child in detail.child_tasks or [] if child.pod_name)
    return _Node(
        _key(detail.task_id), detail.display_name, detail.state or "", children, detail.start_time, detail.end_time
    )


def _key(name: str) -> str:
    """A node's number: a pod is named after its template as well, but both end in it."""
    return name.rpartition("-")[2]


def _is(nodes: dict[str, _Node], key: str, prefix: str) -> bool:
    return key in nodes and nodes[key].name.startswith(prefix)


def _state(node: _Node, executor: _Node | None) -> str:
    if node.state in ("FAILED", "ERROR"):
        return "FAILED"
    if executor is None:
        return "RUNNING" if node.state == "RUNNING" else "PENDING"
    if executor.state in ("SKIPPED", "OMITTED"):
        return "CACHED"
    return executor.state if executor.state in _ENDED or executor.state == "RUNNING" else "PENDING"


def _summed(stage: str, tasks: list[tuple[str, list[_Node]]], now: datetime) -> StageStatus:
    pods = [pod for _, attempts in tasks for pod in attempts]
    starts = [pod.start for pod in pods if pod.start]
    ends = [pod.end if pod.end and pod.state in _ENDED else now for pod in pods]
    seconds = (max(ends) - min(starts)).total_seconds() if starts else None
    return StageStatus(stage, tuple(sorted(state for state, _ in tasks)), seconds, len(pods))
