"""Component of stage `teacher_responses`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def teacher_responses(settings: str, item: str, prompts: str, models: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Sample one shard of the teacher's responses.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        item: Number of the shard.
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        models: Name of the fragment of `models`: its outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("teacher_responses", settings, [prompts, models], item, metrics=metrics)
