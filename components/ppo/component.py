"""Component of stage `ppo`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def ppo(
    settings: str, prompts: str, models: str, votes: str, sft: str, reward: str, metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Refine the student against the reward model, if that passed its gate.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        models: Name of the fragment of `models`: its outputs by content hash.
        votes: Name of the fragment of `votes`: its outputs by content hash.
        sft: Name of the fragment of `sft`: its outputs by content hash.
        reward: Name of the fragment of `reward`: its outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("ppo", settings, [prompts, models, votes, sft, reward], metrics=metrics)
