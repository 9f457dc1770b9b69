"""Component of stage `grpo`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def grpo(settings: str, metrics: dsl.Output[dsl.Metrics], upstream: list = [], item: str = "") -> str:  # noqa: B006
    """Refine the student against a reward by comparing the responses to one prompt.

    Args:
        settings: Parameters, code hash, source files and object store of the tasks, as JSON (`retort.pod.settings`).
        metrics: The task's figures, and the hashes of its outputs.
        upstream: Names of the fragments of the tasks that it reads from: their outputs by content hash.
        item: Which of the tasks that read the same, by its matrix values; empty where there is one.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run(settings, upstream, item, metrics=metrics)
