"""The tracker that a configuration names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from retort.tracking.protocol import Tracker

_PACKAGES = {
    "mlflow": ("mlflow", "mlflow-skinny"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
}
"""Module of each tracker, and the distribution that brings it beside Retort's own dependencies."""
_SQL = ("sqlalchemy", "alembic")


def missing(config: Any) -> str:
    """What keeps a tracker from being told anything on this machine, and what to do; empty where nothing does.

    Args:
        config: A section of `retort.config.tracker`.
    """
    module, package = _PACKAGES[config.type]
    modules = [module]
    if config.type == "tensorboard" and importlib.util.find_spec("tensorboardX"):
        modules = ["tensorboardX"]
    if config.type == "mlflow":
        address = config.address or os.environ.get("MLFLOW_TRACKING_URI", "")
        if not address:
            return "names no address, and MLFLOW_TRACKING_URI is not set: say where MLflow is."
        modules += _SQL if "sql" in address.partition(":")[0] else ()
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    wanted = " ".join(package if name == module else name for name in absent)
    return (
        f"{', '.join(absent)} is not installed, so nothing would arrive there: `pip install {wanted}`, or leave it out."
    )


def make(config: Any, root: Path) -> Tracker:
    """The tracker of a section of `retort.config.tracker`; imports its package.

    Args:
        config: The section.
        root: Workspace, which relative folders start from.
    """
    if config.type == "mlflow":
        from retort.tracking.mlflow_runs import MLflowRuns

        return MLflowRuns(config)
    if config.type == "tensorboard":
        from retort.tracking.event_files import EventFiles

        return EventFiles(config, root)
    from retort.tracking.wandb_runs import WandbRuns

    return WandbRuns(config, root)
