"""One endpoint's connections: a request is sent until it is answered, and one policy says what is tried again.

Tried again is what may pass: a connection that is lost, a timeout, 408, 409, 425, 429 and 5xx, and a 200 that holds no
completion, which stands for one of those. Waits double with jitter; a Retry-After header is obeyed.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from retort.config.endpoint import EndpointConfig
from retort.engines.completion import Completion, NoCompletionError
from retort.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai import AsyncOpenAI

_AGAIN = frozenset({408, 409, 425, 429})
_NEVER = frozenset({501, 505})
"""Statuses above 500 that say that the server cannot do it at all."""
_GARBLED = NoCompletionError("").status
"""Status that an answer stands for which says nothing of one."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LONGEST_RETRY_AFTER_S = 600.0
"""A server that asks for more patience than this is away."""

_NETWORK_VARIABLES = (
    "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass
class AnswerError(Exception):
    """An endpoint's last word on a request, where that is no completion."""

    status: int | None
    """HTTP status, or the one that it stands for; None where no answer came at all."""
    said: str
    """What it said."""
    attempts: int
    garbled: bool = False
    """Whether it answered 200 with something that is no completion and no error either."""
    retry_after_s: float | None = None
    """Seconds that it asks to wait."""
    redirected: str | None = None
    """Where the endpoint sent the request on to, if it did: clients ask again there with GET, and without the body."""

    @property
    def passes(self) -> bool:
        """Whether another attempt may mend it."""
        return self.status is None or self.status in _AGAIN or (self.status >= 500 and self.status not in _NEVER)


class Connection:
    """Sends requests to one endpoint."""

    def __init__(self, config: EndpointConfig, *, place: str) -> None:
        """Say which; nothing is sent yet.

        Args:
            config: The endpoint.
            place: Where the configuration describes it, for messages: `models.teacher.engine`.
        """
        self._config, self._place = config, place
        self._client: AsyncOpenAI | None = None
        self._random = random.Random()  # noqa: S311 - jitter of waits, which no output depends on
        self.repeated: Counter[str] = Counter()
        """Attempts that were made again, by what was answered."""
        self.impatient = False
        """Whether nothing is tried again any more: the task is about to end."""

    def open(self) -> None:
        """Make the client.

        Raises:
            ConfigError: an environment variable with the key, or of a header, is not set or can be in no header; or
                the environment's proxies or certificates cannot be used.
        """
        from openai import AsyncOpenAI

        config = self._config
        key = "none" if config.api_key_env is None else self._variable(config.api_key_env, "api_key_env")
        headers = {
            name: _VARIABLE.sub(lambda found: self._variable(found[1], "headers"), value)
            for name, value in config.headers.items()
        }
        for name, value in headers.items():
            _check_header(value, f"{self._place}.headers: the value of {name!r}")
        url, _, query = config.base_url.partition("?")
        try:
            self._client = AsyncOpenAI(
                base_url=url,
                api_key=key,
                max_retries=0,
                timeout=config.timeout_s,
                default_headers=headers,
                default_query=dict(parse_qsl(query)),
            )
        except (ImportError, OSError, ValueError) as error:
            # The variables that say how the network is reached: a proxy of a kind that is not known, say.
            set_here = [name for name in _NETWORK_VARIABLES if os.environ.get(name)]
            raise ConfigError(
                f"{config.base_url}: no client can be made ({error}). Correct the environment variables "
                f"{', '.join(set_here) or 'that name proxies and certificates'} (a proxy's address begins with "
                "http://), or unset them."
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
        self._client = None

    async def post(
        self, path: str, body: dict[str, Any], read: Callable[[bytes], Completion], *, sent: Callable[[], None]
    ) -> Completion:
        """Send a request until it is answered.

        Args:
            path: Below the endpoint's address.
            body: What is asked.
            read: Reads an answer's body.
            sent: Called before every attempt.

        Raises:
            AnswerError: the endpoint refuses, or all attempts failed.
        """
        attempt = 0
        while True:
            attempt += 1
            sent()
            try:
                return await self._once(path, body, read, attempt)
            except AnswerError as error:
                wait = self._wait(error, attempt)
                if not error.passes or attempt > self._config.max_retries or wait is None or self.impatient:
                    raise
                self.repeated[f"status {error.status}" if error.status else "no answer"] += 1
                await asyncio.sleep(wait)

    async def _once(
        self, path: str, body: dict[str, Any], read: Callable[[bytes], Completion], attempt: int
    ) -> Completion:
        import httpx2
        from openai import APIConnectionError, APIStatusError

        assert self._client is not None, "opened before anything is sent"
        try:
            answer = await self._client.post(path, cast_to=httpx2.Response, body=body)
        except APIStatusError as error:
            said = error.response.text.strip() or error.message
            asked = retry_after(error.response.headers)
            onward = _redirected(error.response)
            raise AnswerError(error.status_code, said, attempt, retry_after_s=asked, redirected=onward) from error
        except APIConnectionError as error:
            cause = f" ({error.__cause__})" if error.__cause__ is not None and str(error.__cause__) else ""
            raise AnswerError(None, f"{str(error).rstrip('.')}{cause}", attempt) from error
        try:
            return read(answer.content)
        except NoCompletionError as error:
            asked, garbled = retry_after(answer.headers), error.status == _GARBLED
            raise AnswerError(error.status, error.problem, attempt, garbled, asked, _redirected(answer)) from error

    def _wait(self, error: AnswerError, attempt: int) -> float | None:
        """Seconds until the next attempt; None where the server asks for more than anyone waits."""
        if (asked := error.retry_after_s) is not None:
            return asked if asked <= _LONGEST_RETRY_AFTER_S else None
        wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (attempt - 1))
        return wait * self._random.uniform(0.75, 1.25)

    def _variable(self, name: str, field: str) -> str:
        value = os.environ.get(name, "").strip()  # a secret often ends in the line break of the file that it came from
        if value:
            _check_header(value, f"{self._place}.{field}: the value of environment variable {name}")
        else:
            raise ConfigError(
                f"environment variable {name} is not set: {self._place}.{field} names it for {self._config.base_url}. "
                f"Set it, or name another one there (a server that needs no key: {self._place}.api_key_env: null)."
            )
        return value


def _check_header(value: str, words: str) -> None:
    """Refuse what no header can hold.

    Raises:
        ConfigError: a character is none that headers have; it is not shown, for the value may be a secret.
    """
    place = next((place for place, one in enumerate(value, start=1) if not " " <= one <= "~"), None)
    if place is not None:
        raise ConfigError(
            f"{words} has at character {place} one that no header can hold (a line break, a curly quote, a letter that "
            "is not ASCII). Copy it again, without what stands around it."
        )


def _redirected(answer: Any) -> str | None:
    """Where a request was sent on to by a redirect that lost its body; None where it was not."""
    lost = any(one.status_code in (301, 302, 303) for one in answer.history)
    return str(answer.url) if lost else None


def proxies_in_between(url: str) -> str:
    """Words for a message: the proxies of the environment that a request to `url` goes through; empty without any."""
    parts = urlsplit(url)
    through = getproxies()
    proxy = through.get(parts.scheme) or through.get("all")
    if proxy is None or proxy_bypass(parts.netloc):
        return ""
    return (
        f", and the proxy of the environment that it is reached through ({proxy.rpartition('@')[2]}); "
        "NO_PROXY takes hosts out of it"
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait before the next attempt: a number, or a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            continue
    return None
