"""The distillation as a Kubeflow pipeline: the graph of the configuration, walked; an edge is the name of a fragment.

What a configuration decides about the graph's shape (students, rewards, shards, models, benchmarks) and what a profile
decides about places is fixed when the pipeline is built; everything else about a run is an argument
(`retort_pipelines.graph.compile.arguments`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

from kfp import dsl
from retort_components.stages import OF_THE_RUN, component_of, named
from retort_pipelines.graph.placement import Placement
from retort_pipelines.profiles import Profile

from retort.config import RetortConfig
from retort.pod.settings import operation
from retort.run.graph import Graph, Task
from retort.run.tasks import graph

NAME = "retort-distil"

CONFIGURATION = "configuration"
"""Argument with the whole configuration, which no task reads: for people, and for commands about the run."""


@dataclass(frozen=True)
class Schedule:
    """What a recurring run is beside a run."""

    name: str
    plan: str
    """Hash of what it runs, its data aside (`retort.pod.scheduled_data.plan_of`)."""
    data: dict[str, str] = field(default_factory=dict)
    """Address of the current content of each source file, by the name that the configuration gives it."""


def parameter_of(group: str) -> str:
    """Parameter of the pipeline with the settings of a group of tasks."""
    return f"{group.replace('-', '_')}_settings"


def build(
    config: RetortConfig,
    profile: Profile,
    *,
    forced: Collection[str] = (),
    schedule: Schedule | None = None,
    root: Path = Path(),
    run: str = NAME,
) -> Any:
    """The pipeline for the shape of `config`; its parameters are `GROUP_settings` for every group of tasks.

    Args:
        config: Decides the tasks.
        profile: Decides where tasks go and what they may use.
        forced: Groups of tasks that run again though Kubeflow or DVC remembers what they make.
        schedule: For a recurring run: it ends at once where its data has not changed.
        root: Folder that the configuration's paths start from.
        run: What a tracker calls the run.
    """
    made = graph(config, root)
    tracked = config.tracker is not None
    on = Placement(profile, operation(config, made, run), tracked=tracked, forced=frozenset(forced))
    groups = made.groups
    loops = {name: _loop(name, tasks, _upstream(made, tasks), on=on) for name, tasks in groups.items() if _loops(tasks)}
    names = [*map(parameter_of, groups), CONFIGURATION]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=str) for name in names]

    def distil(*arguments: str) -> None:
        given = dict(zip(groups, arguments, strict=False))
        with dsl.ExitHandler(on(OF_THE_RUN["summary"](settings=given["report"])), name="stages"):
            if schedule is None:
                _tasks(made, given, on, loops)
                return
            named = {"schedule": schedule.name, "plan": schedule.plan}
            fresh = on(OF_THE_RUN["refresh"](settings=given["prompts"], data=schedule.data, **named))
            with dsl.If(fresh.outputs["changed"] == True, name="changed"):  # noqa: E712 - kfp reads the comparison
                _tasks(made, given | {"prompts": fresh.outputs["settings"]}, on, loops, **named)

    distil.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return dsl.pipeline(distil, name=NAME, description="Distil a teacher into a student by its responses and rewards")


def _tasks(made: Graph, settings: Mapping[str, Any], on: Placement, loops: Mapping[str, Any], **schedule: str) -> None:
    """The tasks of a run, in the pipeline that is being built."""
    fragments: dict[str, Any] = {}
    for name, tasks in made.groups.items():
        upstream = [fragments[other] for other in _upstream(made, tasks)]
        if name in loops:
            items = [task.item for task in tasks]
            given = {f"upstream_{number}": one for number, one in enumerate(upstream)}
            fragments[name] = loops[name](settings=settings[name], items=items, **given).output
        else:
            task = _component(tasks)(settings=settings[name], upstream=upstream, item=tasks[0].item)
            fragments[name] = on(task, tasks[0]).outputs["Output"]
    on(OF_THE_RUN["record"](settings=settings["prompts"], fragments=list(fragments.values()), **schedule))


def _upstream(made: Graph, tasks: Sequence[Task]) -> list[str]:
    """Groups that a group reads from, in order."""
    return list(dict.fromkeys(maker.group for maker in made.producers(tasks[0])))


def _component(tasks: Sequence[Task]) -> Any:
    """The component of a group, under the group's name."""
    return named(component_of(tasks[0].stage.name), tasks[0].group)


def _loops(tasks: Sequence[Task]) -> bool:
    return tasks[0].stage.fan is not None


def _loop(name: str, tasks: Sequence[Task], upstream: Sequence[str], *, on: Placement) -> Any:
    """A pipeline that runs the component of a group once an item and merges the fragments.

    A pipeline of its own, because `kfp.local` 2.17 replaces every input from another task inside a loop by the
    loop's item; inputs of the pipeline that holds the loop are left alone.
    """
    component = _component(tasks)
    inputs = [f"upstream_{number}" for number in range(len(upstream))]
    parameters = [
        Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, annotation=list if key == "items" else str)
        for key in ("settings", "items", *inputs)
    ]

    def loop(settings: Any, items: Any, *fragments: Any) -> Any:
        with dsl.ParallelFor(items, parallelism=on.profile.parallelism) as item:
            task = on(component(settings=settings, item=item, upstream=list(fragments)), tasks[0])
        return on(OF_THE_RUN["collect"](settings=settings, fragments=dsl.Collected(task.outputs["Output"]))).output

    loop.__signature__ = Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    return dsl.pipeline(loop, name=f"{name.replace('_', '-')}-tasks")
