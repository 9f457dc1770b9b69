"""Component that merges the fragments of several tasks."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def collect(fragments: list) -> str:
    """Merge the fragments of several tasks into one.

    Args:
        fragments: Fragments of the shards of a stage, or of all tasks of a run.

    Returns:
        One fragment that names all their outputs.
    """
    from retort.pod import merge

    return merge(fragments)
