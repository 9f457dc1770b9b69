"""Log-probabilities of given responses under a causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from retort.modeling.abilities import abilities_of, causal_of, layers_of, scores_of, text_config
from retort.modeling.batch import TokenBatch, pad_batch
from retort.modeling.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_SCORES = 2**30
"""Scores (tokens x vocabulary) of a forward pass without gradient: 2 GiB in bfloat16 if all tokens are responses'."""
PART_SCORES = 2**26
"""Scores beyond which they are computed in parts: 128 MiB in bfloat16."""
CHUNK_SCORES = 2**23
"""Scores that are normalised in float32 at once: 32 MiB."""


def token_logprobs(
    model: PreTrainedModel, batch: TokenBatch, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each response token, and the entropy of its distribution if asked.

    Sequences are packed into rows without padding where the model allows it, the responses to one prompt behind one
    copy of it, and scores over the vocabulary are computed for response tokens alone.

    Args:
        model: A causal language model.
        batch: B rows of T tokens on the model's device.
        temperature: Logits are divided by it, as in sampling.
        entropy: Compute the entropies too (without gradient).

    Returns:
        Log-probabilities and entropies in nats, shape (B, T) in float32; 0 where the response mask is 0.
    """
    packed = pack(model, batch)
    rows, columns = batch.response_mask_BT[:, 1:].nonzero(as_tuple=True)
    # First tokens of responses that share a prompt are chosen in one place, from one row of scores.
    places, which = packed.places(rows, columns).unique(return_inverse=True)
    keep = torch.zeros_like(packed.ids_RW, dtype=torch.bool)
    keep.view(-1)[places] = True  # the model gives the scores of these places in their order
    able, targets = abilities_of(model), batch.ids_BT[rows, columns + 1]
    if able.keeps and able.splits and not _sharded(model) and len(places) * _vocabulary(model) > PART_SCORES:
        hidden_SH = _hidden_at(model, packed.inputs(), places)
        found, spread = _in_parts(model, hidden_SH, targets, which, temperature=temperature, entropy=entropy)
    else:
        logits_SV = (
            model(**packed.inputs(), logits_to_keep=keep).logits
            if able.keeps
            else model(**packed.inputs()).logits[keep]
        )
        found, spread = chosen_logprobs(logits_SV, targets, which, temperature=temperature, entropy=entropy)
    logprobs, entropies = torch.zeros(2, *batch.ids_BT.shape, dtype=torch.float32, device=found.device)
    return logprobs.index_put((rows, columns + 1), found), entropies.index_put((rows, columns + 1), spread)


def _vocabulary(model: Any) -> int:
    return int(text_config(model).vocab_size)


def _sharded(model: Any) -> bool:
    """Whether the head's weight is gathered in passes alone."""
    return isinstance(causal_of(model).get_output_embeddings().weight, DTensor)


def _hidden_at(model: Any, inputs: dict[str, Any], places: Tensor) -> Tensor:
    """Last hidden states at some places of the flattened rows, (S, H), from a pass of the model with all its adapters.

    Its scores are asked for at one place only.
    """
    seen: list[Tensor] = []
    watch = layers_of(causal_of(model)).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.last_hidden_state)
    )
    one = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    one[0, 0] = True
    try:
        model(**inputs, logits_to_keep=one)
    finally:
        watch.remove()
    # index_select adds gradients of one place up in a fixed order; indexing with a tensor does not on several threads.
    return seen[-1].flatten(0, 1).index_select(0, places)


def _in_parts(
    model: Any, hidden_SH: Tensor, targets_N: Tensor, which_N: Tensor, *, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor]:
    """As `chosen_logprobs`, of the scores that hidden states give, a part of them at a time, computed again backward.

    Of a response of 16,000 tokens all scores, and their gradient as much again, would take 5 GB in bfloat16 each.
    """

    def part(hidden: Tensor, targets: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        return chosen_logprobs(scores_of(model, hidden), targets, which, temperature=temperature, entropy=entropy)

    size = max(1, PART_SCORES // _vocabulary(model))
    found, spread = torch.zeros(2, len(targets_N), dtype=torch.float32, device=hidden_SH.device)
    for start in range(0, len(hidden_SH), size):
        index = ((which_N >= start) & (which_N < start + size)).nonzero().squeeze(1)
        given = hidden_SH[start : start + size], targets_N[index], which_N[index] - start
        one, other = checkpoint(part, *given, use_reentrant=False) if torch.is_grad_enabled() else part(*given)
        found, spread = found.index_put((index,), one), spread.index_put((index,), other)
    return found, spread


def chosen_logprobs(
    logits_SV: Tensor, targets_N: Tensor, which_N: Tensor, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of N tokens under S distributions, and the distributions' entropies (0 unless asked for).

    Args:
        logits_SV: Scores over the vocabulary.
        targets_N: The tokens.
        which_N: Row of the scores that each token was chosen from.
        temperature: Scores are divided by it.
        entropy: Compute entropies (without gradient).

    Returns:
        Log-probabilities and entropies in nats, both (N,), float32.
    """
    found: tuple[Tensor, Tensor] = _Chosen.apply(logits_SV, targets_N, which_N, temperature, entropy)
    return found


class _Chosen(torch.autograd.Function):
    """Log-probabilities of chosen tokens and entropies, keeping nothing of the vocabulary's size but the logits.

    `gather - logsumexp` would keep a copy in float32 and make three more in the backward pass; here float32 exists for
    a few rows at a time, and the gradient, chosen - softmax, is the one other tensor of the logits' size.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_SV: Tensor, targets_N: Tensor, which_N: Tensor, temperature: float, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        totals, entropies = torch.zeros(2, len(logits_SV), dtype=torch.float32, device=logits_SV.device)
        for part in _row_chunks(logits_SV):
            scores = _scaled(logits_SV[part], temperature)
            totals[part] = scores.logsumexp(dim=1)
            if entropy:
                # H = ln Z - E[score]; a score of -inf has probability 0 and adds nothing.
                weighted = (scores - totals[part, None]).exp_().mul_(scores).nan_to_num_(nan=0.0)
                entropies[part] = totals[part] - weighted.sum(dim=1)
        chosen = _scaled(logits_SV[which_N, targets_N], temperature)
        ctx.save_for_backward(logits_SV, targets_N, which_N, totals)
        ctx.temperature = temperature
        spread = entropies[which_N]
        ctx.mark_non_differentiable(spread)
        return chosen - totals[which_N], spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor, _entropy: Tensor) -> tuple[Tensor | None, ...]:
        logits_SV, targets_N, which_N, totals = ctx.saved_tensors
        upstream = grad_N / ctx.temperature
        summed = torch.zeros_like(totals).index_add_(0, which_N, upstream)
        gradient = torch.empty_like(logits_SV)
        for part in _row_chunks(logits_SV):
            scores = _scaled(logits_SV[part], ctx.temperature)
            gradient[part] = (scores - totals[part, None]).exp_().mul_(-summed[part, None])
        # Several responses may choose one token in one place; unlike index_put_, this adds up in a fixed order.
        gradient.view(-1).index_add_(0, which_N * logits_SV.shape[1] + targets_N, upstream.to(gradient.dtype))
        return gradient, None, None, None, None


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    scores = logits.float()
    return scores if temperature == 1 else scores / temperature


def _row_chunks(logits_SV: Tensor) -> list[slice]:
    """Slices of a few rows each, of at most `CHUNK_SCORES` scores."""
    size = max(1, CHUNK_SCORES // logits_SV.shape[1])
    return [slice(start, start + size) for start in range(0, len(logits_SV), size)]


def length_sorted_batches(
    lengths: Sequence[int], batch_size: int, *, most_tokens: int | None = None
) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, so that a batch holds little padding.

    Args:
        lengths: Length of each row.
        batch_size: Rows in a batch.
        most_tokens: Tokens in a batch, padding included; one row at least is always in it.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    start = 0
    while start < len(order):
        fitting = batch_size if most_tokens is None else max(1, most_tokens // max(1, lengths[order[start]]))
        end = start + min(batch_size, fitting)
        yield order[start:end]
        start = end


def scoring_tokens(model: PreTrainedModel) -> int:
    """Tokens of a forward pass without gradient whose scores over the vocabulary fit in memory."""
    return MOST_SCORES // _vocabulary(model)


@torch.inference_mode()
def response_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    temperature: float = 1.0,
    batch_size: int = 64,
) -> list[Tensor]:
    """Log-probability of each response's tokens: one float32 tensor a response, on the CPU, in the order given."""
    found: list[Tensor] = [torch.empty(0)] * len(prompts)
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    for index in length_sorted_batches(lengths, batch_size, most_tokens=scoring_tokens(model)):
        batch = pad_batch([prompts[i] for i in index], [responses[i] for i in index], pad_token_id).to(model.device)
        logprobs, _ = token_logprobs(model, batch, temperature=temperature)
        for row, i in enumerate(index):
            found[i] = logprobs[row][batch.response_mask_BT[row].bool()].cpu()
    return found
