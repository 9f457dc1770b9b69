"""Component of stage `report`."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def report(
    settings: str,
    prompts: str,
    models: str,
    teacher_responses: str,
    votes: str,
    sft: str,
    student_responses: str,
    reward_data: str,
    reward: str,
    ppo: str,
    sft_equal_compute: str,
    evaluate: str,
) -> str:
    """Write the run's report, numbers and model card.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.settings`).
        prompts: Fragment of `prompts`: its outputs by content hash.
        models: Fragment of `models`: its outputs by content hash.
        teacher_responses: Merged fragments of `teacher_responses`: their outputs by content hash.
        votes: Fragment of `votes`: its outputs by content hash.
        sft: Fragment of `sft`: its outputs by content hash.
        student_responses: Merged fragments of `student_responses`: their outputs by content hash.
        reward_data: Fragment of `reward_data`: its outputs by content hash.
        reward: Fragment of `reward`: its outputs by content hash.
        ppo: Fragment of `ppo`: its outputs by content hash.
        sft_equal_compute: Fragment of `sft_equal_compute`: its outputs by content hash.
        evaluate: Merged fragments of `evaluate`: their outputs by content hash.

    Returns:
        Fragment of the task: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod import run

    upstream = [
        prompts,
        models,
        teacher_responses,
        votes,
        sft,
        student_responses,
        reward_data,
        reward,
        ppo,
        sft_equal_compute,
        evaluate,
    ]
    return run("report", settings, upstream)
