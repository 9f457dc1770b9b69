"""The distillation as a Kubeflow pipeline: one line a stage, each edge the name of a fragment: outputs by content hash.

What a configuration decides about the graph's shape (shards, models and benchmarks to evaluate) and what a profile
decides about places is fixed when the pipeline is built; everything else about a run is an argument
(`pipelines.compile.arguments`).
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

import components.stages as run
from pipelines.profiles import Profile
from pipelines.resources import Placement
from retort.config import RetortConfig
from retort.graph import BY_NAME, tasks

NAME = "retort-distil"


def build(config: RetortConfig, profile: Profile, *, cached: bool = True) -> Any:
    """The pipeline for the shape of `config`.

    Args:
        config: Decides shards, models and benchmarks.
        profile: Decides where tasks go and what they may use.
        cached: Whether Kubeflow may skip tasks that it remembers.
    """
    items = {name: [task.item for task in tasks(config, BY_NAME[name])] for name in _FANNED}
    place = Placement(profile, vllm=config.teacher.type == "vllm")

    def on(task: dsl.PipelineTask) -> dsl.PipelineTask:
        return place(task, cached=cached)

    teacher_shards, student_shards, evaluations = (
        _fan_out(*_FANNED[name], on=on, parallelism=profile.parallelism) for name in _FANNED
    )

    @dsl.pipeline(name=NAME, description="Distil a teacher into a student by its responses and its rewards")
    def distil(
        prompts_settings: str,
        models_settings: str,
        teacher_responses_settings: str,
        votes_settings: str,
        sft_settings: str,
        student_responses_settings: str,
        reward_data_settings: str,
        reward_settings: str,
        ppo_settings: str,
        sft_equal_compute_settings: str,
        evaluate_settings: str,
        report_settings: str,
    ):
        # Of the run, not of its contents: never cached.
        ended = place(run.summary(settings=report_settings), cached=False)
        with dsl.ExitHandler(ended, name="stages"):
            prompts = on(run.prompts(settings=prompts_settings)).outputs["Output"]
            models = on(run.models(settings=models_settings)).outputs["Output"]
            teacher = teacher_shards(
                settings=teacher_responses_settings, items=items["teacher_responses"], prompts=prompts, model=models
            ).output
            votes = on(run.votes(settings=votes_settings, prompts=prompts, teacher_responses=teacher)).outputs["Output"]
            labelled = {"prompts": prompts, "teacher_responses": teacher, "votes": votes}
            sft = on(run.sft(settings=sft_settings, models=models, **labelled)).outputs["Output"]
            student = student_shards(
                settings=student_responses_settings, items=items["student_responses"], prompts=prompts, model=sft
            ).output
            reward_data = on(
                run.reward_data(settings=reward_data_settings, student_responses=student, **labelled)
            ).outputs["Output"]
            reward = on(run.reward(settings=reward_settings, models=models, sft=sft, reward_data=reward_data)).outputs[
                "Output"
            ]
            ppo = on(
                run.ppo(settings=ppo_settings, prompts=prompts, models=models, votes=votes, sft=sft, reward=reward)
            ).outputs["Output"]
            more_sft = on(
                run.sft_equal_compute(settings=sft_equal_compute_settings, models=models, sft=sft, ppo=ppo, **labelled)
            ).outputs["Output"]
            makers = {"teacher": models, "base": models, "sft": sft, "ppo": ppo, "sft_equal_compute": more_sft}
            evaluated = [
                evaluations(
                    settings=evaluate_settings,
                    items=[item for item in items["evaluate"] if item.split("-")[0] == model],
                    prompts=prompts,
                    model=makers[model],
                ).output
                for model in config.evaluate.models
            ]
            trained = [sft, reward, ppo, more_sft]
            everything = [models, *labelled.values(), student, reward_data, *trained, *evaluated]
            upstream = on(run.collect(settings=report_settings, fragments=everything)).output
            report = on(run.report(settings=report_settings, upstream=upstream)).outputs["Output"]
            place(run.record(settings=report_settings, fragments=[upstream, report]), cached=False)

    return distil


_FANNED: dict[str, tuple[Callable[..., dsl.PipelineTask], str]] = {
    "teacher_responses": (run.teacher_responses, "models"),
    "student_responses": (run.student_responses, "sft"),
    "evaluate": (run.evaluate, "model"),
}
"""Stages with a matrix: component, and its parameter for the fragment of the model that it runs."""


def _fan_out(component: Any, model_name: str, *, on: Callable[..., dsl.PipelineTask], parallelism: int) -> Any:
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
