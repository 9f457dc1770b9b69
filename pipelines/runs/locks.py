"""The lock of a run of a cluster, for `retort verify`: whole, or as far as the run came."""

from __future__ import annotations

from retort_pipelines.profiles import load_profile
from retort_pipelines.runs import runs
from retort_pipelines.runs.client import kubeflow

from retort.errors import InputError, IntegrityError
from retort.pod import lock_fragments
from retort.pod.run_records import Records
from retort.run.dvc_adapter import Entry


def lock_of(run: str, profile: str, host: str | None) -> tuple[str, dict[str, Entry]]:
    """Object store and lock entries of a run; of one that failed, what its failed tasks were to read.

    Raises:
        ConfigError: there is no such run.
        InputError: nothing is recorded of it.
    """
    found = runs.find(kubeflow(host, namespace=load_profile(profile).namespace), run)
    _, remote = runs.config_of(found.runtime_config.parameters)
    return remote, recorded(remote, Records.of(remote, found.run_id))


def recorded(remote: str, records: Records) -> dict[str, Entry]:
    """Lock entries of a run from its records.

    Raises:
        InputError: nothing is recorded of it.
    """
    try:
        return records.lock()
    except InputError:
        names = dict.fromkeys(name for failure in records.failures() for name in failure.upstream)
        lock: dict[str, Entry] = {}
        for name in names:
            try:
                lock |= lock_fragments.load(name, remote)
            except IntegrityError:
                continue  # the failure itself says so
        if not lock:
            raise
        return lock
