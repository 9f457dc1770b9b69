"""Fragments: lock entries that tasks hand on, as objects of the store that are named by their content.

What travels between tasks is the name alone: Kubeflow puts a task's parameters on one command line, which takes
128 kB where a thousand shards' entries are more, and it mangles JSON inside lists. The name is a hash of all hashes of
contents, so it is as good a cache key as the entries themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from retort.errors import IntegrityError
from retort.io.objects import Objects
from retort.pod.hashed_objects import read_hashed, write_hashed
from retort.run.dvc_adapter import Entry

Fragment = dict[str, Entry]
"""Lock entries by task address."""

_KIND = "sha256:"


def save(fragment: Fragment, remote: str) -> str:
    """Keep `fragment` in the store at `remote`; return its name, `sha256:...`."""
    content = json.dumps(fragment, sort_keys=True, separators=(",", ":")).encode()
    return _KIND + write_hashed(Objects.of(remote, "fragments"), content)


def load(name: str, remote: str) -> Fragment:
    """What `save` kept.

    Raises:
        IntegrityError: it is not there, or is not what was kept.
    """
    objects, digest = Objects.of(remote, "fragments"), name.removeprefix(_KIND)
    missing = (
        f"{name}: no such fragment in {remote}. If the store was emptied, `retort rerun RUN --from prompts` makes "
        "everything anew, whatever Kubeflow remembers."
    )
    if not name.startswith(_KIND):
        raise IntegrityError(missing)
    content = read_hashed(
        objects,
        digest,
        missing=missing,
        damaged=f"{objects.folder}/{digest}: this fragment of a lock is damaged in the object store: its content is "
        "not what its name says. `retort rerun RUN --from prompts` writes it anew and keeps what is on record.",
    )
    fragment: Fragment = json.loads(content)
    return fragment


def merge(names: Sequence[str], remote: str) -> Fragment:
    """Several fragments as one."""
    merged: Fragment = {}
    for name in names:
        merged |= load(name, remote)
    return merged


def key_of(inputs: Sequence[str]) -> str:
    """A short name for what a task was given."""
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:16]
