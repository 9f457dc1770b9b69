"""Component of stage `student_responses`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def student_responses(settings: str, item: str, prompts: str, sft: str) -> str:
    """Sample one shard of the fine-tuned student's responses.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        item: Number of the shard.
        prompts: Fragment of `prompts`: its outputs by content hash.
        sft: Fragment of `sft`: its outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("student_responses", settings, [prompts, sft], item)
