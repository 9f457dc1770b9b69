"""Asking one `vllm serve`: many requests under way at once, without a time limit, while the server is watched."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from retort.config.models import VLLMEngineConfig
from retort.engines.vllm_server import ADDRESS, Server
from retort.errors import ConfigError, EngineError

if TYPE_CHECKING:
    import httpx2

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""Seconds between two looks at the server while nothing arrives."""
_COUNT_S = 20.0
"""Seconds between two readings of its counters."""
_ATTEMPTS = 4
"""Attempts of a request that a running server refuses for no reason of the request's."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class VLLMClient:
    """Sends completions to a server that runs."""

    def __init__(self, server: Server, config: VLLMEngineConfig, place: str) -> None:
        """Nothing is sent yet.

        Args:
            server: The server.
            config: Its settings.
            place: Where the configuration describes it, for messages.
        """
        self._server, self._config, self._place = server, config, place

    def all(
        self, ask: Callable[[httpx2.AsyncClient, Item], Awaitable[Result]], items: Iterable[Item]
    ) -> Iterator[list[Result]]:
        """What `ask` gives for every item, as it arrives, `concurrency` under way at once.

        Raises:
            EngineError: the server ended, stalled, or refuses.
        """
        waiting, in_flight = list(items)[::-1], set[asyncio.Task[Result]]()
        most = self._config.concurrency
        loop = asyncio.new_event_loop()
        run = loop.run_until_complete
        watch = _Watch(self._server, self._config.stall_timeout_s, self._place)
        client = _client(self._server, most)
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < most:
                    in_flight.add(loop.create_task(_awaited(ask(client, waiting.pop()))))
                arrived, in_flight = run(asyncio.wait(in_flight, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED))
                if arrived:
                    yield [task.result() for task in arrived]
                watch.look()
        finally:
            for task in in_flight:
                task.cancel()
            if in_flight:
                run(asyncio.wait(in_flight))
            run(client.aclose())
            loop.close()

    async def post(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
        """The one choice that a completion has."""
        import httpx2

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await client.post("/v1/completions", json=body)
                status, said = answer.status_code, answer.text
            except httpx2.HTTPError as error:
                status, said = None, f"{type(error).__name__} {error}".strip()
            if status == 200:
                choice: dict[str, Any] = json.loads(said)["choices"][0]
                return choice
            if status is not None and 400 <= status < 500 and status != 429:
                raise ConfigError(f"vLLM refuses a request with status {status}: {said[:1000]}. Correct {self._place}.")
            # A server that dies takes a while: its own last words say more than a lost connection.
            for _ in range(5 * attempt):
                self._server.check()
                await asyncio.sleep(1.0)
            if attempt < _ATTEMPTS:
                _log.warning("vLLM: %s; the request is sent again (%d of %d)", said[:200], attempt, _ATTEMPTS - 1)
        raise EngineError(
            f"vLLM runs but does not answer ({said[:1000]}). Its last words (all of them: {self._server.log}):\n"
            f"{self._server.last_words()}"
        )


class _Watch:
    """Sees that a server runs and gets on."""

    def __init__(self, server: Server, patience_s: float, place: str) -> None:
        self._server, self._patience_s, self._place = server, patience_s, place
        self._tokens = -1.0
        self._moved = self._read = time.monotonic()

    def look(self) -> None:
        """Look at the server, and every now and then at its counters.

        Raises:
            EngineError: it ended, or read and wrote nothing for too long.
        """
        import httpx2

        self._server.check()
        now = time.monotonic()
        if now - self._read < min(_COUNT_S, self._patience_s / 4):
            return
        self._read = now
        try:
            tokens = self._server.tokens()
        except httpx2.HTTPError:  # one that is too busy to say
            tokens = self._tokens
        if tokens != self._tokens:
            self._tokens, self._moved = tokens, now
        elif now - self._moved > self._patience_s:
            raise EngineError(
                f"vLLM has read and written nothing for {self._patience_s:.0f} s. Raise {self._place}.stall_timeout_s, "
                f"or see its last words (all of them: {self._server.log}):\n{self._server.last_words()}"
            )


async def _awaited(found: Awaitable[Result]) -> Result:
    return await found


def _client(server: Server, most: int) -> httpx2.AsyncClient:
    import httpx2

    transport = httpx2.AsyncHTTPTransport(
        uds=server.socket, limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most)
    )
    return httpx2.AsyncClient(transport=transport, base_url=ADDRESS, timeout=None, trust_env=False)
