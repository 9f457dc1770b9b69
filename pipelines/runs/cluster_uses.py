"""What runs that are under way and schedules will still read of an object store.

A run that is under way has no lock yet, and Kubeflow may hand it fragments that an earlier run wrote. Which, no call of
its API tells; but those are of the same tasks made by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from retort_pipelines.runs import names, schedule
from retort_pipelines.runs.client import Kubeflow

from retort.errors import ConfigError, RetortError
from retort.pod.kept_settings import read
from retort.pod.lock_fragments import Fragment
from retort.pod.settings import CONFIGURATION, settings_in
from retort.run.paths import CODE
from retort.run.uses import Use


@dataclass
class ClusterUses:
    """What is under way, and what it may read."""

    names: list[str] = field(default_factory=list)
    """Runs and schedules."""
    tasks: set[tuple[str, str]] = field(default_factory=set)
    """Addresses of tasks with the hash of their code."""
    files: list[Use] = field(default_factory=list)
    """Source files."""

    def reads(self, fragment: Fragment) -> bool:
        """Whether Kubeflow may hand this fragment to one of them."""
        codes = {address: entry.get("params", {}).get(CODE, {}).get(address, "") for address, entry in fragment.items()}
        return any(pair in self.tasks for pair in codes.items())

    def add(self, by: str, given: Mapping[str, Any]) -> None:
        """Take in the arguments of a run or schedule.

        Raises:
            ConfigError: they cannot be read, as of another version of Retort.
            IntegrityError, StorageError: the settings that they name are not in the store, or it is away.
        """
        if CONFIGURATION not in given:
            if "prompts_settings" not in given:
                return  # none of Retort's
            raise _other_version(by, "its arguments have other names")
        self.names.append(by)
        try:
            for value in settings_in(given).values():
                told = read(value)
                self.tasks |= {(task.address, told.code[item]) for item, task in told.tasks.items()}
                self.files += [Use(file["md5"], file["path"], by) for file in told.files]
        except RetortError as error:
            raise type(error)(
                f"{by}: what it reads is not known, so nothing is removed. {error} Or wait for its end, or remove it."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _other_version(by, str(error)) from error


def cluster_uses(kubeflow: Kubeflow) -> ClusterUses:
    """What the runs under way and the schedules of a Kubeflow may read.

    Raises:
        ClusterError: it cannot be asked.
        ConfigError, IntegrityError, StorageError: what one of them reads cannot be known.
    """
    found = ClusterUses()
    for run in kubeflow.pages("list_runs", "runs", sort_by="created_at desc", namespace=kubeflow.namespace):
        if names.is_live(run) or run.state == "CANCELING":
            whole = kubeflow.ask(partial(_run, run.run_id))
            found.add(f"run {run.display_name}, {run.state}", _given(whole))
    for one in schedule.listed(kubeflow):
        found.add(f"schedule {one.display_name}", _given(one))
    return found


def _run(run_id: str, client: Any) -> Any:
    return client.get_run(run_id)


def _given(one: Any) -> dict[str, Any]:
    return dict((one.runtime_config and one.runtime_config.parameters) or {})


def _other_version(by: str, differs: str) -> ConfigError:
    return ConfigError(
        f"{by} was made by another version of Retort ({differs}), so what it reads is not known, and nothing is "
        "removed. Wait for its end, or remove it."
    )
