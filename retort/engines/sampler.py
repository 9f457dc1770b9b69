"""Sampling from a causal language model: left-padded batches, a key-value cache, rows that leave when they finish.

Beside the text it returns the log-probability of every sampled token, which PPO needs, and keeps no more of the
vocabulary's scores than one step's. The uniform number behind each token is drawn for its prompt and position
before anything is decoded, so samples depend on the seed and, rounding apart, not on how prompts are batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from retort.engines.cache import block_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_COMPACT_SHARE = 0.25
"""Rows are taken out of a batch once this share of it has finished: copying the cache costs about one step."""
_STOP_EVERY = 8
"""Tokens between two looks for a stop text: looking means decoding to text, which costs about as much as a step."""


@dataclass(frozen=True)
class Stop:
    """When a response ends beside its end token. It is found up to `_STOP_EVERY` - 1 tokens late; the caller cuts."""

    found: Callable[[int, list[int]], bool]
    """Whether the last tokens of the response to a prompt (its index, the tokens) hold a text to stop at."""
    width: int
    """Tokens that the longest such text can be made of."""


@dataclass(frozen=True)
class Sample:
    """One response as tokens."""

    ids: list[int]
    """Sampled tokens, with the end token where the model ended the response itself."""
    logprobs: list[float]
    """Natural log-probability of each token at the sampling temperature (1 for greedy), before `top_p` truncation."""
    finished: bool
    """Whether the model ended it, or a `Stop` did; otherwise it was cut off."""


def sample(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    *,
    temperature: float,
    top_p: float = 1.0,
    max_new_tokens: int,
    eos_token_id: int,
    pad_token_id: int,
    generator: torch.Generator | None,
    batch_size: int,
    uniforms: torch.Tensor | None = None,
    stop: Stop | None = None,
) -> list[Sample]:
    """Sample one response to each of `prompts`.

    Args:
        model: A causal language model of `transformers`; its training mode is as before afterwards.
        prompts: Token ids, none empty; a prompt may occur several times and is then read once a batch.
        temperature: 0 takes the most probable token.
        top_p: Sample among the most probable tokens that hold this much probability.
        max_new_tokens: Tokens after which a response is cut off.
        eos_token_id: Token that ends a response.
        pad_token_id: Token to fill rows with; may be the end token, for padding is told by place, not by value.
        generator: Source of randomness; None uses torch's own.
        batch_size: Rows decoded at once.
        uniforms: Numbers in [0, 1) to sample with, (prompts, max_new_tokens), instead of drawing them from
            `generator`: for responses that each have a seed of their own.
        stop: Ends responses at texts.

    Returns:
        One sample a prompt, in the order given.

    Raises:
        ValueError: a prompt is empty.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("an empty prompt cannot be continued; give at least a beginning-of-text token")
    if temperature > 0 and uniforms is None:
        device = generator.device if generator is not None else torch.device("cpu")
        uniforms = torch.rand(len(prompts), max_new_tokens, generator=generator, device=device)
    # Longest first: a batch that does not fit in memory fails at once. Equal prompts become neighbours.
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), prompts[index], index))
    samples: list[Sample | None] = [None] * len(prompts)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            decoder = _Decoder(model, max_new_tokens, eos_token_id, pad_token_id, temperature, top_p, stop, rows)
            chosen = uniforms[rows].to(model.device) if uniforms is not None and temperature > 0 else None
            for index, one in zip(rows, decoder.run([prompts[index] for index in rows], chosen), strict=True):
                samples[index] = one
    finally:
        model.train(was_training)
    return [one for one in samples if one is not None]


class _Decoder:
    """Decodes one batch; `live` holds the numbers of the rows that are still in it."""

    def __init__(
        self,
        model: PreTrainedModel,
        max_new_tokens: int,
        eos: int,
        pad: int,
        temperature: float,
        top_p: float,
        stop: Stop | None,
        numbers: Sequence[int],
    ) -> None:
        self.model, self.max_new_tokens, self.eos, self.pad = model, max_new_tokens, eos, pad
        self.temperature, self.top_p = temperature, top_p
        self.stop, self.numbers = stop, numbers

    @torch.inference_mode()
    def run(self, prompts: list[list[int]], uniforms: torch.Tensor | None) -> list[Sample]:
        device, count = self.model.device, len(prompts)
        ids = torch.full((count, self.max_new_tokens), self.pad, device=device)
        logprobs = torch.zeros(count, self.max_new_tokens, device=device)
        lengths = torch.full((count,), self.max_new_tokens, device=device)
        finished = torch.zeros(count, dtype=torch.bool, device=device)
        live = torch.arange(count, device=device)
        logits, cache, mask, positions = self._prefill(prompts)
        columns = mask.shape[1] - self.max_new_tokens
        padded = not bool(mask.all())
        for step in range(self.max_new_tokens):
            uniform = uniforms[live, step] if uniforms is not None else None
            token, logprob = choose(logits, self.temperature, self.top_p, uniform)
            ids[live, step], logprobs[live, step] = token, logprob
            ended = token == self.eos
            if self.stop is not None and (step + 1) % _STOP_EVERY == 0:
                ended = ended | self._stopped(self.stop, ids[:, : step + 1], live)
            ended = ended & ~finished[live]
            lengths[live] = torch.where(ended, step + 1, lengths[live])
            finished[live] |= ended
            left = int((~finished[live]).sum())
            if left == 0 or step + 1 == self.max_new_tokens:
                break
            if len(live) - left >= _COMPACT_SHARE * len(live):
                keep = (~finished[live]).nonzero().squeeze(1)
                cache.batch_select_indices(keep)
                live, token, mask, positions = live[keep], token[keep], mask[keep], positions[keep]
            logits = self.model(
                input_ids=token[:, None],
                attention_mask=mask[:, : columns + step + 1] if padded else None,
                position_ids=(positions + step)[:, None],
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        rows = zip(ids.tolist(), logprobs.tolist(), lengths.tolist(), finished.tolist(), strict=True)
        return [Sample(row[:length], scores[:length], done) for row, scores, length, done in rows]

    def _stopped(self, stop: Stop, ids: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        recent = ids[live, -(stop.width + _STOP_EVERY) :].tolist()
        found = [stop.found(self.numbers[row], last) for row, last in zip(live.tolist(), recent, strict=True)]
        return torch.tensor(found, device=ids.device)

    def _prefill(self, prompts: list[list[int]]) -> tuple[torch.Tensor, Any, torch.Tensor, torch.Tensor]:
        """Read the prompts, each different one once.

        Returns:
            Logits of the first response token, (rows, vocabulary); the cache; the mask of prompt and response
            columns, (rows, columns + max_new_tokens); the position of the first response token, (rows,).
        """
        device = self.model.device
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
        width = max(len(prompt) for prompt in distinct)
        input_ids = torch.full((len(distinct), width), self.pad)
        mask = torch.ones(len(distinct), width + self.max_new_tokens, dtype=torch.long)
        for row, prompt in enumerate(distinct):
            input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, : width - len(prompt)] = 0
        input_ids, mask = input_ids.to(device), mask.to(device)
        prompt_mask = mask[:, :width]
        cache = block_cache(self.model.config)
        logits = self.model(
            input_ids=input_ids,
            attention_mask=prompt_mask,
            position_ids=(prompt_mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        lengths = prompt_mask.sum(1)
        if len(distinct) < len(prompts):
            place = {prompt: row for row, prompt in enumerate(distinct)}
            index = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=device)
            cache.batch_select_indices(index)
            logits, mask, lengths = logits[index], mask[index], lengths[index]
        return logits, cache, mask, lengths


def choose(
    logits: torch.Tensor, temperature: float, top_p: float, uniform: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the next token of each row by inverting the cumulative distribution at `uniform`.

    Args:
        logits: (rows, vocabulary).
        temperature: 0 takes the most probable token; its log-probability is that at temperature 1.
        top_p: Probability mass of the nucleus (Holtzman et al. 2020, §3.1).
        uniform: One number in [0, 1) a row; unused at temperature 0.

    Returns:
        Tokens and their log-probabilities before truncation to the nucleus, both (rows,).
    """
    scores = logits.float()
    if temperature > 0:
        scores = scores / temperature
    total = scores.logsumexp(-1)
    if temperature == 0:
        best, token = scores.max(-1)
        return token, best - total
    assert uniform is not None, "sampling needs a random number for each row"
    probabilities = (scores - total[:, None]).exp()
    sorted_tokens = None
    if top_p < 1:
        probabilities, sorted_tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulative = probabilities.cumsum(-1)
    mass = cumulative[:, -1:]
    if top_p < 1:
        # The nucleus ends with the token that reaches top_p; a target below its mass falls inside it.
        last = torch.searchsorted(cumulative, mass * top_p).clamp(max=cumulative.shape[1] - 1)
        mass = cumulative.gather(1, last)
    # Below the mass, even after rounding: a token without probability is never chosen.
    target = torch.minimum(uniform[:, None].to(mass.dtype) * mass, torch.nextafter(mass, torch.zeros_like(mass)))
    token = torch.searchsorted(cumulative, target, right=True)
    if sorted_tokens is not None:
        token = sorted_tokens.gather(1, token)
    return token.squeeze(1), (scores.gather(1, token).squeeze(1) - total)
