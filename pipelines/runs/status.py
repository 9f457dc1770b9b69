"""What the tasks of a run do, read from the nodes of its workflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from retort.run.known_stages import known_stages

BOOKS = ("parameters", "refresh", "collect", "record", "summary")
"""Tasks that are no stages."""

_FAILED = ("Failed", "Error")
_PODS = {"Pending": "PENDING", "Running": "RUNNING", "Succeeded": "SUCCEEDED"}
_ATTEMPT = re.compile(r"\(\d+\)(?=\.|$)")
"""The number of an attempt in a node's name; an iteration of a loop is `(0:0)`."""


@dataclass(frozen=True)
class StageStatus:
    """One group of tasks of a run: a stage, or a student's or reward's part of it; several where it has shards."""

    stage: str
    states: tuple[str, ...]
    """Of its tasks: PENDING, RUNNING, SUCCEEDED, CACHED, FAILED."""
    seconds: float | None
    """From the first pod's start to the last one's end, or to now; None where all were cached."""
    attempts: int
    """Pods that were started for it."""
    pod_seconds: float
    """Of all of them together."""

    @property
    def state(self) -> str:
        """The worst or least finished of its tasks' states."""
        for state in ("FAILED", "RUNNING", "PENDING", "SUCCEEDED", "CACHED"):
            if state in self.states:
                return state
        return "PENDING"


@dataclass
class _Task:
    """The nodes of one task: itself, its driver, its pods; each with its name."""

    own: list[tuple[str, str]] = field(default_factory=list)
    """Name and phase of the nodes around its pods: with Argo's retries, one for all attempts and one for each."""
    skipped: bool = False
    pods: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def state(self) -> str:
        if self.own and min(self.own, key=lambda one: len(one[0]))[1] in _FAILED:  # the outermost
            return "FAILED"
        if self.skipped:
            return "CACHED"
        last = max(self.pods, key=lambda pod: (pod["startedAt"], pod["name"]), default=None)
        return _PODS.get(last["phase"], "PENDING") if last else "PENDING"  # a failed attempt is followed by another


def stage_statuses(nodes: Mapping[str, Mapping[str, Any]], now: datetime) -> list[StageStatus]:
    """Stages that have begun, in the order of the graph.

    A task is a node named like its component (`....sft`). Its driver is a node beside it (`....sft-driver`), its pods
    are under it (`....sft.executor`), or one node of type Skipped is where Kubeflow remembered the outputs.

    Args:
        nodes: `status.nodes` of a run's workflow.
        now: Until when what runs has run.
    """
    tasks: dict[str, _Task] = {}
    for node in nodes.values():
        parent, _, last = _ATTEMPT.sub("", node["name"]).rpartition(".")
        if last == "executor":
            task = tasks.setdefault(parent, _Task())
            task.skipped |= node["type"] == "Skipped"
            task.pods += [node] if node["type"] == "Pod" else []
        elif node["type"] != "Skipped":  # never begun: something before it failed, or a schedule had nothing to do
            tasks.setdefault(f"{parent}.{last.removesuffix('-driver')}", _Task()).own.append(
                (node["name"], node["phase"])
            )
    found: dict[str, list[_Task]] = {}
    order = [*known_stages(), *BOOKS]
    for name, task in tasks.items():
        last = name.rpartition(".")[2]
        group = group_of(last)
        # A loop, its iterations and conditions have nodes too, but no pods of their own.
        if task.pods or task.skipped or (group.partition("-")[0] in order and not last.endswith("-tasks")):
            found.setdefault(group, []).append(task)
    place = {group: (order.index(stage) if (stage := group.partition("-")[0]) in order else 0) for group in found}
    return [_summed(group, found[group], now) for group in sorted(found, key=lambda group: (place[group], group))]


def group_of(name: str) -> str:
    """The group of tasks that Kubeflow calls `name`, with dashes alone: `student_responses-sft_more`."""
    for stage in sorted((*known_stages(), *BOOKS), key=len, reverse=True):
        dashed = stage.replace("_", "-")
        if name == dashed:
            return stage
        if name.startswith(f"{dashed}-"):
            return f"{stage}-{name.removeprefix(f'{dashed}-').replace('-', '_')}"
    return name


def _summed(stage: str, tasks: list[_Task], now: datetime) -> StageStatus:
    pods = [pod for task in tasks for pod in task.pods if pod.get("startedAt")]
    starts = [datetime.fromisoformat(pod["startedAt"]) for pod in pods]
    ends = [datetime.fromisoformat(pod["finishedAt"]) if pod.get("finishedAt") else now for pod in pods]
    seconds = (max(ends) - min(starts)).total_seconds() if starts else None
    together = sum((end - start).total_seconds() for start, end in zip(starts, ends, strict=True))
    return StageStatus(stage, tuple(sorted(task.state for task in tasks)), seconds, len(pods), together)
