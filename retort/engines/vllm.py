"""The `vllm` engine: `vllm serve` on this machine's GPUs for the length of a stage, asked in tokens.

Prompts go there as the tokens that Retort's own engine would read, and tokens come back, so that chat templates, begun
answers and the end of a turn are the same in both. A request has no time limit; what is watched is the server.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from retort.config.data import SamplingConfig
from retort.config.models import VLLMEngineConfig
from retort.engines.base import Key, Pair, Request, Response
from retort.engines.vllm_arguments import NAME, serve_arguments, serving_length
from retort.engines.vllm_client import VLLMClient
from retort.engines.vllm_rollouts import WORK, VLLMRollouts
from retort.engines.vllm_server import Server, Serving
from retort.engines.written import Writer
from retort.errors import ConfigError
from retort.io.progress import Progress
from retort.modeling.chat import check_prompt_length, prompt_ids
from retort.modeling.turns import end_ids
from retort.plugins import EngineContext, EngineType, RolloutContext

if TYPE_CHECKING:
    import httpx2
    from transformers import PreTrainedTokenizerFast

_log = logging.getLogger(__name__)

LOGS = ".retort/logs"
"""Folder of a workspace with what servers print."""


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
        asking = self._asking(max(map(len, ids.values())) + sampling.max_new_tokens)

        async def ask(client: httpx2.AsyncClient, request: Request) -> Response:
            prompt = ids[request.prompt_id]
            choice = await asking.post(client, self._body(request, prompt, sampling))
            drawn = choice.get("logprobs") if sampling.logprobs else None
            return self._writer.response(
                request,
                len(prompt),
                choice["token_ids"],
                None if drawn is None else drawn["token_logprobs"],
                finished=choice["finish_reason"] == "stop",
            )

        yield from asking.all(ask, waiting)

    def log_likelihoods(self, pairs: Sequence[Pair], *, batch_size: int) -> list[tuple[float, bool]]:  # noqa: ARG002 - the server batches
        """See `ScoringEngine.log_likelihoods`."""
        asking = self._asking(max(len(before) + len(after) for before, after in pairs) + 1)
        found = [(0.0, True)] * len(pairs)

        async def ask(client: httpx2.AsyncClient, place: int) -> tuple[int, tuple[float, bool]]:
            before, after = pairs[place]
            body = {"prompt": [*before, *after], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 1}
            told = (await asking.post(client, {"model": NAME, **body}))["prompt_logprobs"]
            scores = [told[len(before) + number][str(token)] for number, token in enumerate(after)]
            return place, (sum(one["logprob"] for one in scores), all(one["rank"] == 1 for one in scores))

        with Progress("log-likelihoods", total=len(pairs), unit="continuations") as progress:
            for some in asking.all(ask, range(len(pairs))):
                for place, score in some:
                    found[place] = score
                progress.update(len(some))
        return found

    def arguments(self, length: int) -> list[str]:
        """Command-line arguments of a server for prompts with responses of `length` tokens."""
        return serve_arguments(self._config, self._folder, length=length)

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

    def _asking(self, length: int) -> VLLMClient:
        return VLLMClient(self._serve(length), self._config, self._place)

    def _serve(self, length: int) -> Server:
        """A server for prompts with responses of `length` tokens; another one where that which runs is for shorter."""
        if self._server is not None and length <= self._length:
            return self._server
        if self._server is not None:
            _log.info("vLLM serves %d tokens a sequence; %d are needed: it is started again", self._length, length)
            self.__exit__(None, None, None)
        self._length = serving_length(self._config, length, self._longest)
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


def _make(context: EngineContext) -> VLLMEngine:
    return VLLMEngine(
        context.settings,
        context.folder,
        file=context.file,
        training=context.training,
        place=context.place,
        logs=context.root / LOGS,
    )


def _rollouts(context: RolloutContext) -> VLLMRollouts:
    return VLLMRollouts(context, logs=context.root / LOGS, work=context.root / WORK / context.student)


ENGINE = EngineType("vllm", VLLMEngineConfig, _make, rollouts=_rollouts)
