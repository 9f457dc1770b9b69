"""Component of stage `sft`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def sft(
    settings: str, prompts: str, models: str, teacher_responses: str, votes: str, metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Fine-tune the base student on the teacher's responses that agree with the vote.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        models: Name of the fragment of `models`: its outputs by content hash.
        teacher_responses: Name of the merged fragments of `teacher_responses`: their outputs by content hash.
        votes: Name of the fragment of `votes`: its outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("sft", settings, [prompts, models, teacher_responses, votes], metrics=metrics)
