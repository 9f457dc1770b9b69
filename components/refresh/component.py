"""Component that takes a schedule's data as it is when the schedule fires."""

from typing import NamedTuple

from kfp import dsl
from retort_components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def refresh(settings: str, schedule: str, plan: str, data: dict, changes: list = []) -> NamedTuple(  # type: ignore[valid-type] # noqa: B006 # kfp reads the outputs from it
    "Fresh", [("settings", str), ("changed", bool)]
):
    """Take a schedule's data as it is now, and say whether a run on it would be news.

    Args:
        settings: Settings of stage `prompts`, with the data as it was when the schedule was set.
        schedule: Name of the schedule.
        plan: Hash of everything else that the schedule runs.
        data: Address of the current content of each source file, by the name that the configuration gives it.
        changes: Values that this run was given one by one, as `key=value` (`retort.config.typed`).

    Returns:
        Settings of stage `prompts` with the data as it is now; whether a run has not ended well on them yet.
    """
    from retort.pod.task import refresh as take

    return take(settings, schedule, plan, data, changes)
