"""What a run was given one by one in Kubeflow's interface, checked together before any stage starts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from retort import plugins
from retort.config import RetortConfig, resolved
from retort.config.typed import folded, get, typed
from retort.pod.kept_settings import keep, read
from retort.pod.run_records import Records
from retort.pod.scheduled_data import with_data
from retort.run import dvc_adapter

SOURCE = "parameters of this run"
"""What messages call them."""


def check(configuration: str, prompts: str, report: str, changes: Sequence[str], data: Mapping[str, str]) -> str:
    """Check the run's configuration with the values that it was given, and take its data from where it was told.

    Args:
        configuration: The configuration that the pipeline was made for, and its object store.
        prompts: Settings of stage `prompts` (`retort.pod.kept_settings`).
        report: Settings of stage `report`, which reads the files of one's own methods, rewards and engines.
        changes: The values, as `key=value` (`retort.config.typed`).
        data: Address of the content of source files, by the configuration's name for them; empty: as submitted.

    Returns:
        The settings of stage `prompts` with that data.

    Raises:
        ConfigError: a value is wrong, by itself or with the others.
        StorageError: an address cannot be read.
    """
    told = json.loads(configuration)
    with tempfile.TemporaryDirectory(prefix="retort-") as folder:
        root = Path(folder)
        own = read(report).files
        if own:
            dvc_adapter.init(root, remote=told["remote"], site_cache=root / ".dvc/site")
            dvc_adapter.write_inputs(root, own)
            dvc_adapter.fetch_sources(root)
        with plugins.at(root):
            config = folded(RetortConfig.model_validate(told["config"]), changes, SOURCE)
            operation = {one.key: get(resolved(config), one.key) for one in typed(config) if one.operation}
    if operation and (records := Records.here(told["remote"])) is not None:
        records.keep_operation(operation)
    named = {name: address.strip() for name, address in data.items() if address.strip()}
    return keep(with_data(read(prompts), named, SOURCE)) if named else prompts
