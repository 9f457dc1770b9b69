"""Failures of an object store told apart, and waiting for a store that is away.

A store is reached through fsspec and DVC, which pass on whatever botocore, aiohttp, urllib3 or the system raise; few of
those are OSErrors. Here they become Retort's: what may mend itself is a `StoreAwayError`, which `patiently` waits out.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from retort.errors import RetortError, StorageError, StoreAwayError

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

PATIENCE_S = 600.0
"""How long a pod waits for a store that is away; RETORT_STORE_PATIENCE changes it."""

TIMEOUTS_S = {"connect_timeout": 10, "read_timeout": 30}
"""Of requests to S3: botocore's 60 seconds, tried 25 times, would wait for a silent store for half an hour."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0

_LIBRARIES = ("botocore", "aiobotocore", "s3fs", "aiohttp", "urllib3", "requests", "gcsfs", "google", "azure", "adlfs")
"""Packages whose errors are a store's, whatever their class."""

_CONNECTION = {
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH),
    *(errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENOTCONN, errno.EAGAIN, errno.EBUSY),
    *(errno.ESTALE, errno.EREMOTEIO, errno.EIO),
}
"""What the system says of a network or a network volume that is away; s3fs makes EREMOTEIO of 500, EBUSY of 503."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""What the system says of a disk of this machine that takes no more, while an object is fetched."""

_AGAIN = {403, 408, 409, 425, 429}
"""Statuses below 500 that may be gone a minute later: a secret that is being replaced, a limit of requests."""
_AGAIN_CODES = {"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch", "InvalidDigest"}
"""Codes of status 400 that say that a body was damaged or cut on its way."""
_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "400"}
"""Codes of status 400 that say that credentials have ended, which somebody renews: a file or a secret is replaced. An
answer to HEAD has no body, so no code but the status."""
_OF_BOTOCORE = {
    *("HTTPClientError", "ConnectionError", "ResponseParserError", "IncompleteReadError", "FlexibleChecksumError"),
    *("CredentialRetrievalError", "MetadataRetrievalError", "TokenRetrievalError"),
}
"""Classes of botocore that say that a request was not answered; its others say that none was made."""

_patience: ContextVar[float] = ContextVar("patience", default=0.0)


@contextlib.contextmanager
def patient(seconds: float | None = None) -> Iterator[None]:
    """Inside, `patiently` waits so long for a store that is away (`PATIENCE_S` when left out); outside, not at all."""
    if seconds is None:
        seconds = float(os.environ.get("RETORT_STORE_PATIENCE", PATIENCE_S))
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def patiently(what: str, call: Callable[[], _Result]) -> _Result:
    """The result of `call`, tried again with growing pauses while the store is away; every pause is said.

    Args:
        what: What is being done, for the log.
        call: What is done; may be called many times.

    Raises:
        StoreAwayError: the store was away for the whole of `patient`.
    """
    pause, attempts, began = _FIRST_PAUSE_S, 0, 0.0
    while True:
        attempts += 1
        try:
            result = call()
        except StoreAwayError as error:
            began = began or time.monotonic()
            waited, limit = time.monotonic() - began, _patience.get()
            if waited >= limit:
                raise (
                    error
                    if not limit
                    else StoreAwayError(f"{error} Given up after {attempts} attempts in {waited:.0f} seconds.")
                ) from error
            pause = min(pause, limit - waited, _LONGEST_PAUSE_S)
            _log.warning("%s: %s Trying again in %.0f s, for %.0f s more.", what, error, pause, limit - waited)
            time.sleep(pause)
            pause *= 2
            if any(_is_refusal(one) for one in _chain(error)):
                _read_credentials_again()
        else:
            if attempts > 1:
                _log.warning("%s: done at attempt %d.", what, attempts)
            return result


@contextlib.contextmanager
def explained(place: str) -> Iterator[None]:
    """Make Retort's errors of everything that a store raises inside.

    Raises:
        StorageError: the object is not there, or the store is not to be used so.
        StoreAwayError: another attempt may succeed.
    """
    try:
        yield
    except RetortError:
        raise
    except Exception as error:
        if (known := explain(place, error)) is None:
            raise
        raise known from error


def explain(place: str, error: BaseException) -> StorageError | None:
    """What a failure at `place` means; None where it is no failure of a store."""
    chain = list(_chain(error))
    words = _words(error)
    if (own := next((one for one in chain if isinstance(one, StorageError)), None)) is not None:
        return own
    if any(_is_full(one) for one in chain):
        return StorageError(
            f"{place}: could not be written ({words}). Free space or fix permissions on this machine, then run the "
            "command again; what was there before is unchanged."
        )
    if any(_is_away(one) for one in chain):
        return StoreAwayError(f"{place}: the object store does not answer as it should ({words}). {_CHECK}")
    if any(isinstance(one, FileNotFoundError) for one in chain):
        return StorageError(f"{place}: is not in the object store.")
    if any(isinstance(one, OSError | ValueError | ImportError) or _of_library(one) for one in chain):
        return StorageError(f"{place}: the object store cannot be used as asked ({words}). {_CHECK}")
    return None


_CHECK = (
    "Check its address, the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and AWS_ENDPOINT_URL; "
    "`retort doctor` tries them."
)


def is_passing(error: BaseException) -> bool:
    """Whether a store is away or a disk full, so that who fails is neither Retort nor what it was asked."""
    return any(_is_away(one) or _is_full(one) for one in _chain(error))


def _is_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):  # DVC's databases, and Retort's of hashes
        return "disk" in str(error)
    return isinstance(error, OSError) and error.errno in _FULL


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str:
    """One line: some libraries' errors have no text, others a page."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + "..."


_LONGEST_WORDS = 300


def _of_library(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _LIBRARIES


def _is_away(error: BaseException) -> bool:
    if isinstance(response := getattr(error, "response", None), dict):  # botocore's ClientError
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _is_for_now(status) or response.get("Error", {}).get("Code") in _AGAIN_CODES | _EXPIRED_CODES
    if isinstance(error, FileNotFoundError | ImportError | ValueError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if type(error).__module__.startswith("botocore."):
        return bool(_OF_BOTOCORE & {kind.__name__ for kind in type(error).__mro__})
    if _of_library(error):
        status = getattr(error, "status", None) or getattr(error, "status_code", None) or getattr(error, "code", None)
        return not isinstance(status, int) or _is_for_now(status)
    return isinstance(error, OSError) and error.errno in _CONNECTION


def _is_refusal(error: BaseException) -> bool:
    """Whether credentials are refused."""
    if isinstance(response := getattr(error, "response", None), dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status in (401, 403) or response.get("Error", {}).get("Code") in _EXPIRED_CODES
    return isinstance(error, PermissionError)


def _read_credentials_again() -> None:
    """Let every connection to S3 be made anew: botocore reads static credentials of a file once, and keeps them."""
    if "s3fs" not in sys.modules:
        return
    from s3fs import S3FileSystem

    # fsspec knows those that it keeps; DVC makes its own, which nobody knows but the collector.
    for files in [one for one in gc.get_objects() if issubclass(type(one), S3FileSystem)]:
        with contextlib.suppress(Exception):  # what is wrong shows in the attempt that follows
            files.connect(refresh=True)


def _is_for_now(status: int) -> bool:
    return status >= 500 or status in _AGAIN
