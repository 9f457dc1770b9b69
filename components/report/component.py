"""Component of stage `report`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def report(
    settings: str,
    report_page: dsl.Output[dsl.HTML],
    upstream: list = [],  # noqa: B006
    item: str = "",
    changes: list = [],  # noqa: B006
) -> str:
    """Write the run's report, numbers and model card.

    Args:
        settings: Address of the task's parameters, code hash, source files and store (`retort.pod.kept_settings`).
        report_page: The report, for Kubeflow's interface.
        upstream: Names of the fragments of the tasks that it reads from: their outputs by content hash.
        item: Empty: there is one report.
        changes: Values that the run was given one by one, as `key=value` (`retort.config.typed`).

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run(settings, upstream, item, changes, page=report_page.path)
