"""Component of stage `evaluate`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def evaluate(settings: str, item: str, prompts: str, model: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Evaluate one model on one benchmark.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        item: Model and benchmark, as `ppo-heldout`.
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        model: Fragment of the stage that made the model.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("evaluate", settings, [prompts, model], item, metrics=metrics)
