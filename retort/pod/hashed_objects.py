"""Objects of the store that are named by their content: written once, never changed, held to their name when read."""

from __future__ import annotations

import hashlib

from retort.errors import IntegrityError
from retort.io.objects import Objects

_ATTEMPTS = 3
"""How often an object is read that arrives damaged: a wire may damage one, a store damages all."""


def write_hashed(objects: Objects, content: bytes) -> str:
    """Keep `content`; return its name, the SHA-256 of it. One that was damaged is written anew."""
    digest = hashlib.sha256(content).hexdigest()
    objects.write(digest, content, verified=True)
    return digest


def read_hashed(objects: Objects, digest: str, *, missing: str, damaged: str) -> bytes:
    """What `write_hashed` kept.

    Args:
        objects: Where.
        digest: Its name.
        missing: What to say where it is not there.
        damaged: What to say where it is not what its name says.

    Raises:
        IntegrityError: it is not there, or is not what was kept.
    """
    for _ in range(_ATTEMPTS):
        content = objects.read(digest)
        if content is None:
            raise IntegrityError(missing)
        if hashlib.sha256(content).hexdigest() == digest:
            return content
    raise IntegrityError(damaged)
