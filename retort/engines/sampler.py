"""Sampling from a causal language model with a key-value cache; rows that finish make place for waiting prompts.

Beside the text it returns the log-probability of every sampled token, and keeps no more of the vocabulary's scores
than one step's. The uniform number behind each token is drawn for its prompt and position before anything is decoded,
so samples depend on the seed and, rounding apart, not on how prompts are batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from retort.modeling.abilities import abilities_of
from retort.modeling.cache import block_cache, cached_pass, join_caches, select_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RENEWED_SHARE = 0.25
"""Rows are taken out of a batch, and others let in, once this share of it is free: copying the cache costs a step."""
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
    eos_token_id: int | Sequence[int],
    pad_token_id: int,
    generator: torch.Generator | None,
    batch_size: int,
    uniforms: torch.Tensor | None = None,
    stop: Stop | None = None,
) -> list[Sample]:
    """Sample one response to each of `prompts`.

    Args:
        model: A causal language model of `transformers`; its training mode is as before afterwards.
        prompts: Token ids, none empty; a prompt may occur several times; neighbours are read once.
        temperature: 0 takes the most probable token.
        top_p: Sample among the most probable tokens that hold this much probability.
        max_new_tokens: Tokens after which a response is cut off.
        eos_token_id: Token that ends a response, or several that do.
        pad_token_id: Token to fill rows with; may be the end token, for padding is told by place, not by value.
        generator: Source of randomness; None uses torch's own.
        batch_size: Rows decoded at once, at most.
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
    ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
    able = abilities_of(model)
    was_training = model.training
    model.eval()
    decoder = _Decoder(model, prompts, max_new_tokens, ends, pad_token_id, temperature, top_p, stop, uniforms)
    try:
        if able.pads and able.selects:
            decoder.run(order, batch_size)
        else:
            for rows in _alike(order, prompts, batch_size, pads=able.pads):
                decoder.run(rows, batch_size)
    finally:
        model.train(was_training)
    return decoder.samples()


def _alike(
    order: Sequence[int], prompts: Sequence[Sequence[int]], batch_size: int, *, pads: bool
) -> Iterator[list[int]]:
    """Batches in which nothing changes while they are decoded, of prompts of one length unless rows can be padded."""
    for _, group in groupby(order, key=lambda index: 0 if pads else len(prompts[index])):
        same = list(group)
        yield from (same[start : start + batch_size] for start in range(0, len(same), batch_size))


@dataclass
class _Live:
    """Rows that are being decoded; R of them."""

    rows: torch.Tensor
    """Number of the prompt of each, (R,)."""
    tokens: torch.Tensor
    """Last token of each, which is not in the cache yet, (R,)."""
    counts: torch.Tensor
    """Tokens sampled so far, (R,)."""
    starts: torch.Tensor
    """Tokens of each prompt, (R,)."""
    mask: torch.Tensor
    """1 at the columns of the cache that a row sees, (R, columns)."""
    cache: Any
    padded: bool = False
    """Whether any row does not see a column."""

    def keep(self, index: torch.Tensor) -> None:
        """Take out the rows that are not in `index`."""
        select_rows(self.cache, index)
        for name in ("rows", "tokens", "counts", "starts", "mask"):
            setattr(self, name, getattr(self, name)[index])

    def join(self, other: _Live) -> None:
        """Let the rows of `other` in; columns that no row sees are given up."""
        unseen = int(self.mask.argmax(dim=1).min())
        columns = max(self.mask.shape[1] - unseen, other.mask.shape[1])
        join_caches(self.cache, other.cache, columns)
        self.mask = torch.cat([_widened(one.mask, columns) for one in (self, other)])
        for name in ("rows", "tokens", "counts", "starts"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))


def _widened(mask: torch.Tensor, columns: int) -> torch.Tensor:
    missing = columns - mask.shape[1]
    return torch.nn.functional.pad(mask, (missing, 0)) if missing >= 0 else mask[:, -missing:]


class _Decoder:
    """Decodes prompts; what is sampled lies on the model's device, a row a prompt."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[list[int]],
        max_new_tokens: int,
        ends: list[int],
        pad: int,
        temperature: float,
        top_p: float,
        stop: Stop | None,
        uniforms: torch.Tensor | None,
    ) -> None:
        self.model, self.prompts, self.most, self.pad = model, prompts, max_new_tokens, pad
        self.temperature, self.top_p, self.stop = temperature, top_p, stop
        device, count = model.device, len(prompts)
        self.able = abilities_of(model)
        self.ends = torch.tensor(ends, device=device)
        self.uniforms = uniforms.to(device) if uniforms is not None and temperature > 0 else None
        self.ids = torch.full((count, max_new_tokens), pad, device=device)
        self.logprobs = torch.zeros(count, max_new_tokens, device=device)
        self.lengths = torch.full((count,), max_new_tokens, device=device)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)

    def samples(self) -> list[Sample]:
        """What was sampled, a response a prompt."""
        table = (self.ids, self.logprobs, self.lengths, self.finished)
        rows = zip(*(column.tolist() for column in table), strict=True)
        return [Sample(ids[:length], logprobs[:length], done) for ids, logprobs, length, done in rows]

    @torch.inference_mode()
    def run(self, order: Sequence[int], batch_size: int) -> None:
        """Sample a response to each prompt whose number is in `order`, the first ones first."""
        waiting, step = list(order), 0
        live: _Live | None = None
        while True:
            ended = self._ended(live, step) if live is not None else None
            gone = int(ended.sum()) if ended is not None else 0
            left = len(live.rows) - gone if live is not None else 0
            free = batch_size - left
            if not waiting and not left:
                return
            renew = bool(waiting) and free >= max(1, _RENEWED_SHARE * batch_size)
            if live is not None and gone and self.able.selects:
                assert ended is not None, "rows that are gone have ended"
                if not left:
                    live = None
                elif renew or gone >= _RENEWED_SHARE * len(live.rows):
                    live.keep((~ended).nonzero().squeeze(1))
                    live.padded = not bool(live.mask.all())
            if renew:
                new, waiting = waiting[:free], waiting[free:]
                entering = self._enter(new)
                if live is None:
                    live = entering
                else:
                    live.join(entering)
                live.padded = not bool(live.mask.all())
                continue  # some may have ended with their first token
            assert live is not None, "some rows are left, or some were waiting"
            self._step(live)
            step += 1

    def _ended(self, live: _Live, step: int) -> torch.Tensor:
        """Which rows are done: with an end token, a text to stop at, or as many tokens as there may be."""
        if self.stop is not None and step % _STOP_EVERY == 0:
            found = self._stopped(self.stop, live) & ~self.finished[live.rows]
            self.lengths[live.rows] = torch.where(found, live.counts, self.lengths[live.rows])
            self.finished[live.rows] |= found
        return self.finished[live.rows] | (live.counts >= self.most)

    def _take(self, live: _Live, logits: torch.Tensor) -> None:
        """Choose the next token of each row; rows that have ended and are still there are left as they are."""
        place = live.counts.clamp(max=self.most - 1)
        uniform = self.uniforms[live.rows, place] if self.uniforms is not None else None
        tokens, logprobs = choose(logits, self.temperature, self.top_p, uniform)
        going = ~self.finished[live.rows] & (live.counts < self.most)
        live.tokens = torch.where(going, tokens, live.tokens)
        self.ids[live.rows, place] = torch.where(going, tokens, self.ids[live.rows, place])
        self.logprobs[live.rows, place] = torch.where(going, logprobs, self.logprobs[live.rows, place])
        live.counts = live.counts + going
        ended = going & torch.isin(tokens, self.ends)
        self.lengths[live.rows] = torch.where(ended, live.counts, self.lengths[live.rows])
        self.finished[live.rows] |= ended

    def _step(self, live: _Live) -> None:
        """Read each row's last token, and choose the next one."""
        live.mask = torch.nn.functional.pad(live.mask, (0, 1), value=1)
        if not self.able.caches:
            self._take(live, self._again(live))
            return
        found = cached_pass(
            self.model,
            live.cache,
            live.mask if live.padded else None,
            input_ids=live.tokens[:, None],
            position_ids=(live.starts + live.counts - 1)[:, None],
        )
        self._take(live, found.logits[:, -1])

    def _again(self, live: _Live) -> torch.Tensor:
        """Scores of the next token from a pass over all tokens so far; the rows are of one length."""
        numbers, sampled = live.rows.tolist(), int(live.counts.max())
        prompts = torch.tensor([self.prompts[number] for number in numbers], device=live.rows.device)
        keep = {"logits_to_keep": 1} if self.able.keeps else {}
        ids = torch.cat([prompts, self.ids[live.rows, :sampled]], dim=1)
        scores: torch.Tensor = self.model(input_ids=ids, use_cache=False, **keep).logits[:, -1]
        return scores

    def _stopped(self, stop: Stop, live: _Live) -> torch.Tensor:
        width = stop.width + _STOP_EVERY
        places = live.counts[:, None] - torch.arange(width, 0, -1, device=live.counts.device)
        recent = self.ids[live.rows[:, None], places.clamp(min=0)].tolist()
        rows = zip(live.rows.tolist(), recent, live.counts.tolist(), strict=True)
        found = [stop.found(row, last[max(0, width - count) :]) for row, last, count in rows]
        return torch.tensor(found, device=live.rows.device)

    def _enter(self, numbers: Sequence[int]) -> _Live:
        """Read some prompts, each different one once, and choose the first token of each response."""
        device = self.model.device
        distinct = list(dict.fromkeys(tuple(self.prompts[number]) for number in numbers))
        shared = len(distinct) < len(numbers)
        if shared and not self.able.selects:
            distinct, shared = [tuple(self.prompts[number]) for number in numbers], False
        width = max(len(prompt) for prompt in distinct)
        ids, mask = torch.full((len(distinct), width), self.pad), torch.ones(len(distinct), width, dtype=torch.long)
        for row, prompt in enumerate(distinct):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, : width - len(prompt)] = 0
        mask = mask.to(device)
        rows = torch.tensor(list(numbers), device=device)
        if not self.able.caches:
            live = _Live(rows, torch.zeros_like(rows), torch.zeros_like(rows), mask.sum(1), mask, None)
            self._take(live, self._again(live))
            return live
        cache = block_cache(self.model.config)
        keep = {"logits_to_keep": 1} if self.able.keeps else {}
        logits = cached_pass(
            self.model,
            cache,
            mask if not bool(mask.all()) else None,
            input_ids=ids.to(device),
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            **keep,
        ).logits[:, -1]
        if shared:
            place = {prompt: row for row, prompt in enumerate(distinct)}
            index = torch.tensor([place[tuple(self.prompts[number])] for number in numbers], device=device)
            select_rows(cache, index)
            logits, mask = logits[index], mask[index]
        live = _Live(rows, torch.zeros_like(rows), torch.zeros_like(rows), mask.sum(1), mask, cache)
        self._take(live, logits)
        return live


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
