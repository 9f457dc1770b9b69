"""Every component: those of stages by the name of the stage, and those that keep the books of a run."""

from __future__ import annotations

import copy
import importlib
import importlib.util
from functools import cache
from typing import Any

from retort_components.collect.component import collect
from retort_components.parameters.component import parameters
from retort_components.record.component import record
from retort_components.refresh.component import refresh
from retort_components.summary.component import summary

from retort.run.known_stages import known_stages

OF_THE_RUN = {"collect": collect, "parameters": parameters, "record": record, "refresh": refresh, "summary": summary}
"""Components about the run rather than its contents."""


@cache
def component_of(stage: str) -> Any:
    """The component of a stage: the one in its folder here, else `plugin`, for a method of another package."""
    if importlib.util.find_spec(f"retort_components.{stage}") is None:
        return named(component_of("plugin"), stage)
    return getattr(importlib.import_module(f"retort_components.{stage}.component"), stage)


def named(component: Any, name: str) -> Any:
    """The same component under another name, which Kubeflow shows and gives to pods: `sft-more`."""
    found = copy.deepcopy(component)
    found.component_spec.name = found.name = name.replace("_", "-")
    return found


def folders() -> dict[str, Any]:
    """Every component that has a folder here, by its name."""
    return {name: component_of(name) for name in [*known_stages(), "plugin"]} | OF_THE_RUN
