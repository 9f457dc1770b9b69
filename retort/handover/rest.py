"""JSON over HTTP, as registries speak it, with their refusals explained."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from retort.errors import ConfigError, StorageError

TOKEN = "RETORT_REGISTRY_TOKEN"
_TIMEOUT_S = 30


class RefusedError(ConfigError):
    """The server answered with a status of 400 to 499."""

    def __init__(self, where: str, status: int, said: str):
        self.status = status
        hint = f" Set {TOKEN} to a token that may do this." if status in (401, 403) else ""
        super().__init__(f"{where}: status {status}: {said or 'no reason given'}.{hint}")


@dataclass(frozen=True)
class Rest:
    """A server."""

    address: str
    """Up to where paths begin."""

    def get(self, path: str, **query: str) -> Any:
        """What the server says at `path`; None where it says 404."""
        words = f"?{urllib.parse.urlencode(query)}" if query else ""
        try:
            return self._ask("GET", f"{path}{words}", None)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: Any) -> Any:
        """Make something; what the server says of it.

        Raises:
            RefusedError: it refuses.
            StorageError: it is away, or failed.
        """
        return self._ask("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Change something."""
        return self._ask("PATCH", path, body)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        where = f"{self.address.rstrip('/')}/{path}"
        if not where.startswith(("http://", "https://")):
            raise ConfigError(f"{self.address}: is not an address. Begin it with http:// or https://.")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(where, data, method=method)  # noqa: S310 - checked above
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if token := os.environ.get(TOKEN):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            said = _said(error.read())
            if error.code >= 500 or error.code == 429:
                raise StorageError(f"{where}: status {error.code}: {said or error.reason}. Try again later.") from error
            raise RefusedError(where, error.code, said) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise StorageError(f"{where}: does not answer ({reason}). Check the address and the network.") from error
        except ValueError as error:
            raise ConfigError(
                f"{where}: answers, but not in JSON. Is this the address of the registry, or of a login page before it?"
            ) from error


def _said(content: bytes) -> str:
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    return str(found.get("message") or found.get("error_code") or "") if isinstance(found, dict) else ""
