"""Component of stage `prompts`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def prompts(settings: str, remote: str) -> str:
    """Load, deduplicate, decontaminate and split the prompts.

    Args:
        settings: Parameters, code hash and source files of the stage, as JSON (`retort.pod.settings`).
        remote: Folder or address of the object store that DVC keeps contents in.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("prompts", settings, remote)
