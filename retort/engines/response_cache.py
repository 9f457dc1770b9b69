"""Responses kept in the object store by what was asked, so that nothing is paid for twice.

A response is named by the model and all that is sent with a request, by its messages, its temperature, its number among
those alike, and the seed of the run. What names it not: the endpoint's address, its prices, how many requests are under
way, the run, the stage, the shard. So more samples, more prompts or another address ask only for what is new.

Responses to requests that share everything but messages, temperature and number lie in one folder, as parts that are
written once and never changed: tasks that write at the same time do not disturb each other. A part is named by the hash
of its content, and each of its lines names the folder: what was damaged, changed or put there by hand is not believed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any, Protocol, runtime_checkable

from retort.config.data import SamplingConfig
from retort.engines.base import NOT_KEPT, Request, Response
from retort.engines.checked import checked_response
from retort.errors import RetortError
from retort.io.objects import Objects
from retort.io.outages import patient
from retort.modeling.chat import messages_of

_log = logging.getLogger(__name__)

FOLDER = "responses"
"""Folder of the object store that holds them."""

_PART_RESPONSES, _PART_S = 500, 30.0
"""A part is written when it holds this many responses, or this long after the last one."""
_LONGEST_PAUSE_S = 600.0
"""A store that refused a part is tried again after twice as long each time, up to this."""
_READERS = 8
"""Parts fetched at once, and so held at once."""


@runtime_checkable
class Remembering(Protocol):
    """An engine whose responses are kept."""

    store: Objects | None
    """Where; None keeps none."""

    def asked(self, sampling: SamplingConfig) -> dict[str, Any]:
        """All that decides a response and is the same for every request: the model, and what is sent with it."""
        ...


class ResponseCache:
    """Responses of one model, asked in one way."""

    def __init__(self, store: Objects, asked: Mapping[str, Any]) -> None:
        """Say where they are kept and what names them; nothing is read yet."""
        self._store, self.folder = store, _hash(asked)[:32]
        self._pending: dict[str, Response] = {}
        self._known: set[str] = set()
        self._written, self._pause = time.monotonic(), _PART_S
        self._failed = False

    def find(self, requests: Sequence[Request]) -> list[Response]:
        """Responses to those of `requests` that were answered before, with the keys of these requests.

        A store that cannot be read, and parts that are damaged, are warned of and asked for again.
        """
        wanted: dict[str, list[Request]] = {}
        for request in requests:
            wanted.setdefault(name_of(request), []).append(request)
        found: list[Response] = []
        try:
            for name, response in self._kept():
                if name in wanted and name not in self._known:
                    self._known.add(name)
                    found += [replace(response, prompt_id=one.prompt_id, sample=one.sample) for one in wanted[name]]
        except RetortError as error:
            _log.warning("responses of earlier runs cannot be read, so they are asked for again: %s", error)
        return found

    def _kept(self) -> Iterator[tuple[str, Response]]:
        """Names and responses of all parts."""
        parts = [name for name in self._store.names(self.folder) if name.endswith(_SUFFIX)]
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(parts), _READERS):
                some = parts[start : start + _READERS]
                for part, content in zip(some, pool.map(self._store.read, some), strict=True):
                    yield from _entries(part, content, self.folder)

    def add(self, requests: Iterable[Request], responses: Mapping[tuple[str, int], Response]) -> None:
        """Keep the responses to `requests`; written in parts, see `flush`."""
        for request in requests:
            name = name_of(request)
            if name not in self._known and request.key in responses:
                self._pending[name] = responses[request.key]
                self._known.add(name)
        waited = time.monotonic() - self._written
        if waited >= self._pause or (len(self._pending) >= _PART_RESPONSES and self._pause == _PART_S):
            with patient(0):  # responses are under way, and they are in the log: nothing waits for a store here
                self.flush()

    def flush(self) -> None:
        """Write what is pending. A store that refuses is warned of once: the log beside the stage has it too."""
        self._written = time.monotonic()
        if not self._pending:
            return
        lines = [
            json.dumps({"name": name, "of": self.folder, "response": asdict(response)}, sort_keys=True)
            for name, response in sorted(self._pending.items())
        ]
        content = "".join(line + "\n" for line in lines).encode()
        part = f"{self.folder}/{_part_name(content)}"
        try:
            self._store.write(part, gzip.compress(content, mtime=0))
        except RetortError as error:
            if not self._failed:
                _log.warning("responses cannot be kept in the object store, only beside the stage: %s", error)
            self._failed, self._pause = True, min(2 * self._pause, _LONGEST_PAUSE_S)
        else:
            self._pending.clear()
            self._pause = _PART_S

    def read_json(self, name: str) -> Any:
        """A value kept beside the responses; None where there is none, or the store cannot be read."""
        try:
            return self._store.read_json(f"{self.folder}/{name}")
        except (RetortError, ValueError) as error:
            _log.warning("%s cannot be read from the object store: %s", name, error)
            return None

    def write_json(self, name: str, value: Any) -> None:
        """Keep a value beside the responses; a store that refuses is warned of."""
        try:
            self._store.write_json(f"{self.folder}/{name}", value)
        except RetortError as error:
            _log.warning("%s cannot be kept in the object store: %s", name, error)


def cache_of(engine: object, sampling: SamplingConfig) -> ResponseCache | None:
    """The cache of an engine that has one."""
    if not isinstance(engine, Remembering) or engine.store is None:
        return None
    return ResponseCache(engine.store, engine.asked(sampling))


def name_of(request: Request) -> str:
    """What names the response to `request` among those of its folder."""
    text = request.prompt if request.form == "text" else messages_of(request.prompt, request.form)
    number = request.sample if request.number is None else request.number
    return _hash(
        {
            "form": "text" if request.form == "text" else "messages",
            "asked": text,
            "stop": list(request.stop),
            "temperature": float(request.temperature),
            "number": number,
            "draw": request.draw,
        }
    )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


_SUFFIX = ".jsonl.gz"


def _part_name(content: bytes) -> str:
    return f"part-{hashlib.sha256(content).hexdigest()[:32]}{_SUFFIX}"


def _entries(part: str, content: bytes | None, folder: str) -> Iterator[tuple[str, Response]]:
    """Names and responses of a part, if it is what was written under its name."""
    try:
        data = gzip.decompress(content or b"")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        _log.warning("%s: is damaged (%s); what it holds is asked for again", part, error)
        return
    if part.rpartition("/")[2] != _part_name(data):
        _log.warning("%s: holds something else than was written there; what it holds is asked for again", part)
        return
    bad, lines = 0, data.splitlines()
    for line in lines:
        try:
            entry = json.loads(line)
            # Parts of before November 2026 do not say whose they are.
            name, of, response = entry["name"], entry.get("of", folder), checked_response(entry["response"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            bad += 1
            continue
        if isinstance(name, str) and of == folder and response.finish_reason not in NOT_KEPT:
            yield name, response
        else:
            bad += 1
    if bad:
        words = "%s: %d of its %d responses are none to what is asked here, and are asked for again"
        _log.warning(words, part, bad, len(lines))
