"""Component that keeps the lock of a run."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def record(settings: str, fragments: list):
    """Keep the merged fragments of all stages as the lock of the run, which `retort pull` writes into a checkout.

    Args:
        settings: Settings of any stage of the run; they say where the object store is (`retort.pod.settings`).
        fragments: Names of the fragments of all stages.
    """
    from retort.pod import record as keep

    keep(settings, fragments)
