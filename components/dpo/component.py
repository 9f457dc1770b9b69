"""Component of stage `dpo`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def dpo(
    settings: str,
    metrics: dsl.Output[dsl.Metrics],
    model: dsl.Output[dsl.Model],
    upstream: list = [],  # noqa: B006
    item: str = "",
    changes: list = [],  # noqa: B006
) -> str:
    """Prefer the teacher's responses that agree with the vote to those that do not.

    Args:
        settings: Address of the tasks' parameters, code hash, source files and store (`retort.pod.kept_settings`).
        metrics: The task's figures.
        model: What it made, by its address in the object store, with hashes and figures; nothing is copied.
        upstream: Names of the fragments of the tasks that it reads from: their outputs by content hash.
        item: Which of the tasks that read the same, by its matrix values; empty where there is one.
        changes: Values that the run was given one by one, as `key=value` (`retort.config.typed`).

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run(settings, upstream, item, changes, metrics=metrics, made=model)
