"""What the reward head sees of a response beside the trunk's hidden state: how likely frozen models find it.

A fresh head on a language model learns slowly which answers are right; the model's own token probabilities already
tell most of it. Both the mean and the least of them matter: one slip makes a solution wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from retort.modeling.chat import prompt_ids, response_ids
from retort.modeling.logprobs import length_sorted_batches, response_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

POOLED = ("mean", "minimum", "second_minimum", "first_half", "second_half", "last")
"""Figures that the token log-probabilities of one response are pooled to."""


@dataclass(frozen=True)
class LikelihoodModel:
    """A frozen language model with its own tokenizer, whose likelihood the head sees."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    def logprobs(
        self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool], *, batch_size: int
    ) -> list[Tensor]:
        """Log-probability of each token of each response, in the likelihood model's own chat template and tokens."""
        cache: dict[str, list[int]] = {}
        for prompt in prompts:
            if prompt not in cache:
                cache[prompt] = prompt_ids(self.tokenizer, prompt)
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int), "load_tokenizer sets a pad token"
        return response_logprobs(
            self.model,
            [cache[prompt] for prompt in prompts],
            [response_ids(self.tokenizer, text, finished=end) for text, end in zip(responses, finished, strict=True)],
            pad_token_id=pad,
            batch_size=batch_size,
        )

    def reads_like(self, tokenizer: PreTrainedTokenizerFast) -> bool:
        """Whether this likelihood model sees the very tokens of `tokenizer`: one vocabulary and one chat template."""
        return (
            self.tokenizer.get_vocab() == tokenizer.get_vocab()
            and self.tokenizer.chat_template == tokenizer.chat_template
        )


def pool(logprobs: Tensor) -> list[float]:
    """Pool one response's token log-probabilities (nats, shape (T,)) to the figures of `POOLED`.

    A response without tokens has likelihood one: all figures are 0.
    """
    if len(logprobs) == 0:
        return [0.0] * len(POOLED)
    ordered, half = logprobs.sort().values, (len(logprobs) + 1) // 2
    return [
        float(logprobs.mean()),
        float(ordered[0]),
        float(ordered[min(1, len(ordered) - 1)]),
        float(logprobs[:half].min()),
        float(logprobs[half:].min()) if len(logprobs) > half else 0.0,
        float(logprobs[-1]),
    ]


def features(logprobs: Sequence[Sequence[Tensor]], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
    """Features of N responses: each likelihood model's pooled likelihood, whether the response ended, its length.

    Args:
        logprobs: For each likelihood model, the token log-probabilities of each response.
        responses: The texts.
        finished: Whether the model ended each itself.

    Returns:
        Shape (N, likelihood models * len(POOLED) + 2), float32.
    """
    columns = [torch.tensor([pool(row) for row in one]).view(len(responses), -1) for one in logprobs]
    ends = torch.tensor([[float(end)] for end in finished])
    lengths = torch.tensor([[float(len(response))] for response in responses]).log1p()
    return torch.cat([*columns, ends, lengths], dim=1)


def running_pool(logprobs_BT: Tensor) -> Tensor:
    """What `pool` makes of every prefix: position t pools tokens 0 to t.

    Args:
        logprobs_BT: Token log-probabilities of B responses, padded on the right by anything.

    Returns:
        Shape (B, T, len(POOLED)).
    """
    length = logprobs_BT.shape[1]
    if length == 0:
        return logprobs_BT.new_zeros(*logprobs_BT.shape, len(POOLED))
    counts = torch.arange(1, length + 1, device=logprobs_BT.device)
    minimum = logprobs_BT.cummin(dim=1).values
    # As in `pool`: of one token the least is also the next least, and its second half is empty.
    second, later = [logprobs_BT[:, 0]], [torch.zeros_like(logprobs_BT[:, 0])]
    runner_up = torch.full_like(logprobs_BT[:, 0], torch.inf)
    for t in range(1, length):
        runner_up = torch.minimum(runner_up, torch.maximum(minimum[:, t - 1], logprobs_BT[:, t]))
        second.append(runner_up)
        later.append(logprobs_BT[:, (t + 2) // 2 : t + 1].amin(dim=1))
    return torch.stack(
        [
            logprobs_BT.cumsum(dim=1) / counts,
            minimum,
            torch.stack(second, dim=1),
            minimum[:, (counts - 1) // 2],
            torch.stack(later, dim=1),
            logprobs_BT,
        ],
        dim=2,
    )


def pool_prefixes(logprobs: Sequence[Tensor], *, batch_size: int = 256) -> list[Tensor]:
    """For each response, what `pool` makes of its first 0, 1, ... tokens: shape (tokens + 1, len(POOLED))."""
    found = [torch.zeros(1, len(POOLED))] * len(logprobs)
    for index in length_sorted_batches([len(row) for row in logprobs], batch_size):
        pooled = running_pool(pad_sequence([logprobs[i] for i in index], batch_first=True))
        for row, i in enumerate(index):
            found[i] = torch.cat([found[i], pooled[row, : len(logprobs[i])]])
    return found


def token_features(
    pooled: Sequence[Tensor], token_ends: Sequence[Sequence[int]], ends: Sequence[int], whole_F: Tensor
) -> Tensor:
    """Features of one response after each of its tokens, of what was written by then: what `features` is at the end.

    Args:
        pooled: Each likelihood model's `pool_prefixes` of the response.
        token_ends: For each likelihood model, the character at which each of its tokens ends (`chat.response_tokens`):
            likelihood models may cut the text into other tokens, and only those that are complete count.
        ends: The same of the trunk's tokens.
        whole_F: The response's own row of `features`.

    Returns:
        Shape (max(1, tokens), F); the last row is `whole_F`.
    """
    if not ends:
        return whole_F[None]
    written = torch.tensor(ends)
    columns = [
        values[torch.searchsorted(torch.tensor(places), written, right=True)]
        for values, places in zip(pooled, token_ends, strict=True)
    ]
    found = torch.cat([*columns, torch.zeros(len(ends), 1), written.float().log1p()[:, None]], dim=1)
    found[-1] = whole_F
    return found


PREFIX = ("running_mean", "running_minimum", "latest")
"""Figures that the token log-probabilities of a prefix are pooled to."""


def prefix_features(logprobs_BT: Tensor, response_mask_BT: Tensor) -> Tensor:
    """What a likelihood model's likelihood says of a response so far, at the state in which each token is chosen.

    Position t pools the log-probabilities of the response tokens before t; at the first one nothing is known and all
    figures are 0, as for a text of likelihood one.

    Returns:
        Shape (B, T, len(PREFIX)), float32; 0 where the mask is 0.
    """
    mask = response_mask_BT.to(logprobs_BT.dtype)
    kept = logprobs_BT * mask
    count = mask.cumsum(dim=1).clamp(min=1)
    after = torch.stack([kept.cumsum(dim=1) / count, kept.cummin(dim=1).values, kept], dim=2)
    before = torch.cat([torch.zeros_like(after[:, :1]), after[:, :-1]], dim=1)
    return before * mask.unsqueeze(2)
