"""The `openai` engine: any OpenAI-compatible endpoint, many requests under way at once.

How a request is tried again is `retort.engines.asking`'s, what an answer is `retort.engines.completion`'s, and what a
refusal means `retort.engines.refusals`'. This module bounds how many requests are under way, sends servers no field
that they have refused, and says what to do when an endpoint refuses for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.config.models import OpenAIEngineConfig
from retort.engines.asking import AnswerError, Connection, proxies_in_between
from retort.engines.base import NO_COMPLETION, REFUSED, TOO_LONG, Key, Request, Response, until
from retort.engines.budget import Meter, Spent
from retort.engines.completion import Completion, read_completion
from retort.engines.refusals import FIELD_STATUSES, LIMIT_FIELDS, is_policy, is_too_long, named_among, refused_field
from retort.engines.response_cache import FOLDER
from retort.errors import ConfigError, EngineError, InputError
from retort.io.objects import Objects
from retort.modeling.chat import messages_of
from retort.plugins import EngineContext, EngineType

_log = logging.getLogger(__name__)

_MOST_STOPS = 4
"""Stop texts that OpenAI's interface takes with a request."""
_FAILURES_IN_A_ROW = 8
"""Requests that may fail one after another, each after all its attempts, before the endpoint counts as away."""
_SHOWN = 500
"""Characters of what an endpoint said that a message shows."""
_WITHOUT = {
    "temperature": "; it draws at its own temperature, and responses say -1 (not known)",
    "seed": "; what it draws cannot be drawn again",
    "logprobs": "; responses have no log-probabilities",
}
"""What follows from asking without a field."""


@dataclass
class _Course:
    """How a task goes."""

    total: int
    trouble: Exception | None = None
    """What ends it, once what is under way has arrived."""
    failed: list[EngineError] = field(default_factory=list)
    in_a_row: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    """Requests that stay without a response, by the reason."""


class EndpointEngine:
    """Asks the chat completions of one endpoint, or its plain completions for text to continue."""

    parameters: int | None = None

    def __init__(
        self,
        config: EndpointConfig,
        *,
        place: str = "models.teacher.engine",
        name: str | None = None,
        store: Objects | None = None,
    ) -> None:
        """Say which endpoint; nothing is sent yet.

        Args:
            config: The endpoint, and what is sent to it.
            place: Where the configuration describes it, for messages.
            name: Name of the model in tables, where it differs from `config.model`.
            store: Where responses are kept by what was asked; None keeps none.
        """
        self.config, self.store = config, store
        self.model = name or config.model
        self.left_out: dict[str, str] = {}
        """Fields that the endpoint refused and is asked without, with what it said."""
        self.repaired = 0
        """Responses in which half surrogate pairs were replaced."""
        self._place = place
        self._limit_field = LIMIT_FIELDS[0]
        prices = (config.prompt_cost, config.response_cost)
        self._meter = Meter(config.budget, prices, place=f"{place}.budget")
        self._connection = Connection(config, place=place)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def spent(self) -> Spent:
        """What was asked for and paid so far."""
        return self._meter.spent

    def asked(self, sampling: SamplingConfig) -> dict[str, Any]:
        """What decides a response and is the same for every request; see `Remembering`."""
        config = self.config
        return {
            "model": config.model,
            "system": config.system,
            "template_arguments": config.template_arguments,
            "extra_body": config.extra_body,
            "reasoning_tags": list(config.reasoning_tags),
            "top_p": float(sampling.top_p),
            "max_new_tokens": sampling.max_new_tokens,
            "logprobs": sampling.logprobs,
        }

    def __enter__(self) -> Self:
        """Open the client.

        Raises:
            ConfigError: the environment variable with the key, or of a header, is not set.
        """
        self._connection.open()
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._loop is not None:
            self._loop.run_until_complete(self._connection.close())
            self._loop.close()
        self._loop = None

    def count(self, requests: Sequence[Request]) -> int:
        """One response a request."""
        return len(requests)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, done: Collection[Key] = ()
    ) -> Iterator[list[Response]]:
        """Ask for every request that is not done; see `Engine.generate`. Yields responses as they arrive.

        A request that fails after all its attempts does not end the others: what they are answered is paid for. A
        request that a policy refuses, whose prompt is too long, or that is answered with no completion at every
        attempt, gets a response without text that says so, up to `max_missing_share` of all.

        Raises:
            ConfigError: the key, model or a setting is refused.
            InputError: a prompt is refused for good, or too many stay without a response.
            BudgetError: the budget is spent.
            EngineError: some requests failed after all attempts.
        """
        assert self._loop is not None, "the engine is used in a with block"
        waiting = [request for request in requests if request.key not in done][::-1]
        course = _Course(len(requests))
        in_flight: dict[asyncio.Task[Response], Request] = {}
        self._connection.impatient = False
        try:
            while True:
                while (
                    waiting
                    and course.trouble is None
                    and len(in_flight) < self.config.concurrency
                    and self._meter.allows(len(in_flight))
                ):
                    request = waiting.pop()
                    in_flight[self._loop.create_task(self._ask(request, sampling))] = request
                if not in_flight:
                    break
                arrived, _ = self._loop.run_until_complete(asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED))
                good = [self._outcome(task, in_flight.pop(task), course) for task in arrived]
                if some := [response for response in good if response is not None]:
                    yield some
        finally:
            self._cancel(in_flight)
            self._say(course)
        if course.trouble is not None:
            raise course.trouble
        if waiting:
            raise self._meter.over()
        if course.failed:
            raise self._failures(course)

    def _outcome(self, task: asyncio.Task[Response], request: Request, course: _Course) -> Response | None:
        """What became of a request; an error is noted in `course`."""
        error = task.exception()
        if error is None:
            course.in_a_row = 0
            return task.result()
        missing = None
        if isinstance(error, _MissingError):
            course.missing[error.reason] += 1
            course.in_a_row = course.in_a_row + 1 if error.reason == NO_COMPLETION else 0
            missing = self._response(request, _nothing(error.reason))
            too_many = course.missing.total() > self.config.max_missing_share * course.total
            if too_many or course.in_a_row >= _FAILURES_IN_A_ROW:
                course.trouble = course.trouble or self._too_many(error, request, course)
        elif isinstance(error, EngineError):
            course.failed.append(error)
            course.in_a_row += 1
            if course.in_a_row >= _FAILURES_IN_A_ROW:
                course.trouble = course.trouble or self._failures(course)
        elif isinstance(error, Exception):
            course.trouble = course.trouble or error
        else:
            raise error
        # What is under way may still arrive, but is not tried again: the task ends.
        self._connection.impatient = course.trouble is not None
        return missing

    def _cancel(self, in_flight: dict[asyncio.Task[Response], Request]) -> None:
        for task in in_flight:
            task.cancel()
        if in_flight and self._loop is not None:
            self._loop.run_until_complete(asyncio.wait(in_flight))

    def _say(self, course: _Course) -> None:
        """Say in the log what was tried again, left out and mended."""
        if self._connection.repeated:
            how = ", ".join(f"{what}: {count}" for what, count in sorted(self._connection.repeated.items()))
            _log.warning("%s: attempts that were made again: %s", self.config.base_url, how)
            self._connection.repeated = Counter()
        if course.missing:
            why = ", ".join(f"{reason}: {count}" for reason, count in sorted(course.missing.items()))
            words = "%s: %d of %d requests stay without a response (%s)"
            _log.warning(words, self.config.base_url, course.missing.total(), course.total, why)
        if self.repaired:
            _log.warning("%s: half surrogate pairs were replaced in %d responses", self.config.base_url, self.repaired)
            self.repaired = 0

    async def _ask(self, request: Request, sampling: SamplingConfig) -> Response:
        without: dict[str, str] = {}
        """Fields that an answer to this request refused. Whether that is what it meant shows when the request is
        answered without them: an error that only quotes the prompt must not change how all others are asked."""
        while True:
            path, body = self._body(request, sampling, without)
            try:
                completion = await self._connection.post(
                    path, body, partial(read_completion, tags=self.config.reasoning_tags), sent=self._meter.send
                )
            except AnswerError as error:
                name = refused_field(error.said, body.keys()) if error.status in FIELD_STATUSES else None
                if name is not None and name not in without:
                    without[name] = error.said
                    continue
                cause = _missing(error) or self._elsewhere(error) or self._own_field(error)
                raise cause or self._explained(error, request) from error
            self._give_up(without)
            self._meter.spent.add(completion)
            self.repaired += completion.repaired
            return self._response(request, completion)

    def _body(self, request: Request, sampling: SamplingConfig, without: Collection[str]) -> tuple[str, dict[str, Any]]:
        """Path and body of a request, without the fields that the endpoint has refused."""
        config = self.config
        other = next(name for name in LIMIT_FIELDS if name != self._limit_field)
        limit = other if self._limit_field in without and other not in without else self._limit_field
        body: dict[str, Any] = {
            "model": config.model,
            "temperature": request.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
        }
        if request.stop:
            body["stop"] = list(request.stop[:_MOST_STOPS])
        if request.form == "text":
            path = "/completions"
            body |= {"prompt": request.prompt, "max_tokens": sampling.max_new_tokens}
            if sampling.logprobs:
                body["logprobs"] = 1
        else:
            path = "/chat/completions"
            body |= {"messages": self._messages(request), limit: sampling.max_new_tokens}
            if sampling.logprobs:
                body["logprobs"] = True
            if config.template_arguments:
                body["chat_template_kwargs"] = config.template_arguments
        gone = {*self.left_out, *without} - {*LIMIT_FIELDS}
        return path, {name: value for name, value in body.items() if name not in gone} | config.extra_body

    def _messages(self, request: Request) -> list[Any]:
        messages: list[Any] = messages_of(request.prompt, request.form)
        if self.config.system is None:
            return messages
        if messages and messages[0]["role"] == "system":
            joined = f"{self.config.system}\n\n{messages[0]['content']}"
            return [{"role": "system", "content": joined}, *messages[1:]]
        return [{"role": "system", "content": self.config.system}, *messages]

    def _give_up(self, refused: Mapping[str, str]) -> None:
        """Ask without some fields from here on; another request may have learnt it while this one was under way."""
        for name, said in refused.items():
            if name in LIMIT_FIELDS:
                self._limit_field = next(other for other in LIMIT_FIELDS if other != name)
            elif name not in self.left_out:
                self.left_out[name] = said[:_SHOWN]
                _log.warning(
                    "%s: refuses the field %s and is asked without it from here on%s (%s)",
                    self.config.base_url,
                    name,
                    _WITHOUT.get(name, ""),
                    said[:_SHOWN],
                )

    def _response(self, request: Request, completion: Completion) -> Response:
        text, stopped = until(completion.text, request.stop)
        known = "temperature" not in self.left_out or request.temperature == 1
        return Response(
            prompt_id=request.prompt_id,
            sample=request.sample,
            model=self.model,
            temperature=request.temperature if known else -1.0,
            seed=request.seed if "seed" not in self.left_out else -1,
            response=text,
            finish_reason="stop" if stopped else completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            response_tokens=completion.response_tokens,
            mean_logprob=sum(completion.logprobs) / len(completion.logprobs) if completion.logprobs else None,
            reasoning=completion.reasoning,
        )

    def _explained(self, error: AnswerError, request: Request) -> Exception:
        status, said, url = error.status, error.said[:_SHOWN], self.config.base_url
        if status is None:
            return EngineError(
                f"{url}: no answer after {error.attempts} attempts ({said}). Check the address and that the server "
                f"runs{proxies_in_between(url)}; run the stage again to go on with what is missing."
            )
        if status in (401, 403):
            key = self.config.api_key_env
            kept = f"the key in {key}" if key else f"a request without a key ({self._place}.api_key_env is null)"
            return ConfigError(f"{url}: refuses {kept} ({said}). Put a valid one there.")
        if status == 402 or "insufficient_quota" in error.said:
            return EngineError(
                f"{url}: the account has no credit left ({said}). Add some, then run the stage again to go on with "
                "what is missing."
            )
        if status in (404, 405):
            return ConfigError(
                f"{url}: does not know model {self.config.model!r} or the path ({said}). The address must end in /v1, "
                f"and {self._place}.model must be a name that GET /v1/models lists."
            )
        if not error.passes:
            return InputError(
                f"the endpoint {url} refuses prompt {request.prompt_id!r} with status {status} ({said})",
                file="outputs/prompts",
                field="prompt",
                remedy="If it names the length: shorten or remove the prompt, or lower max_new_tokens. If it names "
                f"the model {self.config.model!r} or a setting: correct that in {self._place}",
            )
        return EngineError(
            f"{url}: status {status} after {error.attempts} attempts ({said}). Lower {self._place}.concurrency or "
            "wait; run the stage again to go on with what is missing."
        )

    def _elsewhere(self, error: AnswerError) -> ConfigError | None:
        """What a redirect that lost the request comes to; None for anything else."""
        if error.redirected is None or (error.passes and not error.garbled):
            return None
        return ConfigError(
            f"{self._place}.base_url: {self.config.base_url} redirects to {error.redirected}, where the request is not "
            f"taken (status {error.status}: {error.said[:_SHOWN]}). Give the address that it redirects to."
        )

    def _own_field(self, error: AnswerError) -> ConfigError | None:
        """What the refusal of a field that the configuration adds comes to; None for anything else."""
        own = dict.fromkeys(self.config.extra_body, "extra_body")
        own |= {"chat_template_kwargs": "template_arguments"} if self.config.template_arguments else {}
        name = named_among(error.said, own) if error.status in FIELD_STATUSES else None
        if name is None:
            return None
        return ConfigError(
            f"{self._place}.{own[name]}: {self.config.base_url} does not take {name!r} as it is given (status "
            f"{error.status}: {error.said[:_SHOWN]}). Correct it, or leave it out."
        )

    def _too_many(self, error: _MissingError, request: Request, course: _Course) -> Exception:
        share = f"{self._place}.max_missing_share"
        problem = f"{course.missing.total()} of {course.total} requests stay without a response ({share}: "
        problem += f"{self.config.max_missing_share:g}). The last one, to prompt {request.prompt_id!r}: "
        if error.reason == NO_COMPLETION:
            return EngineError(
                f"{self.config.base_url}: {problem}answered with no completion after {error.attempts} attempts "
                f"({error.said[:_SHOWN]}). Check what answers at that address; run the stage again to go on."
            )
        if error.reason == TOO_LONG:
            return InputError(
                f"{problem}it is too long ({error.said[:_SHOWN]})",
                file="outputs/prompts",
                field="prompt",
                remedy=f"Shorten or remove such prompts, lower max_new_tokens, or raise {share}",
            )
        return InputError(
            f"{problem}a policy refuses it ({error.said[:_SHOWN]})",
            file=self.config.base_url,
            remedy=f"Leave such prompts out, have the endpoint's filter changed, or raise {share}",
        )

    def _failures(self, course: _Course) -> EngineError:
        first = course.failed[0]
        if len(course.failed) == 1:
            return first
        return EngineError(f"{len(course.failed)} of {course.total} requests failed; the first: {first}")


class _MissingError(Exception):
    """A request that stays without a response, though the endpoint answers."""

    def __init__(self, reason: str, error: AnswerError) -> None:
        """Say why, and what the endpoint said."""
        self.reason, self.said, self.attempts = reason, error.said, error.attempts
        super().__init__(error.said)


def _missing(error: AnswerError) -> _MissingError | None:
    """What costs one answer and not the task; None for anything else."""
    if error.status is not None and is_policy(error.said, error.status):
        return _MissingError(REFUSED, error)
    if error.status is not None and is_too_long(error.said, error.status):
        return _MissingError(TOO_LONG, error)
    return _MissingError(NO_COMPLETION, error) if error.garbled and error.redirected is None else None


def _nothing(reason: str) -> Completion:
    return Completion("", None, reason, 0, 0, (), repaired=False)


def _make(context: EngineContext) -> EndpointEngine:
    return EndpointEngine(context.settings, place=context.place, store=context.store(FOLDER) if context.store else None)


ENGINE = EngineType("openai", OpenAIEngineConfig, _make)
