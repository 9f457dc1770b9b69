"""What goes wrong between here and Kubeflow Pipelines or Kubernetes, in words that name the remedy."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from retort.errors import ClusterError, ConfigError

_MAY_PASS = (429, 500, 502, 503, 504)
"""Statuses of an API server that is starting, overloaded, or away behind a proxy."""

_LACKING = re.compile(r"User '([^']+)' is not authorized.*?Namespace:([^,]+),Verb:(\w+),.*?Resource:(\w+),")
"""Who may not do what, somewhere in what Kubeflow says when it refuses."""


class AwayError(ClusterError):
    """Kubeflow does not answer at the moment; asked again later, it may."""


class ConflictError(ClusterError):
    """What is to be made is there already."""


class InvalidRequestError(ConfigError):
    """Kubeflow refuses what it was asked for, and says why."""


def refused(host: str, status: int, reason: str) -> ClusterError | ConfigError:
    """The error for an answer with this status."""
    if status == 401:
        return ClusterError(
            f"{host}: does not know us, or the token expired. Put a fresh one into RETORT_KFP_TOKEN: "
            "docs/guides/cluster.md says how to have one."
        )
    if status == 403:
        lacking = _LACKING.search(reason)
        what = "{} may not {} {} in {}".format(*lacking.group(1, 3, 4, 2)) if lacking else f"forbids this: {reason}"
        return ClusterError(f"{host}: {what}. Have role retort-user of k8s/base bound to that account.")
    message = f"{host}: answered {status} ({reason})."
    if status == 400:
        return InvalidRequestError(message)
    if status == 409:
        return ConflictError(message)
    return AwayError(message) if status in _MAY_PASS else ClusterError(message)


def away(host: str, reason: object) -> AwayError:
    """The error where nobody answers."""
    return AwayError(
        f"{host}: Kubeflow Pipelines does not answer ({reason}). Check the address and the network; "
        "`kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80` makes it http://localhost:8080."
    )


@contextlib.contextmanager
def explained(host: str) -> Iterator[None]:
    """Explain what goes wrong while Kubeflow is asked for something.

    Raises:
        ClusterError: it refuses us or the request; AwayError where it does not answer at the moment.
        ConfigError: what it was asked for is wrong.
    """
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise refused(host, error.status or 0, message_of(error.body) or error.reason) from error
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise away(host, error) from error


def message_of(body: Any) -> str:
    """The message in an answer's JSON; empty where there is none."""
    try:
        said = json.loads(body)
    except (TypeError, ValueError):
        return ""
    return str(said.get("message") or said.get("error") or "") if isinstance(said, dict) else ""
