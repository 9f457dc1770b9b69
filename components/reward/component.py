"""Component of stage `reward`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def reward(settings: str, models: str, sft: str, reward_data: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Train the pointwise reward model and measure it against its gate.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        models: Name of the fragment of `models`: its outputs by content hash.
        sft: Name of the fragment of `sft`: its outputs by content hash.
        reward_data: Name of the fragment of `reward_data`: its outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("reward", settings, [models, sft, reward_data], metrics=metrics)
