"""Component that keeps the lock of a run."""

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def record(settings: str, fragments: list, schedule: str = "", plan: str = "", changes: list = []):  # noqa: B006
    """Keep the merged fragments of all tasks as the lock of the run, which `retort pull` writes into a checkout.

    Args:
        settings: Settings of stage `prompts`; they say where the object store is (`retort.pod.kept_settings`).
        fragments: Names of the fragments of all tasks.
        schedule: Name of the schedule that the run belongs to, if it does.
        plan: Hash of what that schedule runs, its data aside.
        changes: Values that this run was given one by one, as `key=value` (`retort.config.typed`).
    """
    from retort.pod.scheduled_data import ended_well
    from retort.pod.task import record as keep

    keep(settings, fragments)
    if schedule:
        ended_well(settings, schedule, plan, changes)
