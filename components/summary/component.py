"""Component that says how a run ended: its exit handler."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def summary(settings: str, status: dsl.PipelineTaskFinalStatus, summary_page: dsl.Output[dsl.Markdown]):
    """Collect what failed in a run: stage, pod, last lines, remedy.

    Args:
        settings: Settings of any task of the run; they say where the object store is (`retort.pod.kept_settings`).
        status: How the run ended, from Kubeflow.
        summary_page: The summary, for Kubeflow's interface.
    """
    from retort.pod.task import summarise

    summarise(settings, state=status.state, message=status.error_message, page=summary_page.path)
