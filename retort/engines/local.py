"""The `transformers` engine: a model folder, run in this process by Retort's sampler."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from retort.config.data import SamplingConfig
from retort.config.models import TransformersEngineConfig
from retort.engines.base import Key, Request, Response, until
from retort.modeling.chat import check_prompt_length, prompt_ids, response_text
from retort.modeling.turns import end_ids, turn_of
from retort.plugins import EngineContext, EngineType

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from retort.engines.sampler import Sample


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
        from retort.modeling.loading import REFERENCE, load_model, load_tokenizer, model_size, read_reference

        # A trained model is named by its role: the path of its folder would differ between workspaces.
        self.model = read_reference(folder).model if (folder / REFERENCE).exists() else folder.name
        self._file = file
        self.tokenizer: PreTrainedTokenizerFast = load_tokenizer(folder, training=training)
        self.weights: PreTrainedModel = load_model(folder)
        self.parameters: int | None = model_size(self.weights)
        self._ends = end_ids(self.tokenizer, self.weights)
        self._markup = tuple(text for text in [turn_of(self.tokenizer).stop] if text)

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
        from retort.modeling.loading import context_length

        ids = {one.prompt_id: prompt_ids(self.tokenizer, one.prompt, one.form) for one in requests}
        for prompt_id, prompt in ids.items():
            check_prompt_length(
                len(prompt),
                sampling.max_new_tokens,
                context_length(self.weights),
                prompt_id=prompt_id,
                file=self._file,
            )
        for batch in _batches(requests, ids, _POOL * sampling.batch_size):
            if not all(request.key in done for request in batch):
                yield self._answer(batch, [ids[request.prompt_id] for request in batch], sampling)

    def _answer(self, batch: list[Request], prompts: list[list[int]], sampling: SamplingConfig) -> list[Response]:
        from retort.engines.sampler import Stop, sample

        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int), "load_tokenizer refuses tokenizers without a pad token"
        temperature = batch[0].temperature
        longest = max(len(text.encode()) for one in batch for text in (*self._stops(one), ""))
        stop = Stop(lambda row, ids: self._holds(ids, self._stops(batch[row])), longest) if longest else None
        drawn = sample(
            self.weights,
            prompts,
            temperature=temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=self._ends,
            pad_token_id=pad,
            generator=None,
            batch_size=sampling.batch_size,
            uniforms=_uniforms(batch, sampling.max_new_tokens) if temperature > 0 else None,
            stop=stop,
        )
        return [
            self._response(request, len(prompt), one, logprobs=sampling.logprobs)
            for request, prompt, one in zip(batch, prompts, drawn, strict=True)
        ]

    def _stops(self, request: Request) -> tuple[str, ...]:
        """Texts that the response ends before; text to continue is no turn that could end."""
        return request.stop if request.form == "text" else (*request.stop, *self._markup)

    def _response(self, request: Request, prompt_tokens: int, drawn: Sample, *, logprobs: bool) -> Response:
        stops = self._stops(request)
        ids = self._until_stop(drawn.ids, stops)
        finished = drawn.finished or len(ids) < len(drawn.ids) or self._holds(ids, stops)
        # Generated tokens stop words included, up to the one that completed them: the same however rows were batched.
        text = response_text(self.tokenizer, ids, self._ends)
        return Response(
            prompt_id=request.prompt_id,
            sample=request.sample,
            model=self.model,
            temperature=request.temperature,
            seed=request.seed,
            response=until(text, stops)[0],
            finish_reason="stop" if finished else "length",
            prompt_tokens=prompt_tokens,
            response_tokens=len(ids),
            mean_logprob=sum(drawn.logprobs[: len(ids)]) / len(ids) if logprobs else None,
        )

    def _until_stop(self, ids: list[int], stop: tuple[str, ...]) -> list[int]:
        """The tokens up to the one that completes the first text to stop at; all of them where there is none."""
        if not self._holds(ids, stop):
            return ids
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._holds(ids[:middle], stop) else (middle + 1, high)
        return ids[:low]

    def _holds(self, ids: list[int], stop: tuple[str, ...]) -> bool:
        # Special tokens are texts to stop at too ("<|im_end|>"), though no response shows them.
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) if stop else ""
        return any(one in text for one in stop)

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
