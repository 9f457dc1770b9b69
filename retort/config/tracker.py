"""Where figures of a run are shown beside its files: MLflow, TensorBoard or Weights & Biases."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from retort.config.base import Strict


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise ValueError(
            "holds a user or a password, and a configuration is stored and shown; give them in the environment "
            "(MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)"
        )
    return address


def _from_the_root(address: str) -> str:
    scheme, _, path = address.partition(":///")
    if scheme.startswith("sqlite") and path and not path.startswith("/"):
        raise ValueError(f"stages run in folders of their own: write the file from the root, {scheme}:////HOME/{path}")
    return address


Address = Annotated[str, AfterValidator(_without_credentials)]
"""Address of a server, without credentials."""


class MLflowConfig(Strict):
    """A tracking server of MLflow, or its SQLite file: a run there, and inside it a run for each task."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"type", "address", "experiment", "run"})

    type: Literal["mlflow"]
    """MLflow."""
    address: Annotated[Address, AfterValidator(_from_the_root)] | None = None
    """`http://...`, or `sqlite:////...` with a path from the root; MLFLOW_TRACKING_URI when left out."""
    experiment: str = Field("retort", min_length=1)
    """Experiment that runs belong to."""
    run: str | None = Field(None, min_length=1)
    """Name shown of the run; its own when left out."""


class TensorBoardConfig(Strict):
    """Event files of TensorBoard, a folder for each task."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"type", "folder", "run"})

    type: Literal["tensorboard"]
    """TensorBoard."""
    folder: Address = ".retort/trackers"
    """Folder, from the workspace, or address (`s3://BUCKET/FOLDER`); for a cluster an address."""
    run: str | None = Field(None, min_length=1)
    """Name shown of the run; its own when left out."""


class WandbConfig(Strict):
    """Weights & Biases: a run of Retort is a group there, and each of its tasks a run of it."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"type", "address", "project", "entity", "mode", "run"})

    type: Literal["wandb"]
    """Weights & Biases."""
    address: Address | None = None
    """Of a server of one's own; WANDB_BASE_URL or the public one when left out."""
    project: str = Field("retort", min_length=1)
    """Project that runs belong to."""
    entity: str | None = Field(None, min_length=1)
    """User or team; the key's own when left out."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes under `.retort/trackers`, for `wandb sync`."""
    run: str | None = Field(None, min_length=1)
    """Name shown of the run; its own when left out."""


TrackerConfig = Annotated[MLflowConfig | TensorBoardConfig | WandbConfig, Field(discriminator="type")]
"""A tracker."""
