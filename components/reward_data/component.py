"""Component of stage `reward_data`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def reward_data(
    settings: str,
    prompts: str,
    teacher_responses: str,
    votes: str,
    student_responses: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Label both models' responses by the votes, for the reward model.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        teacher_responses: Name of the merged fragments of `teacher_responses`: their outputs by content hash.
        votes: Name of the fragment of `votes`: its outputs by content hash.
        student_responses: Name of the merged fragments of `student_responses`: their outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("reward_data", settings, [prompts, teacher_responses, votes, student_responses], metrics=metrics)
