"""What Retort itself keeps in the object store beside DVC's contents: resume state, records of runs, champions.

The store is a folder or an address that fsspec knows (s3://, gs://, ...), reached with the credentials of the
environment, as DVC reaches it. A store that is away is waited for inside `retort.io.outages.patient`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from retort.errors import IntegrityError, StoreAwayError
from retort.io.outages import TIMEOUTS_S, explained, patiently

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Objects:
    """Named objects under one folder of a store.

    Every method raises `StorageError` where the store refuses, and `StoreAwayError` where it cannot be reached.
    """

    files: Any
    """fsspec's file system."""
    folder: str

    @classmethod
    def of(cls, remote: str, folder: str, *, credentials: Mapping[str, str] | None = None) -> Objects:
        """The objects under `folder` of the DVC remote at `remote`, a path or an address.

        Args:
            remote: Folder or address of the store.
            folder: Folder in it.
            credentials: AWS_... values for an s3:// store, instead of the environment's.

        Raises:
            StorageError: nothing is known of such an address.
        """
        from fsspec.core import url_to_fs

        with explained(remote):
            # Listings are not cached: other pods write to the same store.
            files, path = url_to_fs(remote, use_listings_cache=False, **_options(remote, credentials or {}))
        return cls(files, f"{path}/{folder}")

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""

        def read() -> bytes | None:
            try:
                content: bytes = self.files.cat_file(self._at(name))
            except FileNotFoundError:
                return None
            return content

        return self._tried("reading", name, read)

    def write(self, name: str, content: bytes, *, verified: bool = False) -> None:
        """Write an object, whole or not at all; with `verified` it is read back, and written again where it differs."""

        def write() -> None:
            self._make_parent(name)
            self.files.pipe_file(self._at(name), content)
            if verified and self.files.cat_file(self._at(name)) != content:
                raise StoreAwayError(f"{self._at(name)}: what the object store keeps is not what was sent.")

        self._tried("writing", name, write)

    def read_json(self, name: str) -> Any:
        """An object's value; None where there is none.

        Raises:
            IntegrityError: the object is not JSON.
        """
        content = self.read(name)
        try:
            return None if content is None else json.loads(content)
        except ValueError as error:
            raise IntegrityError(
                f"{self._at(name)}: is damaged in the object store: it is not JSON ({error}). Restore that object from "
                "a copy, or remove it to do without."
            ) from error

    def write_json(self, name: str, value: Any, *, verified: bool = False) -> None:
        """Write a value; the same value, the same bytes."""
        self.write(name, json.dumps(value, sort_keys=True, indent=1).encode(), verified=verified)

    def upload(self, name: str, file: Path) -> None:
        """Copy a file there."""

        def upload() -> None:
            self._make_parent(name)
            self.files.put_file(str(file), self._at(name))

        self._tried("uploading", name, upload)

    def download(self, name: str, file: Path) -> None:
        """Copy an object here."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._tried("downloading", name, lambda: self.files.get_file(self._at(name), str(file)))

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects under `prefix`, sorted."""

        def find() -> list[str]:
            return list(self.files.find(self._at(prefix))) if self.files.exists(self._at(prefix)) else []

        start = len(self.files._strip_protocol(self.folder)) + 1
        found = self._tried("listing", prefix, find)
        return sorted(self.files._strip_protocol(path)[start:] for path in found)

    def remove(self, *names: str) -> None:
        """Remove objects; those that are not there are passed over."""

        def remove(name: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                self.files.rm_file(self._at(name))

        for name in names:
            self._tried("removing", name, lambda name=name: remove(name))  # type: ignore[misc]

    def _tried(self, doing: str, name: str, call: Callable[[], _Result]) -> _Result:
        def attempt() -> _Result:
            with explained(self._at(name)):
                return call()

        return patiently(f"{doing} {self._at(name)}", attempt)

    def _at(self, name: str) -> str:
        return f"{self.folder}/{name}".rstrip("/")

    def _make_parent(self, name: str) -> None:
        self.files.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)


def _options(remote: str, credentials: Mapping[str, str]) -> dict[str, Any]:
    """s3fs's arguments for AWS's environment variables."""
    if not remote.startswith(("s3://", "s3a://")):
        return {}
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    options: dict[str, Any] = {names[key]: value for key, value in credentials.items() if key in names}
    client = {"AWS_ENDPOINT_URL": "endpoint_url", "AWS_REGION": "region_name"}
    if given := {client[key]: value for key, value in credentials.items() if key in client}:
        options["client_kwargs"] = given
    # s3fs tries again itself.
    return options | {"config_kwargs": {**TIMEOUTS_S, "retries": {"total_max_attempts": 2}}}
