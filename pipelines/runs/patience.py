"""Asking again while Kubeflow's API server is away, as it is for a while when it is restarted or updated."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from retort_pipelines.runs.refusals import AwayError

from retort.errors import UnknownOutcomeError

PATIENCE_S = 600
"""How long what only reads is asked again."""

_FIRST_S, _LONGEST_S = 1, 30
"""Pauses between two attempts: each is twice the one before, up to the longest."""

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


def patiently(call: Callable[[], _Answer], patience_s: float) -> _Answer:
    """What `call` says, asked again for `patience_s` seconds while it raises AwayError; said once.

    Raises:
        AwayError: nobody answered, and there is no patience.
        UnknownOutcomeError: nobody answered for all that time.
    """
    started, pause = time.monotonic(), float(_FIRST_S)
    waited = False
    while True:
        try:
            answer = call()
        except AwayError as error:
            if patience_s <= 0:
                raise
            if time.monotonic() + pause > started + patience_s:
                raise UnknownOutcomeError(
                    f"{error} It was asked again for {patience_s / 60:.0f} minutes. What was started goes on without "
                    "it; the same command looks again."
                ) from error
            if not waited:
                _log.warning("%s Asking again, for up to %.0f minutes.", error, patience_s / 60)
            waited = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_S)
            continue
        if waited:
            _log.warning("Kubeflow Pipelines answers again.")
        return answer
