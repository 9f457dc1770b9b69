"""Log-probabilities of given responses: equal to a softmax by hand, whatever stands beside them."""

from __future__ import annotations

import math

import pytest
import torch

from retort.modeling import logprobs as module
from retort.modeling.batch import TokenBatch, pad_batch
from retort.modeling.logprobs import length_sorted_batches, response_logprobs, token_logprobs

PROMPTS = [[7, 8, 9], [10], [11, 12, 13, 14, 15, 16], [17, 18]]
RESPONSES = [[20, 21, 1], [22, 1], [23], [24, 25, 26, 27, 28]]


def by_hand(model, prompt, response, temperature=1.0):
    """One pass without padding; token t is predicted at t - 1."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0].float() / temperature
    logp = logits.log_softmax(-1)
    return torch.stack([logp[len(prompt) + t - 1, token] for t, token in enumerate(response)])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_token_logprobs_are_the_log_softmax_of_unpadded_rows(tiny_model, architecture, temperature):
    model = tiny_model(architecture)
    batch = pad_batch(PROMPTS, RESPONSES, 0)
    found, _ = token_logprobs(model, batch, temperature=temperature)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        expected = torch.zeros(batch.ids_BT.shape[1])
        expected[len(prompt) : len(prompt) + len(response)] = by_hand(model, prompt, response, temperature)
        torch.testing.assert_close(found[row].detach(), expected, atol=1e-5, rtol=0)


def test_neither_padding_nor_what_stands_there_changes_a_logprob(tiny_model):
    model = tiny_model()
    narrow, wide = pad_batch(PROMPTS, RESPONSES, 0), pad_batch([*PROMPTS, [5] * 30], [*RESPONSES, [6]], 99)
    expected, _ = token_logprobs(model, narrow)
    found, _ = token_logprobs(model, wide)
    torch.testing.assert_close(found[:4, : expected.shape[1]], expected, atol=1e-5, rtol=0)


def test_entropies_are_those_of_the_distributions(tiny_model):
    model = tiny_model()
    _, found = token_logprobs(model, pad_batch([PROMPTS[0]], [RESPONSES[0]], 0), temperature=0.5, entropy=True)
    logits = model(torch.tensor([PROMPTS[0] + RESPONSES[0]])).logits[0].detach() / 0.5
    expected = torch.distributions.Categorical(logits=logits[2:5]).entropy()
    torch.testing.assert_close(found[0], torch.cat([torch.zeros(3), expected]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_gradients_are_those_of_log_softmax_on_unpadded_rows(tiny_model, architecture, temperature, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SCORES", 700)  # two rows of the vocabulary at a time
    model, weights = tiny_model(architecture), torch.linspace(-1, 2, 11)
    logprobs, _ = token_logprobs(model, batch := pad_batch(PROMPTS, RESPONSES, 0), temperature=temperature)
    (logprobs[batch.response_mask_BT.bool()] * weights).sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    each = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        each.append((logits / temperature).log_softmax(-1).gather(1, torch.tensor(response)[:, None]).squeeze(1))
    (torch.cat(each) * weights).sum().backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=2e-5, rtol=1e-4)


def test_a_pass_with_gradient_keeps_the_logits_of_response_tokens_and_nothing_else_of_their_size(tiny_model):
    model, kept = tiny_model(), []
    prompts, responses = [[7] * 40, [8] * 40], [[9, 10, 1], [9, 1]]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        token_logprobs(model, pad_batch(prompts, responses, 0), entropy=True)
    vocabulary, weight = model.config.vocab_size, set(model.get_output_embeddings().weight.shape)
    found = [tuple(x.shape) for x in kept if vocabulary in x.shape]
    assert [shape for shape in found if set(shape) != weight] == [(5, vocabulary)]


def test_entropy_counts_tokens_without_probability_as_nothing(tiny_model):
    model = tiny_model()
    head = torch.nn.Linear(16, model.config.vocab_size)
    torch.nn.init.zeros_(head.weight)
    head.bias = torch.nn.Parameter(torch.full((model.config.vocab_size,), -torch.inf))
    with torch.no_grad():
        head.bias[:4] = 0.0
    model.lm_head = head
    logprobs, entropies = token_logprobs(model, pad_batch([[7]], [[2]], 0), entropy=True)
    assert logprobs[0, 1].item() == pytest.approx(-math.log(4))
    assert entropies[0, 1].item() == pytest.approx(math.log(4))


def test_gradients_flow_to_the_model_from_response_tokens_alone(tiny_model):
    model = tiny_model()
    for prompt in ([7, 8], [7]):
        model.zero_grad()
        token_logprobs(model, pad_batch([prompt], [[9, 1]], 0))[0].sum().backward()
        assert model.get_input_embeddings().weight.grad[7].abs().sum() > 0
    empty = token_logprobs(model, pad_batch([[7, 8]], [[]], 0))[0]
    assert empty.tolist() == [[0, 0]]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_responses_keep_their_order_whatever_the_batches(tiny_model, batch_size):
    model = tiny_model()
    found = response_logprobs(model, PROMPTS, RESPONSES, pad_token_id=0, batch_size=batch_size)
    for one, prompt, response in zip(found, PROMPTS, RESPONSES, strict=True):
        assert (one.dtype, one.shape) == (torch.float32, (len(response),))
        torch.testing.assert_close(one, by_hand(model, prompt, response), atol=1e-5, rtol=0)


def test_an_empty_response_has_no_logprobs(tiny_model):
    found = response_logprobs(tiny_model(), [[7], [8]], [[], [9]], pad_token_id=0)
    assert [len(one) for one in found] == [0, 1]


def test_padding_is_on_the_right_and_masks_say_what_is_what():
    batch = pad_batch([[5, 6], [7]], [[8], [9, 10, 11]], 0)
    assert batch.ids_BT.tolist() == [[5, 6, 8, 0], [7, 9, 10, 11]]
    assert batch.attention_mask_BT.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.response_mask_BT.tolist() == [[0, 0, 1, 0], [0, 1, 1, 1]]


def test_a_pad_token_inside_a_response_still_counts():
    assert pad_batch([[5]], [[0, 0]], 0).response_mask_BT.tolist() == [[0, 1, 1]]


def test_rows_are_cut_to_the_longest_of_them():
    batch = pad_batch([[5, 6], [7], [3, 4]], [[8], [9, 10, 11], [2]], 0)
    part = batch.rows(torch.tensor([2, 0]))
    assert isinstance(part, TokenBatch)
    assert part.ids_BT.tolist() == [[3, 4, 2], [5, 6, 8]]
    assert part.attention_mask_BT.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert part.response_mask_BT.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert batch.rows(torch.tensor([0, 1])).ids_BT.shape == (2, 4)


def test_batches_are_of_similar_length_longest_first_and_hold_every_row_once():
    batches = list(length_sorted_batches([3, 9, 5, 9, 1], 2))
    assert batches == [[1, 3], [2, 0], [4]]
