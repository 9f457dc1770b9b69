"""The object store as one block of a profile: where it is, how it is known, whose credentials are taken.

Credentials are named, never written: a profile lies in git.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from retort.config.base import Strict

CA_FOLDER, CA_KEY = "/etc/retort/store-ca", "ca.crt"
"""Where pods have the certificates, and their key in the ConfigMap."""


class EnvironmentCredentials(Strict):
    """Those of the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; in pods of the secret `secrets.store`."""

    type: Literal["environment"] = "environment"


class FileCredentials(Strict):
    """Those of a file on this machine, as AWS's tools write it; pods take the secret `secrets.store`."""

    type: Literal["file"]
    path: str = "~/.aws/credentials"
    """The file."""
    profile: str = "default"
    """Section of the file."""


class RoleCredentials(Strict):
    """Those of a role: of pods' service account, of this machine; pods are given no secret."""

    type: Literal["role"]


Credentials = Annotated[
    EnvironmentCredentials | FileCredentials | RoleCredentials,
    Field(discriminator="type"),
]


class Store(Strict):
    """The object store of runs."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    """Bucket."""
    prefix: str = Field("retort", pattern=r"^[^/\s]+(/[^/\s]+)*$")
    """Folder in it that holds everything."""
    endpoint: str | None = Field(None, pattern=r"^https?://[^\s/]+$")
    """Address of a store that is not Amazon's, as pods and this machine reach it."""
    region: str | None = Field(None, pattern=r"^[a-z0-9-]+$")
    """Region."""
    ca_config_map: str | None = Field(None, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
    """ConfigMap of the namespace whose key `ca.crt` holds the certificates that the store's own is signed with."""
    ca_file: str | None = None
    """File on this machine with the same."""
    credentials: Credentials = EnvironmentCredentials()
    """Whose credentials are taken."""

    @property
    def remote(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self.prefix}"

    def _both(self) -> dict[str, str]:
        return _said({"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region})

    def in_pods(self) -> dict[str, str]:
        """Environment variables of pods."""
        return self._both() | ({"AWS_CA_BUNDLE": f"{CA_FOLDER}/{CA_KEY}"} if self.ca_config_map else {})

    def here(self) -> dict[str, str]:
        """Environment variables of this machine."""
        said: dict[str, str | None] = {"AWS_CA_BUNDLE": self.ca_file and str(Path(self.ca_file).expanduser())}
        if isinstance(self.credentials, FileCredentials):
            said["AWS_SHARED_CREDENTIALS_FILE"] = str(Path(self.credentials.path).expanduser())
            said["AWS_PROFILE"] = self.credentials.profile
        return self._both() | _said(said)

    def reach(self) -> None:
        """Let this process reach it; what the environment says already goes before."""
        for name, value in self.here().items():
            os.environ.setdefault(name, value)


def _said(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
