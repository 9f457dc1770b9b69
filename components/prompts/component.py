"""Component of stage `prompts`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def prompts(
    settings: str,
    metrics: dsl.Output[dsl.Metrics],
    data: dsl.Output[dsl.Dataset],
    upstream: list = [],  # noqa: B006
    item: str = "",
    changes: list = [],  # noqa: B006
) -> str:
    """Load, deduplicate, decontaminate and split the prompts.

    Args:
        settings: Address of the tasks' parameters, code hash, source files and store (`retort.pod.kept_settings`).
        metrics: The task's figures.
        data: What it made, by its address in the object store, with hashes and figures; nothing is copied.
        upstream: Names of the fragments of the tasks that it reads from: their outputs by content hash.
        item: Which of the tasks that read the same, by its matrix values; empty where there is one.
        changes: Values that the run was given one by one, as `key=value` (`retort.config.typed`).

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run(settings, upstream, item, changes, metrics=metrics, made=data)
