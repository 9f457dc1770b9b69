"""The distillation as a Kubeflow pipeline: the graph of the configuration, walked; an edge is the name of a fragment.

What a configuration decides about the graph's shape (students, rewards, shards, models, benchmarks) and what a profile
decides about places is fixed when the pipeline is built; everything else about a run is an argument
(`retort_pipelines.graph.compile.arguments`): what is usually changed by itself, with type and meaning for Kubeflow's
interface (`retort_pipelines.graph.offered`), and the rest as the settings of each group, by their
address in the store (`retort.pod.kept_settings`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

from kfp import dsl
from retort_components.stages import OF_THE_RUN, component_of, named
from retort_pipelines.graph.offered import Offered, offered, type_of
from retort_pipelines.graph.placement import Placement
from retort_pipelines.profiles import Profile

from retort.config import RetortConfig
from retort.config.typed import Typed
from retort.pod.settings import CONFIGURATION, operation, parameter_of, typed_of
from retort.run.graph import Graph, Task
from retort.run.tasks import graph

NAME = "retort-distil"


@dataclass(frozen=True)
class Schedule:
    """What a recurring run is beside a run."""

    name: str
    plan: str
    """Hash of what it runs, its data aside (`retort.pod.scheduled_data.plan_of`)."""
    data: dict[str, str] = field(default_factory=dict)
    """Address of the current content of each source file, by the name that the configuration gives it."""


def build(
    config: RetortConfig,
    profile: Profile,
    *,
    forced: Collection[str] = (),
    schedule: Schedule | None = None,
    root: Path = Path(),
    run: str = NAME,
    defaults: Mapping[str, Any] | None = None,
) -> Any:
    """The pipeline for the shape of `config`; parameters are those `offered` and the settings of every group.

    Args:
        config: Decides the tasks.
        profile: Decides where tasks go and what they may use.
        forced: Groups of tasks that run again though Kubeflow or DVC remembers what they make.
        schedule: For a recurring run: it ends at once where its data has not changed.
        root: Folder that the configuration's paths start from.
        run: What a tracker calls the run.
        defaults: Arguments of a run, so that the pipeline can be started as it is.
    """
    made = graph(config, root)
    tracked = config.tracker is not None
    on = Placement(profile, operation(config, made, run), tracked=tracked, forced=frozenset(forced))
    groups, open_ = made.groups, offered(config, made, root)
    reads = {name: [one.key for one in typed_of(config, tasks)] for name, tasks in groups.items()}
    loops = {
        name: _loop(name, tasks, _upstream(made, tasks), open_.of(reads[name]), on=on)
        for name, tasks in groups.items()
        if is_loop(tasks)
    }
    plain = [*map(parameter_of, groups), CONFIGURATION]
    signature = _signature(open_, plain, defaults or {})

    def distil(*arguments: Any) -> None:
        given = dict(zip(signature.parameters, arguments, strict=False))
        settings = {name: given[parameter_of(name)] for name in groups}
        values = Values(open_, given)
        named: dict[str, Any] = {} if schedule is None else {"schedule": schedule.name, "plan": schedule.plan}
        with dsl.ExitHandler(on(OF_THE_RUN["summary"](settings=settings["report"])), name="stages"):
            told = {"configuration": given[CONFIGURATION], "prompts": settings["prompts"], "report": settings["report"]}
            checked = on(OF_THE_RUN["parameters"](**told, changes=values.all(), data=values.data()))
            settings["prompts"] = checked.output
            tasks = partial(_tasks, made, on=on, loops=loops, values=values, reads=reads)
            if schedule is None:
                tasks(settings, after=checked)
                return
            named["changes"] = values.content()
            fresh = on(OF_THE_RUN["refresh"](settings=settings["prompts"], data=schedule.data, **named))
            with dsl.If(fresh.outputs["changed"] == True, name="changed"):  # noqa: E712 - kfp reads the comparison
                tasks(settings | {"prompts": fresh.outputs["settings"]}, **named)

    distil.__signature__ = signature  # type: ignore[attr-defined]
    distil.__doc__ = _words(open_, plain)
    return dsl.pipeline(distil, name=NAME, description="Distil a teacher into a student by its responses and rewards")


def _signature(open_: Offered, plain: Sequence[str], defaults: Mapping[str, Any]) -> Signature:
    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter(one.name, kind, annotation=one.type, default=one.default) for one in open_.parameters]
    settings = [Parameter(name, kind, annotation=str, default=defaults.get(name, Parameter.empty)) for name in plain]
    # Python wants those with a default last; Kubeflow's interface shows them in the alphabet's order (`INTERNAL`).
    return Signature([*settings, *parameters])


def _words(open_: Offered, plain: Sequence[str]) -> str:
    """The docstring in which Kubeflow looks for what parameters mean."""
    lines = [f"    {one.name}: {one.words}" for one in open_.parameters]
    lines += [f"    {name}: Made by `retort submit` or `retort compile`: leave it as it is." for name in plain]
    return "\n".join(["Distil a teacher into a student by its responses and rewards.", "", "Args:", *lines])


@dataclass(frozen=True)
class Values:
    """What a run is given one by one, as its tasks are told: `key=value` with Kubeflow's placeholder as the value."""

    offered: Offered
    given: Mapping[str, Any]

    def of(self, keys: Sequence[str]) -> list[str]:
        """Those of some keys."""
        return [f"{one.key}={self.given[one.name]}" for one in self.offered.of(keys)]

    def content(self) -> list[str]:
        """Those that decide results."""
        return [f"{one.key}={self.given[one.name]}" for one in self.offered.values if not one.operation]

    def all(self) -> list[str]:
        """All."""
        return [f"{one.key}={self.given[one.name]}" for one in self.offered.values]

    def data(self) -> dict[str, Any]:
        """Address of each source file."""
        return {path: self.given[name] for name, path in self.offered.files.items()}


def _tasks(
    made: Graph,
    settings: Mapping[str, Any],
    on: Placement,
    loops: Mapping[str, Any],
    values: Values,
    reads: Mapping[str, Sequence[str]],
    after: Any = None,
    **schedule: Any,
) -> None:
    """The tasks of a run, in the pipeline that is being built."""
    fragments: dict[str, Any] = {}
    for name, tasks in made.groups.items():
        upstream = [fragments[other] for other in _upstream(made, tasks)]
        if name in loops:
            items = [task.item for task in tasks]
            given = {f"upstream_{number}": one for number, one in enumerate(upstream)}
            given |= {one.name: values.given[one.name] for one in values.offered.of(reads[name])}
            task = loops[name](settings=settings[name], items=items, **given)
            fragments[name] = task.output
        else:
            told = {"settings": settings[name], "item": tasks[0].item, "changes": values.of(reads[name])}
            task = on(_component(tasks)(upstream=upstream, **told), tasks[0])
            fragments[name] = task.outputs["Output"]
        if after is not None and not upstream and name != "prompts":  # which is told by it
            task.after(after)
    on(OF_THE_RUN["record"](settings=settings["prompts"], fragments=list(fragments.values()), **schedule))


def _upstream(made: Graph, tasks: Sequence[Task]) -> list[str]:
    """Groups that a group reads from, in order."""
    return list(dict.fromkeys(maker.group for maker in made.producers(tasks[0])))


def _component(tasks: Sequence[Task]) -> Any:
    """The component of a group, under the group's name."""
    return named(component_of(tasks[0].stage.name), tasks[0].group)


def is_loop(tasks: Sequence[Task]) -> bool:
    """Whether a group's tasks are those of a loop over one key of their matrix."""
    return tasks[0].stage.fan is not None


def _loop(name: str, tasks: Sequence[Task], upstream: Sequence[str], typed: Sequence[Typed], *, on: Placement) -> Any:
    """A pipeline that runs the component of a group once an item and merges the fragments.

    A pipeline of its own, because `kfp.local` 2.17 replaces every input from another task inside a loop by the
    loop's item; inputs of the pipeline that holds the loop are left alone.
    """
    component = _component(tasks)
    kinds: dict[str, type] = {"settings": str, "items": list}
    kinds |= {f"upstream_{number}": str for number in range(len(upstream))}
    kinds |= {one.name: type_of(one) for one in typed}
    parameters = [Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for key, kind in kinds.items()]

    def loop(settings: Any, items: Any, *others: Any) -> Any:
        fragments, values = list(others[: len(upstream)]), others[len(upstream) :]
        changes = [f"{one.key}={value}" for one, value in zip(typed, values, strict=True)]
        with dsl.ParallelFor(items, name=f"each-{tasks[0].stage.fan}", parallelism=on.profile.parallelism) as item:
            task = on(component(settings=settings, item=item, upstream=fragments, changes=changes), tasks[0])
        return on(OF_THE_RUN["collect"](settings=settings, fragments=dsl.Collected(task.outputs["Output"]))).output

    loop.__signature__ = Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    return dsl.pipeline(loop, name=f"{name.replace('_', '-')}-tasks")
