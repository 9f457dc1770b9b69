"""Settings by reference: what pods are told is an object of the run's store; a run's arguments hold its address.

Kubeflow repeats the arguments of a task in five nodes of a workflow, and Kubernetes keeps a workflow to about 1 MB. The
settings of a loop name all its items and are given to each, so that as texts they would fill it by the square of the
number of shards. An address is `REMOTE/settings/SHA256`, by the hash of what lies there: equal settings have an equal
address, which is as good a cache key as they are. How often the store was collected follows it (`#generation=2`):
that voids what Kubeflow remembers and says nothing else.

Settings may be given as the text itself, too: so runs hold them that were submitted before there were addresses.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

from retort.errors import ConfigError
from retort.io.objects import Objects
from retort.pod.hashed_objects import read_hashed, write_hashed
from retort.pod.settings import GroupSettings

FOLDER = "settings"
"""Folder of the store; nothing in it is ever collected: reruns read it however old the run is."""

_ADDRESS = re.compile(rf"(?P<remote>.+)/{FOLDER}/(?P<digest>[0-9a-f]{{64}})(#generation=(?P<generation>\d+))?")
_GENERATION = re.compile(r', "generation": \d+}$')
"""Where a text has it: last."""


def keep(told: GroupSettings) -> str:
    """Keep settings in the store that they name; return their address."""
    digest = write_hashed(Objects.of(told.remote, FOLDER), _content(told))
    generation = f"#generation={told.generation}" if told.generation else ""
    return f"{told.remote.rstrip('/')}/{FOLDER}/{digest}{generation}"


def read(given: str) -> GroupSettings:
    """The settings that are given: by address or as their text.

    Raises:
        ConfigError: it is neither.
        IntegrityError: they are not in the store, or are not what was kept.
        StorageError: the store cannot be used, or is away.
    """
    if is_text(given):
        return GroupSettings.from_json(given)
    found = _parted(given)
    objects, anew = Objects.of(found["remote"], FOLDER), "writes them anew (of a schedule, `retort schedule set`)"
    content = read_hashed(
        objects,
        found["digest"],
        missing=f"{given}: no such settings in the object store. `retort submit` of the same configuration {anew}.",
        damaged=f"{given}: these settings are damaged in the object store: their content is not what their name says. "
        f"`retort submit` of the same configuration {anew}.",
    )
    return replace(GroupSettings.from_json(content.decode()), generation=int(found["generation"] or 0))


def remote_of(given: str) -> str:
    """The object store that settings name, which an address says by itself; also of the whole `configuration`.

    Raises:
        ConfigError: they are neither an address nor a text.
    """
    return str(json.loads(given)["remote"]) if is_text(given) else str(_parted(given)["remote"])


def digest_of(given: str) -> str:
    """A hash of the settings that are given, the same for an address as for the text; the generation aside."""
    if not is_text(given) and (found := _ADDRESS.fullmatch(given)):
        return found["digest"]
    return hashlib.sha256(_GENERATION.sub("}", given).encode()).hexdigest()


def is_text(given: str) -> bool:
    """Whether settings are given as their text."""
    return given.startswith("{")


def _content(told: GroupSettings) -> bytes:
    return replace(told, generation=0).to_json().encode()


def _parted(address: str) -> re.Match[str]:
    if (found := _ADDRESS.fullmatch(address)) is None:
        raise ConfigError(
            f"{address!r}: is no address of settings (REMOTE/{FOLDER}/SHA256). Leave the arguments of a pipeline that "
            "end in _settings as `retort submit` or `retort compile --remote` made them."
        )
    return found
