"""The `transformers` engine: a model folder, run in this process by Retort's sampler."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from retort.chat import check_prompt_length, prompt_ids
from retort.config.data import SamplingConfig
from retort.engines.base import Key, Request, Response
from retort.models import REFERENCE, context_length, load_model, load_tokenizer, model_size, read_reference

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class LocalEngine:
    """Runs the model of a folder (or what its `reference.json` names) on the GPU, or on the CPU without one."""

    prices = (0.0, 0.0)

    def __init__(self, folder: Path, *, file: str, training: bool = True) -> None:
        """Load the model's tokenizer and weights.

        Args:
            folder: Model folder.
            file: Where the prompts come from, for the message about one that is too long.
            training: Whether the tokenizer must be fit for training, as a student's (see `load_tokenizer`).

        Raises:
            ModelError: model or tokenizer cannot be used.
        """
        # A trained model is named by its role: the path of its folder would differ between workspaces.
        self.model = read_reference(folder).model if (folder / REFERENCE).exists() else folder.name
        self._file = file
        self._tokenizer: PreTrainedTokenizerFast = load_tokenizer(folder, training=training)
        self._weights: PreTrainedModel = load_model(folder)
        self.parameters: int | None = model_size(self._weights)

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
        ids = {request.prompt_id: prompt_ids(self._tokenizer, request.prompt) for request in requests}
        for prompt_id, prompt in ids.items():
            check_prompt_length(
                len(prompt),
                sampling.max_new_tokens,
                context_length(self._weights),
                prompt_id=prompt_id,
                file=self._file,
            )
        for batch in _batches(requests, ids, sampling.batch_size):
            if not all(request.key in done for request in batch):
                yield self._answer(batch, [ids[request.prompt_id] for request in batch], sampling)

    def _answer(self, batch: list[Request], prompts: list[list[int]], sampling: SamplingConfig) -> list[Response]:
        from retort.engines.sampler import sample

        eos, pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        assert isinstance(eos, int), "load_tokenizer refuses tokenizers without EOS"
        assert isinstance(pad, int), "load_tokenizer refuses tokenizers without a pad token"
        temperature = batch[0].temperature
        drawn = sample(
            self._weights,
            prompts,
            temperature=temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=eos,
            pad_token_id=pad,
            generator=None,
            batch_size=sampling.batch_size,
            uniforms=_uniforms(batch, sampling.max_new_tokens) if temperature > 0 else None,
        )
        return [
            Response(
                prompt_id=request.prompt_id,
                sample=request.sample,
                model=self.model,
                temperature=temperature,
                seed=request.seed,
                response=self._text(one.ids[:-1] if one.finished else one.ids),
                finish_reason="stop" if one.finished else "length",
                prompt_tokens=len(prompt),
                response_tokens=len(one.ids),
            )
            for request, prompt, one in zip(batch, prompts, drawn, strict=True)
        ]

    def _text(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str), "one sequence decodes to one text"
        return text

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


def _batches(requests: Sequence[Request], ids: dict[str, list[int]], size: int) -> Iterator[list[Request]]:
    """Batches of one temperature, longest prompts first, responses to one prompt together."""
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
