"""What Retort itself keeps in the object store beside DVC's contents: resume state, records of runs, champions.

The store is a folder or an address that fsspec knows (s3://, gs://, ...), reached with the credentials of the
environment, as DVC reaches it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.errors import StorageError


@dataclass(frozen=True)
class Objects:
    """Named objects under one folder of a store."""

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

        with _explained(remote):
            # Listings are not cached: other pods write to the same store.
            files, path = url_to_fs(remote, use_listings_cache=False, **_options(credentials or {}))
        return cls(files, f"{path}/{folder}")

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""
        with _explained(self._at(name)):
            try:
                content: bytes = self.files.cat_file(self._at(name))
            except FileNotFoundError:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all."""
        with _explained(self._at(name)):
            self._make_parent(name)
            self.files.pipe_file(self._at(name), content)

    def read_json(self, name: str) -> Any:
        """An object's value; None where there is none."""
        content = self.read(name)
        return None if content is None else json.loads(content)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value; the same value, the same bytes."""
        self.write(name, json.dumps(value, sort_keys=True, indent=1).encode())

    def upload(self, name: str, file: Path) -> None:
        """Copy a file there."""
        with _explained(self._at(name)):
            self._make_parent(name)
            self.files.put_file(str(file), self._at(name))

    def download(self, name: str, file: Path) -> None:
        """Copy an object here."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with _explained(self._at(name)):
            self.files.get_file(self._at(name), str(file))

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects under `prefix`, sorted."""
        with _explained(self._at(prefix)):
            found = self.files.find(self._at(prefix)) if self.files.exists(self._at(prefix)) else []
        start = len(self.files._strip_protocol(self.folder)) + 1
        return sorted(self.files._strip_protocol(path)[start:] for path in found)

    def remove(self, *names: str) -> None:
        """Remove objects; those that are not there are passed over."""
        for name in names:
            with _explained(self._at(name)), contextlib.suppress(FileNotFoundError):
                self.files.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.folder}/{name}".rstrip("/")

    def _make_parent(self, name: str) -> None:
        self.files.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)


def _options(credentials: Mapping[str, str]) -> dict[str, Any]:
    """s3fs's arguments for AWS's environment variables."""
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    options: dict[str, Any] = {names[key]: value for key, value in credentials.items() if key in names}
    client = {"AWS_ENDPOINT_URL": "endpoint_url", "AWS_REGION": "region_name"}
    if given := {client[key]: value for key, value in credentials.items() if key in client}:
        options["client_kwargs"] = given
    return options


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{place}: is not in the object store.") from error
    except (OSError, ValueError, ImportError) as error:
        raise StorageError(
            f"{place}: the object store does not answer as it should ({error}). Check its address, the credentials "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and AWS_ENDPOINT_URL."
        ) from error
