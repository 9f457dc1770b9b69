"""Component of stage `prompts`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def prompts(settings: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Load, deduplicate, decontaminate and split the prompts.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("prompts", settings, metrics=metrics)
