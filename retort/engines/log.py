"""Having an engine answer: what was answered before is found again, what comes is written down before it is used.

Two things remember. The log beside a task, one JSON object a line, safe after every batch, is what a killed task
resumes from. The cache in the object store (`retort.engines.response_cache`) is by what was asked, for engines that
have one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from retort.config.data import SamplingConfig
from retort.engines.base import NOT_KEPT, Engine, Key, Request, Response
from retort.engines.budget import Spent
from retort.engines.checked import check, checked_response
from retort.engines.response_cache import ResponseCache, cache_of
from retort.errors import BudgetError, StorageError
from retort.io.outages import patient
from retort.io.progress import Progress

_logger = logging.getLogger(__name__)


def answer(
    engine: Engine,
    requests: Sequence[Request],
    sampling: SamplingConfig,
    log: Path,
    *,
    words: str,
    least_share: float = 1.0,
    before: Callable[[ResponseCache | None], None] | None = None,
) -> list[Response]:
    """Have `engine` answer `requests`, except those that the log or the cache holds already, and log what comes.

    Args:
        engine: A started engine.
        requests: All requests of the task.
        sampling: Nucleus, token limit and batch size.
        log: File of finished responses; made when missing. Must belong to the same inputs and parameters.
        words: What the progress line says.
        least_share: Share of the responses that is enough where a budget is spent.
        before: Called, with the cache, before anything is asked; not at all where everything is there.

    Returns:
        All responses, those of log and cache included, in the order of the prompts and by number of the response.

    Raises:
        StorageError: the log cannot be written; what it holds stands.
        BudgetError: the budget is spent, and less than `least_share` is there.
        EngineError, InputError: as the engine raises them; what was answered before is in the log.
    """
    found, cache = read_log(log), cache_of(engine, sampling)
    logged = list(found.values())
    with log.open("ab", buffering=0) as stream:
        if cache is not None:
            _recall(cache, requests, found, stream)
        wanted = engine.count(requests)
        if isinstance(spent := getattr(engine, "spent", None), Spent):  # a budget is of all attempts, probes included
            spent.go_on(log.with_suffix(".spent.json"), logged)
        with Progress(words, total=wanted, unit="responses", done=len(found)) as progress:
            try:
                with _kept_at_the_end(cache):
                    if before is not None and len(found) < wanted:
                        before(cache)
                    _ask(engine, requests, sampling, found, stream, cache, progress)
            except BudgetError as error:
                if len(found) < least_share * wanted:
                    raise
                _logger.warning("%s; %d of %d responses are there, which is enough", error, len(found), wanted)
    place = {request.prompt_id: index for index, request in reversed(list(enumerate(requests)))}
    return sorted(found.values(), key=lambda response: (place[response.prompt_id], response.sample))


@contextmanager
def _kept_at_the_end(cache: ResponseCache | None) -> Iterator[None]:
    """Write what is pending in the cache, whatever happened inside."""
    try:
        yield
    except BaseException:
        if cache is not None:
            with patient(0):  # a task that fails has the log, which gives the cache what it misses next time
                cache.flush()
        raise
    if cache is not None:
        cache.flush()


def _recall(cache: ResponseCache, requests: Sequence[Request], found: dict[Key, Response], stream: FileIO) -> None:
    """Take what the cache knows of `requests` into `found` and the log, and give it what only the log knows."""
    recalled = [one for one in cache.find(requests) if one.key not in found]
    if recalled:
        _logger.info("%d of %d responses were asked for before and are taken from there", len(recalled), len(requests))
        if default := sum(one.temperature < 0 for one in recalled):
            words = "%d of them were drawn at the temperature of an endpoint that refuses to be told one"
            _logger.warning(words, default)
        _append(stream, recalled, len(found))
    cache.add(requests, found)
    found.update((response.key, response) for response in recalled)


def _ask(
    engine: Engine,
    requests: Sequence[Request],
    sampling: SamplingConfig,
    found: dict[Key, Response],
    stream: FileIO,
    cache: ResponseCache | None,
    progress: Progress,
) -> None:
    by_key = {request.key: request for request in requests} if cache is not None else {}
    for batch in engine.generate(requests, sampling, found.keys()):
        fresh = [check(response) for response in batch if response.key not in found]
        kept = [response for response in fresh if response.finish_reason not in NOT_KEPT]
        _append(stream, kept, len(found))
        found.update((response.key, response) for response in fresh)
        if cache is not None:
            cache.add([by_key[response.key] for response in kept], found)
        progress.update(len(fresh))


def _append(stream: FileIO, responses: Sequence[Response], kept: int) -> None:
    data = b"".join(json.dumps(asdict(response)).encode() + b"\n" for response in responses)
    try:
        # Unbuffered: a buffer that a full disk refused would be written again on closing, hiding the error.
        while data:
            data = data[stream.write(data) :]
        os.fsync(stream.fileno())
    except OSError as error:
        raise StorageError(
            f"{stream.name}: could not be written ({error.strerror}). Free space there and run the stage again; "
            f"the {kept} responses so far are kept."
        ) from error


def read_log(log: Path) -> dict[Key, Response]:
    """Responses in `log` by key.

    A last line that a kill cut in half is removed from the file. Lines that are no response, or one that no table can
    hold, are left out with a warning: they are asked for again.
    """
    if not log.exists():
        return {}
    data = log.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with log.open("r+b") as stream:
            stream.truncate(len(whole))
    found: dict[Key, Response] = {}
    bad = 0
    for line in whole.splitlines():
        try:
            response = checked_response(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            bad += 1
            continue
        found[response.key] = response
    if bad:
        _logger.warning("%s: %d lines are no responses and are asked for again", log, bad)
    return found
