"""The `vllm` engine: `vllm serve` on this machine's GPUs for the length of a stage, asked in tokens.

Prompts go there as the tokens that Retort's own engine would read, and tokens come back, so that chat templates, begun
answers and the end of a turn are the same in both. A request has no time limit; what is watched is the server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from retort.config.data import SamplingConfig
from retort.config.models import VLLMEngineConfig
from retort.engines.base import Key, Pair, Request, Response
from retort.engines.vllm_server import ADDRESS, Server, Serving
from retort.engines.written import Writer
from retort.errors import ConfigError, EngineError
from retort.io.progress import Progress
from retort.modeling.chat import check_prompt_length, prompt_ids
from retort.modeling.turns import end_ids
from retort.plugins import EngineContext, EngineType

if TYPE_CHECKING:
    import httpx2
    from transformers import PreTrainedTokenizerFast

_log = logging.getLogger(__name__)

NAME = "model"
"""Name that the server gives the model: paths and hub ids stay out of requests."""
LOGS = ".retort/logs"
"""Folder of a workspace with what servers print."""

_ROUNDED = 256
"""Lengths are asked for in steps of so many tokens: a benchmark with a little longer prompts needs no new server."""
_LOOK_S = 1.0
"""Seconds between two looks at the server while nothing arrives."""
_COUNT_S = 20.0
"""Seconds between two readings of its counters."""
_ATTEMPTS = 4
"""Attempts of a request that a running server refuses for no reason of the request's."""

Result = TypeVar("Result")


class VLLMEngine:
    """Starts a server once something has to be answered, and always ends it, with its children."""

    def __init__(
        self,
        config: VLLMEngineConfig,
        folder: Path,
        *,
        file: str,
        training: bool = False,
        place: str = "models.teacher.engine",
        logs: Path = Path(LOGS),
        program: Sequence[str] | None = None,
    ) -> None:
        """Say what to serve; nothing is started yet.

        Args:
            config: Settings of the server.
            folder: Model folder, or folder of a reference, `outputs/models/teacher`.
            file: Where the prompts come from, for the message about one that is too long.
            training: Whether the tokenizer must be fit for training, as a student's.
            place: Where the configuration describes it, for messages.
            logs: Folder of what the server prints.
            program: Program that serves; its arguments are those of `vllm serve`.

        Raises:
            ModelError: the tokenizer or configuration cannot be used.
        """
        # Imported here, not above: whatever reads a configuration loads this module, and torch takes seconds.
        from retort.modeling.loading import (
            REFERENCE,
            context_length,
            described_model,
            load_tokenizer,
            model_size,
            read_reference,
        )

        reference = read_reference(folder)
        # A trained model is named by its role: the path of its folder would differ between workspaces.
        self.model = reference.model if (folder / REFERENCE).exists() else folder.name
        self.tokenizer: PreTrainedTokenizerFast = load_tokenizer(folder, training=training)
        described = described_model(folder)
        self.parameters: int | None = model_size(described)
        self._config, self._folder, self._place, self._file = config, folder, place, file
        self._longest = min(context_length(described), config.max_model_len or 2**31)
        self._writer = Writer(self.tokenizer, end_ids(self.tokenizer, described), self.model)
        self._program = tuple(program or (config.program, "serve"))
        self._logs = logs
        self._server: Server | None = None
        self._length = 0

    @property
    def context(self) -> int:
        """As `ScoringEngine`: a token more is always written, and every one is read."""
        return self._longest - 2

    def count(self, requests: Sequence[Request]) -> int:
        """One response a request."""
        return len(requests)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, done: Collection[Key] = ()
    ) -> Iterator[list[Response]]:
        """Answer every request that is not done; see `Engine.generate`. Yields responses as they arrive.

        Raises:
            InputError: a prompt is too long for the model or `max_model_len`.
            ConfigError: log-probabilities are wanted with `top_p` below 1, or the server refuses a request.
            MissingToolError: vLLM is not installed.
            EngineError: the server ended, stalled, or refuses.
        """
        ids = {one.prompt_id: prompt_ids(self.tokenizer, one.prompt, one.form) for one in requests}
        for prompt_id, prompt in ids.items():
            check_prompt_length(
                len(prompt), sampling.max_new_tokens, self._longest, prompt_id=prompt_id, file=self._file
            )
        if sampling.logprobs and sampling.top_p < 1:
            raise ConfigError(
                "logprobs with top_p below 1: vLLM scores tokens after it has cut the others off, Retort's own engine "
                f"before. Set top_p to 1, or {self._place}.type to transformers."
            )
        waiting = [request for request in requests if request.key not in done]
        if not waiting:
            return
        # Of all requests: a task that resumes serves the model as one that was not interrupted.
        server = self._serve(max(map(len, ids.values())) + sampling.max_new_tokens)

        async def ask(client: httpx2.AsyncClient, request: Request) -> Response:
            prompt = ids[request.prompt_id]
            choice = await self._post(client, server, self._body(request, prompt, sampling))
            drawn = choice.get("logprobs") if sampling.logprobs else None
            return self._writer.response(
                request,
                len(prompt),
                choice["token_ids"],
                None if drawn is None else drawn["token_logprobs"],
                finished=choice["finish_reason"] == "stop",
            )

        yield from self._all(server, ask, waiting)

    def log_likelihoods(self, pairs: Sequence[Pair], *, batch_size: int) -> list[tuple[float, bool]]:  # noqa: ARG002 - the server batches
        """See `ScoringEngine.log_likelihoods`."""
        server = self._serve(max(len(before) + len(after) for before, after in pairs) + 1)
        found = [(0.0, True)] * len(pairs)

        async def ask(client: httpx2.AsyncClient, place: int) -> tuple[int, tuple[float, bool]]:
            before, after = pairs[place]
            body = {"prompt": [*before, *after], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 1}
            told = (await self._post(client, server, {"model": NAME, **body}))["prompt_logprobs"]
            scores = [told[len(before) + number][str(token)] for number, token in enumerate(after)]
            return place, (sum(one["logprob"] for one in scores), all(one["rank"] == 1 for one in scores))

        with Progress("log-likelihoods", total=len(pairs), unit="continuations") as progress:
            for some in self._all(server, ask, range(len(pairs))):
                for place, score in some:
                    found[place] = score
                progress.update(len(some))
        return found

    def arguments(self, length: int) -> list[str]:
        """Command-line arguments of a server for prompts with responses of `length` tokens."""
        from retort.modeling.loading import model_source, read_reference

        reference = read_reference(self._folder)
        flags: dict[str, Any] = {
            "served_model_name": NAME,
            "dtype": reference.dtype,
            "tensor_parallel_size": self._config.tensor_parallel,
            "gpu_memory_utilization": self._config.gpu_memory_utilization,
            "max_num_seqs": self._config.concurrency,
            "max_model_len": length,
            # Not the model's own sampling defaults (top-k, repetition penalty): only what the run says.
            "generation_config": "vllm",
            # At the sampling temperature, as the engine `transformers` gives them.
            "logprobs_mode": "processed_logprobs",
        }
        if reference.revision is not None:
            flags |= {"revision": reference.revision, "tokenizer_revision": reference.revision}
        flags |= self._config.args
        return [
            model_source(self._folder, reference),
            *(part for name, value in flags.items() for part in _flag(name, value)),
        ]

    def server_session(self) -> int:
        """Session of the server's processes, for who measures them; the server runs."""
        assert self._server is not None, "called after something was answered"
        return self._server.session

    def __enter__(self) -> Self:
        """Nothing to start yet: what has to be served is known with the first requests."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        if self._server is not None:
            self._server.end()
        self._server = None

    def _serve(self, length: int) -> Server:
        """A server for prompts with responses of `length` tokens; another one where that which runs is for shorter."""
        if self._server is not None and length <= self._length:
            return self._server
        if self._server is not None:
            _log.info("vLLM serves %d tokens a sequence; %d are needed: it is started again", self._length, length)
            self.__exit__(None, None, None)
        self._length = self._config.max_model_len or min(-(-length // _ROUNDED) * _ROUNDED, self._longest)
        self._server = Server(
            self._program,
            Serving(self.arguments(self._length), self._config.environment, self._config.start_timeout_s, self._place),
            self._logs / f"vllm-{self._folder.name}.log",
        )
        self._server.start()
        return self._server

    def _body(self, request: Request, prompt: list[int], sampling: SamplingConfig) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": NAME,
            "prompt": prompt,
            "max_tokens": sampling.max_new_tokens,
            "temperature": request.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
            "stop_token_ids": list(self._writer.ends),
            "return_token_ids": True,
            # Special tokens are texts to stop at too.
            "skip_special_tokens": False,
        }
        if stops := self._writer.stops(request):
            body["stop"] = list(stops)
        return body | ({"logprobs": 0} if sampling.logprobs else {})

    def _all(self, server: Server, ask: Any, items: Sequence[Any]) -> Iterator[list[Any]]:
        """What `ask` gives for every item, as it arrives, `concurrency` under way at once, the server watched."""
        waiting, in_flight = list(items)[::-1], set[asyncio.Task[Any]]()
        loop = asyncio.new_event_loop()
        run = loop.run_until_complete
        watch = _Watch(server, self._config.stall_timeout_s, self._place)
        client = _client(server, self._config.concurrency)
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < self._config.concurrency:
                    in_flight.add(loop.create_task(ask(client, waiting.pop())))
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

    async def _post(self, client: httpx2.AsyncClient, server: Server, body: dict[str, Any]) -> dict[str, Any]:
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
                server.check()
                await asyncio.sleep(1.0)
            if attempt < _ATTEMPTS:
                _log.warning("vLLM: %s; the request is sent again (%d of %d)", said[:200], attempt, _ATTEMPTS - 1)
        raise EngineError(
            f"vLLM runs but does not answer ({said[:1000]}). Its last words (all of them: {server.log}):\n"
            f"{server.last_words()}"
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


def _client(server: Server, most: int) -> httpx2.AsyncClient:
    import httpx2

    transport = httpx2.AsyncHTTPTransport(
        uds=server.socket, limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most)
    )
    return httpx2.AsyncClient(transport=transport, base_url=ADDRESS, timeout=None, trust_env=False)


def _flag(name: str, value: Any) -> list[str]:
    """An argument as the command line has it."""
    flag = f"--{name.replace('_', '-')}"
    if value is None or value is True:
        return [flag]
    if value is False:
        return [f"--no-{name.replace('_', '-')}"]
    return [flag, json.dumps(value) if isinstance(value, dict | list) else str(value)]


def _make(context: EngineContext) -> VLLMEngine:
    return VLLMEngine(
        context.settings,
        context.folder,
        file=context.file,
        training=context.training,
        place=context.place,
        logs=context.root / LOGS,
    )


ENGINE = EngineType("vllm", VLLMEngineConfig, _make)
