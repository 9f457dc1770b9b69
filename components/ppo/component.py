"""Component of stage `ppo`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def ppo(settings: str, prompts: str, models: str, votes: str, sft: str, reward: str) -> str:
    """Refine the student against the reward model, if that passed its gate.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        prompts: Fragment of `prompts`: its outputs by content hash.
        models: Fragment of `models`: its outputs by content hash.
        votes: Fragment of `votes`: its outputs by content hash.
        sft: Fragment of `sft`: its outputs by content hash.
        reward: Fragment of `reward`: its outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    return run("ppo", settings, [prompts, models, votes, sft, reward])
