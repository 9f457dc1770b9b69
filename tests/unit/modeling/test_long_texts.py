"""Long responses: the memory of their scores does not grow with their length."""

from __future__ import annotations

import pytest
import torch

from retort.modeling import logprobs
from retort.modeling.abilities import abilities_of
from retort.modeling.batch import pad_batch
from retort.modeling.fsdp import decoder_layers
from retort.modeling.logprobs import response_logprobs, token_logprobs
from retort.modeling.lora import recompute_activations


class Largest(torch.overrides.TorchFunctionMode):
    """Keeps the most scores that any operation gave at once."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary, self.most = vocabulary, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dim() > 1 and found.shape[-1] == self.vocabulary:
            self.most = max(self.most, found.numel())
        return found


@pytest.fixture
def long_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16384, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    assert abilities_of(model).splits
    return model


def test_a_response_of_eight_thousand_tokens_is_scored_a_part_at_a_time(long_model, monkeypatch):
    ids = torch.randint(2, 500, (8000,), generator=torch.Generator().manual_seed(1)).tolist()
    (whole,) = response_logprobs(long_model, [[7, 8]], [ids], pad_token_id=0)
    monkeypatch.setattr(logprobs, "PART_SCORES", 500 * 512)
    with Largest(500) as seen:
        (parts,) = response_logprobs(long_model, [[7, 8]], [ids], pad_token_id=0)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    assert 0 < seen.most <= 500 * 512


def test_training_on_it_keeps_no_scores_and_no_activations(long_model, monkeypatch):
    """With recomputed layers what is kept for the backward pass is a few hidden states a token, and no scores."""
    batch = pad_batch([[7, 8]], [torch.randint(2, 500, (4000,)).tolist()], 0)
    expected, _ = token_logprobs(long_model, batch)
    expected.sum().backward()
    gradients = [weight.grad.clone() for weight in long_model.parameters()]
    long_model.zero_grad()
    monkeypatch.setattr(logprobs, "PART_SCORES", 500 * 256)
    long_model.gradient_checkpointing_enable()
    recompute_activations(long_model)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        found, _ = token_logprobs(long_model, batch)
    sizes = {one.data_ptr(): one.numel() for one in kept if isinstance(one, torch.Tensor)}
    assert sum(sizes.values()) < 4002 * 16 * (2 * len(decoder_layers(long_model)) + 8) + 500 * 16 + 4002 * 32
    found.sum().backward()
    for weight, gradient in zip(long_model.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-3, rtol=1e-3)
