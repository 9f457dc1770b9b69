"""Component that merges the fragments of several tasks."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def collect(settings: str, fragments: list) -> str:
    """Merge the fragments of several tasks into one.

    Args:
        settings: Settings of any task of the run; they say where the object store is (`retort.pod.kept_settings`).
        fragments: Names of the fragments of several tasks.

    Returns:
        Name of one fragment that names all their outputs.
    """
    from retort.pod.task import collect as merge

    return merge(settings, fragments)
