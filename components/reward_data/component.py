"""Component of stage `reward_data`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def reward_data(settings: str, prompts: str, teacher_responses: str, votes: str, student_responses: str) -> str:
    """Label both models' responses by the votes, for the reward model.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        prompts: Fragment of `prompts`: its outputs by content hash.
        teacher_responses: Merged fragments of `teacher_responses`: their outputs by content hash.
        votes: Fragment of `votes`: its outputs by content hash.
        student_responses: Merged fragments of `student_responses`: their outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("reward_data", settings, [prompts, teacher_responses, votes, student_responses])
