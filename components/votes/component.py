"""Component of stage `votes`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def votes(settings: str, prompts: str, teacher_responses: str) -> str:
    """Vote on each prompt's answer: its pseudo-label.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        prompts: Fragment of `prompts`: its outputs by content hash.
        teacher_responses: Merged fragments of `teacher_responses`: their outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("votes", settings, [prompts, teacher_responses])
