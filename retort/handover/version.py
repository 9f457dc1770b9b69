"""What a registry is told of a student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    """Name of the registered model."""
    run: str
    """Name of the run, and of the version."""
    uri: str
    """Where the student lies."""
    description: str
    author: str
    content: str
    """MD5 of its folder, as DVC has it: two versions with the same one are the same student."""
    figures: Mapping[str, float]
    """`retort.report.metrics.FIGURES`."""
    lineage: Mapping[str, str]
    """Run, student, commit, seed, teacher and base, by `retort.NAME`."""
    params: Mapping[str, Any]
    """Parameters of the run."""
