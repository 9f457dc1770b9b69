"""Component that checks what a run was given in Kubeflow's interface."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def parameters(configuration: str, prompts: str, report: str, changes: list, data: dict) -> str:
    """Check the values that a run was given one by one, before any stage, and take its data from its address.

    Args:
        configuration: The configuration that the pipeline was made for, and its object store, as JSON.
        prompts: Settings of stage `prompts` (`retort.pod.kept_settings`).
        report: Settings of stage `report`.
        changes: The values, as `key=value` (`retort.config.typed`).
        data: Address of the content of source files, by the name that the configuration gives them.

    Returns:
        Settings of stage `prompts` with that data.
    """
    from retort.pod.task import parameters as check

    return check(configuration, prompts, report, changes, data)
