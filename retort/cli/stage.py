"""`retort stage NAME`: run one stage here; what DVC, local Kubeflow and pods all call."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from retort.io.rank import is_rank_zero


def several_nodes() -> bool:
    """Whether this machine is one of several that train together, as Kubeflow's Trainer tells torch's launcher."""
    return int(os.environ.get("PET_NNODES", "1")) > 1


def launch(processes: int) -> NoReturn:
    """Become torch's launcher of this very command with so many processes on this machine.

    On one of several nodes (`PET_NNODES`) the launcher takes all it has to know from the environment. `accelerate
    launch`, which starts the same processes on GPUs, starts only one on a CPU without MPI.
    """
    # Whatever a launcher does or leaves out, a process that it starts does not launch again.
    environment = os.environ | {"RETORT_PROCESSES": "1", "RETORT_LAUNCHED": "1"}
    launcher = ["-m", "torch.distributed.run"]
    if not several_nodes():
        launcher += ["--standalone", "--nproc_per_node", str(processes)]
        launcher += ["--local_addr", "127.0.0.1"]  # the machine's own name need not resolve
        if sys.platform == "linux":
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.execve(sys.executable, [sys.executable, *launcher, "-m", "retort", *sys.argv[1:]], environment)  # noqa: S606


def stage(
    name: Annotated[str, typer.Argument(help="Stage to run: `votes`, `reward`, a training method.")],
    shard: Annotated[str | None, typer.Option(help="Shard of a response stage.")] = None,
    student: Annotated[str | None, typer.Option(help="Student that is trained or sampled from.")] = None,
    reward: Annotated[str | None, typer.Option(help="Reward that `reward_data` and `reward` are for.")] = None,
    model: Annotated[str | None, typer.Option(help="Model or student that `evaluate` asks.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Benchmark that `evaluate` asks it.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with params.yaml.")] = Path(),
    processes: Annotated[
        int,
        typer.Option(
            min=1, envvar="RETORT_PROCESSES", help="Processes that train together, one a GPU (stages that train)."
        ),
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Run one task of a stage in a workspace and print its metrics."""
    from retort.io import terminal
    from retort.modeling import preemption
    from retort.run.figures import figure
    from retort.run.paths import Paths
    from retort.run.stage import read_task, run_stage

    options = {"student": student, "shard": shard, "reward": reward, "model": model, "benchmark": benchmark}
    given = {key: value for key, value in options.items() if value is not None}
    if (processes > 1 or several_nodes()) and not {"RETORT_LAUNCHED", "WORLD_SIZE"} & os.environ.keys():
        task, _ = read_task(name, given, workspace)
        if task.stage.trains:
            launch(processes)
    preemption.listen()
    with terminal.aside(Paths(workspace).log("-".join([name, *given.values()]))):
        metrics = run_stage(name, given, workspace)
    if not is_rank_zero():
        return
    if as_json:
        print(json.dumps(metrics, sort_keys=True))
    elif terminal.level() == "verbose":
        print("\n".join(f"{key}: {shown}" for key, value in metrics.items() if (shown := figure(value)) is not None))
