"""The distillation as a Kubeflow pipeline: one line a stage, each edge the name of a fragment: outputs by content hash.

What a configuration decides about the graph's shape (shards, models and benchmarks to evaluate) and what a profile
decides about places is fixed when the pipeline is built; everything else about a run is an argument
(`retort_pipelines.graph.compile.arguments`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from typing import Any

import retort_components.stages as run
from kfp import dsl
from retort_pipelines.graph.placement import Placement
from retort_pipelines.profiles import Profile

from retort.config import RetortConfig
from retort.run.graph import BY_NAME, STAGES, tasks

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
    config: RetortConfig, profile: Profile, *, forced: Collection[str] = (), schedule: Schedule | None = None
) -> Any:
    """The pipeline for the shape of `config`; its parameters are `STAGE_settings` for every stage.

    Args:
        config: Decides shards, models and benchmarks.
        profile: Decides where tasks go and what they may use.
        forced: Stages that run again though Kubeflow or DVC remembers what they make.
        schedule: For a recurring run: it ends at once where its data has not changed.
    """
    on = Placement(profile, vllm=config.teacher.type == "vllm", forced=frozenset(forced))
    fan_outs = {name: _fan_out(*_FANNED[name], on=on, parallelism=profile.parallelism) for name in _FANNED}
    parameters = [Parameter(f"{s.name}_settings", Parameter.POSITIONAL_OR_KEYWORD, annotation=str) for s in STAGES]

    def distil(*arguments: str) -> None:
        given = {stage.name: value for stage, value in zip(STAGES, arguments, strict=True)}
        with dsl.ExitHandler(on(run.summary(settings=given["report"])), name="stages"):
            if schedule is None:
                _stages(config, given, on, fan_outs)
                return
            named = {"schedule": schedule.name, "plan": schedule.plan}
            fresh = on(run.refresh(settings=given["prompts"], data=schedule.data, **named))
            with dsl.If(fresh.outputs["changed"] == True, name="changed"):  # noqa: E712 - kfp reads the comparison
                _stages(config, given | {"prompts": fresh.outputs["settings"]}, on, fan_outs, **named)

    distil.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return dsl.pipeline(distil, name=NAME, description="Distil a teacher into a student by its responses and rewards")


def _stages(
    config: RetortConfig, settings: Mapping[str, Any], on: Placement, fan_outs: Mapping[str, Any], **schedule: str
) -> None:
    """The tasks of a run, in the pipeline that is being built."""

    def items(stage: str, model: str | None = None) -> list[str]:
        found = tasks(config, BY_NAME[stage])
        return [task.item for task in found if model is None or task.values["model"] == model]

    def do(component: Any, **upstream: Any) -> Any:
        return on(component(settings=settings[component.name.replace("-", "_")], **upstream)).outputs["Output"]

    def fan(stage: str, prompts: Any, made_by: Any, model: str | None = None) -> Any:
        return fan_outs[stage](
            settings=settings[stage], items=items(stage, model), prompts=prompts, model=made_by
        ).output

    prompts = do(run.prompts)
    models = do(run.models)
    teacher = fan("teacher_responses", prompts, models)
    votes = do(run.votes, prompts=prompts, teacher_responses=teacher)
    labelled = {"prompts": prompts, "teacher_responses": teacher, "votes": votes}
    sft = do(run.sft, models=models, **labelled)
    student = fan("student_responses", prompts, sft)
    reward_data = do(run.reward_data, student_responses=student, **labelled)
    reward = do(run.reward, models=models, sft=sft, reward_data=reward_data)
    ppo = do(run.ppo, prompts=prompts, models=models, votes=votes, sft=sft, reward=reward)
    more_sft = do(run.sft_equal_compute, models=models, sft=sft, ppo=ppo, **labelled)
    makers = {"teacher": models, "base": models, "sft": sft, "ppo": ppo, "sft_equal_compute": more_sft}
    evaluated = [fan("evaluate", prompts, makers[model], model) for model in config.evaluate.models]
    everything = [models, *labelled.values(), student, reward_data, sft, reward, ppo, more_sft, *evaluated]
    upstream = on(run.collect(settings=settings["report"], fragments=everything)).output
    report = do(run.report, upstream=upstream)
    on(run.record(settings=settings["prompts"], fragments=[upstream, report], **schedule))


_FANNED: dict[str, tuple[Callable[..., dsl.PipelineTask], str]] = {
    "teacher_responses": (run.teacher_responses, "models"),
    "student_responses": (run.student_responses, "sft"),
    "evaluate": (run.evaluate, "model"),
}
"""Stages with a matrix: component, and its parameter for the fragment of the model that it runs."""


def _fan_out(component: Any, model_name: str, *, on: Placement, parallelism: int) -> Any:
    """A pipeline that runs `component` once an item and merges the fragments.

    A pipeline of its own, because `kfp.local` 2.17 replaces every input from another task inside a loop by the
    loop's item; inputs of the pipeline that holds the loop are left alone.
    """

    def fan_out(settings: str, items: list, prompts: str, model: str) -> str:
        with dsl.ParallelFor(items, parallelism=parallelism) as item:
            upstream = {"prompts": prompts, model_name: model}
            task = on(component(settings=settings, item=item, **upstream))
        return on(run.collect(settings=settings, fragments=dsl.Collected(task.outputs["Output"]))).output

    return dsl.pipeline(fan_out, name=f"{component.name}-tasks")
