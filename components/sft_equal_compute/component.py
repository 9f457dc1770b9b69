"""Component of stage `sft_equal_compute`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def sft_equal_compute(
    settings: str,
    prompts: str,
    models: str,
    teacher_responses: str,
    votes: str,
    sft: str,
    ppo: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Train the baseline: fine-tuning for as long as PPO took as well.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        prompts: Name of the fragment of `prompts`: its outputs by content hash.
        models: Name of the fragment of `models`: its outputs by content hash.
        teacher_responses: Name of the merged fragments of `teacher_responses`: their outputs by content hash.
        votes: Name of the fragment of `votes`: its outputs by content hash.
        sft: Name of the fragment of `sft`: its outputs by content hash.
        ppo: Name of the fragment of `ppo`: its outputs by content hash.
        metrics: The stage's figures, and the hashes of its outputs.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("sft_equal_compute", settings, [prompts, models, teacher_responses, votes, sft, ppo], metrics=metrics)
