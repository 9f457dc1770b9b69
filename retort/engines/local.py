"""The `transformers` engine: a model folder, run in this process by Retort's sampler."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from retort.config.data import SamplingConfig
from retort.config.models import TransformersEngineConfig
from retort.engines.base import Key, Pair, Request, Response
from retort.engines.written import Writer
from retort.modeling.chat import check_prompt_length, prompt_ids
from retort.modeling.turns import end_ids
from retort.plugins import EngineContext, EngineType

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_POOL = 4
"""Batches' worth of requests that are sampled in one go, finished rows making place for waiting ones, and logged
together: a killed task repeats at most as many."""


class LocalEngine:
    """Runs the model of a folder (or what its `reference.json` names) on the GPU, or on the CPU without one."""

    def __init__(self, folder: Path, *, file: str, training: bool = True) -> None:
        """Load the model's tokenizer and weights.

        Args:
            folder: Model folder.
            file: Where the prompts come from, for the message about one that is too long.
            training: Whether the tokenizer must be fit for training, as a student's (see `load_tokenizer`).

        Raises:
            ModelError: model or tokenizer cannot be used.
        """
        # Imported here, not above: whatever reads a configuration loads this module, and torch takes seconds.
        from retort.modeling.loading import (
            REFERENCE,
            context_length,
            load_model,
            load_tokenizer,
            model_size,
            read_reference,
        )

        # A trained model is named by its role: the path of its folder would differ between workspaces.
        self.model = read_reference(folder).model if (folder / REFERENCE).exists() else folder.name
        self._file = file
        self.tokenizer: PreTrainedTokenizerFast = load_tokenizer(folder, training=training)
        self.weights: PreTrainedModel = load_model(folder)
        self.parameters: int | None = model_size(self.weights)
        self.context = context_length(self.weights)
        self._writer = Writer(self.tokenizer, end_ids(self.tokenizer, self.weights), self.model)

    def count(self, requests: Sequence[Request]) -> int:
        """One response a request."""
        return len(requests)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, done: Collection[Key] = ()
    ) -> Iterator[list[Response]]:
        """Answer `requests`; see `Engine.generate`.

        Every response is drawn from numbers that depend on its own seed alone, and batches on `requests` alone:
        the same requests give the same responses, resumed or not.
        """
        ids = {one.prompt_id: prompt_ids(self.tokenizer, one.prompt, one.form) for one in requests}
        for prompt_id, prompt in ids.items():
            check_prompt_length(
                len(prompt),
                sampling.max_new_tokens,
                self.context,
                prompt_id=prompt_id,
                file=self._file,
            )
        for batch in _batches(requests, ids, _POOL * sampling.batch_size):
            if not all(request.key in done for request in batch):
                yield self._answer(batch, [ids[request.prompt_id] for request in batch], sampling)

    def log_likelihoods(self, pairs: Sequence[Pair], *, batch_size: int) -> list[tuple[float, bool]]:
        """See `ScoringEngine.log_likelihoods`."""
        from retort.engines.continuations import score_continuations

        return score_continuations(self.weights, pairs, pad_token_id=self._pad, batch_size=batch_size)

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int), "load_tokenizer refuses tokenizers without a pad token"
        return pad

    def _answer(self, batch: list[Request], prompts: list[list[int]], sampling: SamplingConfig) -> list[Response]:
        from retort.engines.sampler import Stop, sample

        temperature, writer = batch[0].temperature, self._writer
        longest = max(len(text.encode()) for one in batch for text in (*writer.stops(one), ""))
        stop = Stop(lambda row, ids: writer.holds(ids, writer.stops(batch[row])), longest) if longest else None
        drawn = sample(
            self.weights,
            prompts,
            temperature=temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=writer.ends,
            pad_token_id=self._pad,
            generator=None,
            batch_size=sampling.batch_size,
            uniforms=_uniforms(batch, sampling.max_new_tokens) if temperature > 0 else None,
            stop=stop,
        )
        return [
            writer.response(
                request, len(prompt), one.ids, one.logprobs if sampling.logprobs else None, finished=one.finished
            )
            for request, prompt, one in zip(batch, prompts, drawn, strict=True)
        ]

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


def _batches(requests: Sequence[Request], ids: dict[str, list[int]], size: int) -> Iterator[list[Request]]:
    """Requests of one temperature, at most `size` together, longest prompts first, responses to one prompt together."""
    order = sorted(
        requests,
        key=lambda one: (one.temperature, -len(ids[one.prompt_id]), ids[one.prompt_id], one.prompt_id, one.sample),
    )
    for _, group in groupby(order, key=lambda one: one.temperature):
        same = list(group)
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _uniforms(batch: list[Request], new_tokens: int) -> torch.Tensor:
    import torch

    return torch.stack([torch.rand(new_tokens, generator=torch.Generator().manual_seed(one.seed)) for one in batch])


def _make(context: EngineContext) -> LocalEngine:
    return LocalEngine(context.folder, file=context.file, training=context.training)


ENGINE = EngineType("transformers", TransformersEngineConfig, _make)
