"""Component of stage `report`."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def report(settings: str, upstream: str, page: dsl.Output[dsl.HTML]) -> str:
    """Write the run's report, numbers and model card.

    Args:
        settings: Parameters, code hash, source files and object store of the stage, as JSON (`retort.pod.task`).
        upstream: Name of the merged fragments of every stage before it: their outputs by content hash.
        page: The report, for Kubeflow's interface.

    Returns:
        Name of the task's fragment: its outputs by content hash, for the tasks that read them.
    """
    from retort.pod.task import run

    return run("report", settings, [upstream], page=page.path)
