"""Component of stage `teacher_responses`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def teacher_responses(settings: str, item: str, prompts: str, models: str) -> str:
    """Sample one shard of the teacher's responses.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        item: Number of the shard.
        prompts: Fragment of `prompts`: its outputs by content hash.
        models: Fragment of `models`: its outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("teacher_responses", settings, [prompts, models], item)
