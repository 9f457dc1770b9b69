"""A run's student as a version of a model, with figures and lineage, in Kubeflow's or MLflow's registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from retort.errors import ConfigError
from retort.handover.kubeflow_registry import KubeflowRegistry
from retort.handover.mlflow_registry import MLflowRegistry
from retort.handover.student import Student
from retort.handover.version import Version
from retort.run.record import read_record


class Registry(Protocol):
    """A model registry; versions are named by their runs."""

    def register(self, version: Version) -> str:
        """Make the version, unless it is there already; return where a person finds it.

        Raises:
            ConfigError: it is there with other content, or the server refuses.
            StorageError: the server is away.
        """
        ...

    def crown(self, model: str, run: str) -> None:
        """Mark the version of a run as the champion of its model, and no other one.

        Raises:
            ConfigError: there is no such version.
        """
        ...

    def champion(self, model: str) -> str | None:
        """The run whose version is marked as the champion; None where none is."""
        ...


_KINDS: Mapping[str, Callable[[str], Registry]] = {"kubeflow": KubeflowRegistry, "mlflow": MLflowRegistry}


def registry(place: str) -> Registry:
    """The registry at `kubeflow:http://...` or `mlflow:http://...`.

    Raises:
        ConfigError: it is neither.
    """
    kind, _, address = place.partition(":")
    if kind not in _KINDS or not address.startswith(("http://", "https://")):
        raise ConfigError(f"{place}: name a registry as {' or '.join(f'{name}:http://ADDRESS' for name in _KINDS)}.")
    return _KINDS[kind](address)


def version_of(student: Student, model: str, uri: str) -> Version:
    """What is registered of a student.

    Args:
        student: The student.
        model: Name of the registered model, the same for all its versions.
        uri: Where the exported student lies.
    """
    params, record = student.params(), read_record(student.root)
    models = student.report["stages"].get("models", {}).get("models", {})
    lineage = {
        "retort.run": student.run,
        "retort.student": student.name,
        "retort.content": student.content,
        "retort.benchmark": str(student.report["benchmark"]),
        "retort.seed": str(params["seed"]),
        **{f"retort.{name}": str(facts["model"]) for name, facts in models.items()},
    }
    if record is not None and record.commit:
        lineage["retort.commit"] = record.commit
    return Version(
        model=model,
        run=student.run,
        uri=uri,
        description=f"{student.label} of run {student.run}",
        author=record.who if record else "",
        content=student.content,
        figures=dict(student.summary),
        lineage=lineage,
        params=params,
    )
