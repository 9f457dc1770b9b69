"""Component of stage `sft_equal_compute`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def sft_equal_compute(
    settings: str,
    prompts: str,
    models: str,
    teacher_responses: str,
    votes: str,
    sft: str,
    ppo: str,
) -> str:
    """Train the baseline: fine-tuning for as long as PPO took as well.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        prompts: Fragment of `prompts`: its outputs by content hash.
        models: Fragment of `models`: its outputs by content hash.
        teacher_responses: Merged fragments of `teacher_responses`: their outputs by content hash.
        votes: Fragment of `votes`: its outputs by content hash.
        sft: Fragment of `sft`: its outputs by content hash.
        ppo: Fragment of `ppo`: its outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("sft_equal_compute", settings, [prompts, models, teacher_responses, votes, sft, ppo])
