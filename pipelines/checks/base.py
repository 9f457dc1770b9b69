"""A cluster as the checks see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retort_pipelines.profiles import Profile


@dataclass(frozen=True)
class Cluster:
    """A cluster as the checks see it."""

    api: Any
    """kubernetes.client.ApiClient."""
    profile: Profile
    remote: str
    """The object store's address, as pods reach it."""

    @property
    def core(self) -> Any:
        """The core API."""
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.api)

    def get(self, what: Callable[[], Any]) -> Any:
        """What the call returns; None where there is no such thing."""
        from kubernetes.client import ApiException

        try:
            return what()
        except ApiException as error:
            if error.status == 404:
                return None
            raise
