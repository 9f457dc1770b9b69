"""What Kubeflow and DVC add to the stages: `python -m bench.overhead RUN [--unchanged RUN] [--json]`.

Reads a run that has ended, by name or id, at RETORT_KFP_HOST: of each stage the seconds of its pods, from the node's
creation to the container's end, and those of the stage alone, as it measured itself. The difference is scheduling,
Kubeflow's launcher, Python's imports, DVC, the object store. `--unchanged` names a run of the same that was remembered
whole: what it takes when nothing has to run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from retort_pipelines.runs import runs
from retort_pipelines.runs.client import Kubeflow, kubeflow
from retort_pipelines.runs.status import StageStatus

from retort.pod.run_records import Records
from retort.run.tasks import graph


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--unchanged", help="a run in which every stage was remembered")
    parser.add_argument("--namespace", default="kubeflow", help="the runs', where several users share the installation")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    where = kubeflow(namespace=arguments.namespace)
    found = runs.find(where, arguments.run)
    config, remote = runs.config_of(found.runtime_config.parameters)
    groups = {name: [task.address for task in tasks] for name, tasks in graph(config).groups.items()}
    rows = stages(runs.statuses(where.workflow(found.run_id)), Records.of(remote, found.run_id).timings(), groups)
    whole = {"run": wall(where, found.run_id)}
    if arguments.unchanged:
        whole["unchanged"] = wall(where, runs.find(where, arguments.unchanged).run_id)
    print(json.dumps({"stages": rows, "seconds": whole}) if arguments.json else table(rows, whole))


def stages(
    statuses: Sequence[StageStatus], timings: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Seconds a task of each group that ran: in its pod, alone, and the difference; retried ones are left out.

    `groups` are the addresses of each group's tasks.
    """
    rows = []
    for one in statuses:
        alone = [timing["seconds"] for timing in timings if timing["task"] in groups.get(one.stage, ())]
        if alone and len(alone) == one.attempts:
            pod, bare = one.pod_seconds / len(alone), sum(alone) / len(alone)
            rows.append({"stage": one.stage, "tasks": len(alone), "pod": pod, "alone": bare, "overhead": pod - bare})
    return rows


def wall(where: Kubeflow, run_id: str) -> float:
    """Seconds of a run's workflow, from its creation to its end."""
    status = where.workflow(run_id)["status"]
    return (datetime.fromisoformat(status["finishedAt"]) - datetime.fromisoformat(status["startedAt"])).total_seconds()


def table(rows: Sequence[Mapping[str, Any]], whole: Mapping[str, float]) -> str:
    """Both as Markdown."""
    lines = ["| stage | tasks | pod, s | stage alone, s | difference, s |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['stage']} | {row['tasks']} | {row['pod']:.1f} | {row['alone']:.1f} | {row['overhead']:.1f} |"
        )
    return "\n".join([*lines, "", *(f"{name}: {seconds:.0f} s" for name, seconds in whole.items())])


if __name__ == "__main__":
    main()
