"""Component of stage `student_responses`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def student_responses(settings: str, item: str, prompts: str, sft: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Sample one shard of the fine-tuned student's responses.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        item: Number of the shard.
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        sft: Name of the fragment of `sft`: its outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("student_responses", settings, [prompts, sft], item, metrics=metrics)
