"""The distillation as a Kubeflow pipeline: one line a stage, each edge a fragment that names outputs by content hash.

What a configuration decides about the graph's shape (shards, models and benchmarks to evaluate) is fixed when the
pipeline is built; everything else about a run is an argument (`pipelines.compile.arguments`).
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

import components.stages as run
from pipelines.resources import Placement
from retort.config import RetortConfig
from retort.graph import BY_NAME, tasks


def build(config: RetortConfig, *, retries: int = 3) -> Any:
    """The pipeline for the shape of `config`.

    Args:
        config: Decides shards, models and benchmarks.
        retries: Attempts of each task after the first; they resume where the one before stopped.
    """
    items = {name: [task.item for task in tasks(config, BY_NAME[name])] for name in _FANNED}
    teacher_shards, student_shards, evaluations = (_fan_out(*_FANNED[name], retries=retries) for name in _FANNED)

    @dsl.pipeline(name="retort-distil", description="Distil a teacher into a student by its responses and its rewards")
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
        accelerator_type: str = "nvidia.com/gpu",
        accelerator_limit: str = "1",
        tolerations: list = [],  # noqa: B006 - Kubeflow reads the default from the signature
        node_selector: dict = {},  # noqa: B006
        store_secret: str = "retort-store",  # noqa: S107 - a secret's name, not its content
        model_secret: str = "retort-models",  # noqa: S107
    ) -> str:
        place = {
            "accelerator_type": accelerator_type,
            "accelerator_limit": accelerator_limit,
            "tolerations": tolerations,
            "node_selector": node_selector,
            "store_secret": store_secret,
            "model_secret": model_secret,
        }
        on = Placement(retries=retries, **place)

        prompts = on.cpu(run.prompts(settings=prompts_settings)).output
        models = on.cpu(run.models(settings=models_settings)).output
        teacher = teacher_shards(
            settings=teacher_responses_settings,
            items=items["teacher_responses"],
            prompts=prompts,
            model=models,
            **place,
        ).output
        votes = on.cpu(run.votes(settings=votes_settings, prompts=prompts, teacher_responses=teacher)).output
        labelled = {"prompts": prompts, "teacher_responses": teacher, "votes": votes}
        sft = on.gpu(run.sft(settings=sft_settings, models=models, **labelled)).output
        student = student_shards(
            settings=student_responses_settings,
            items=items["student_responses"],
            prompts=prompts,
            model=sft,
            **place,
        ).output
        reward_data = on.cpu(
            run.reward_data(settings=reward_data_settings, student_responses=student, **labelled)
        ).output
        reward = on.gpu(run.reward(settings=reward_settings, models=models, sft=sft, reward_data=reward_data)).output
        ppo = on.gpu(
            run.ppo(settings=ppo_settings, prompts=prompts, models=models, votes=votes, sft=sft, reward=reward)
        ).output
        more_sft = on.gpu(
            run.sft_equal_compute(settings=sft_equal_compute_settings, models=models, sft=sft, ppo=ppo, **labelled)
        ).output
        makers = {"teacher": models, "base": models, "sft": sft, "ppo": ppo, "sft_equal_compute": more_sft}
        evaluated = [
            evaluations(
                settings=evaluate_settings,
                items=[item for item in items["evaluate"] if item.split("-")[0] == model],
                prompts=prompts,
                model=makers[model],
                **place,
            ).output
            for model in config.evaluate.models
        ]
        evaluate = on.cpu(run.collect(fragments=evaluated)).output
        trained = {"sft": sft, "reward": reward, "ppo": ppo, "sft_equal_compute": more_sft}
        data = {"student_responses": student, "reward_data": reward_data, "evaluate": evaluate}
        report = on.cpu(run.report(settings=report_settings, models=models, **labelled, **trained, **data)).output
        everything = [models, report, *labelled.values(), *trained.values(), *data.values()]
        return on.cpu(run.collect(fragments=everything)).output

    return distil


_FANNED: dict[str, tuple[Callable[..., dsl.PipelineTask], str]] = {
    "teacher_responses": (run.teacher_responses, "models"),
    "student_responses": (run.student_responses, "sft"),
    "evaluate": (run.evaluate, "model"),
}
"""Stages with a matrix: component, and its parameter for the fragment of the model that it runs."""


def _fan_out(component: Any, model_name: str, *, retries: int) -> Any:
    """A pipeline that runs `component` once an item and merges the fragments.

    A pipeline of its own, because `kfp.local` 2.17 replaces every input from another task inside a loop by the
    loop's item; inputs of the pipeline that holds the loop are left alone.
    """

    def fan_out(
        settings: str,
        items: list,
        prompts: str,
        model: str,
        accelerator_type: str,
        accelerator_limit: str,
        tolerations: list,
        node_selector: dict,
        store_secret: str,
        model_secret: str,
    ) -> str:
        on = Placement(
            accelerator_type, accelerator_limit, tolerations, node_selector, store_secret, model_secret, retries
        )
        with dsl.ParallelFor(items) as item:
            upstream = {"prompts": prompts, model_name: model}
            task = on.gpu(component(settings=settings, item=item, **upstream))
        return on.cpu(run.collect(fragments=dsl.Collected(task.output))).output

    return dsl.pipeline(fan_out, name=f"{component.name}-tasks")
