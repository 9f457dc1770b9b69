"""What keeps large models within memory changes nothing of the result."""

import copy

import pytest
import torch

from retort.config.training import LoraConfig, RewardConfig
from retort.modeling.abilities import abilities_of
from retort.modeling.batch import pad_batch
from retort.modeling.logprobs import length_sorted_batches, response_logprobs, token_logprobs
from retort.modeling.lora import recompute_activations, with_adapters
from retort.rewards.learned import train as training
from retort.rewards.learned.examples import prepare
from retort.rewards.learned.model import RewardModel

PROMPTS, RESPONSES = [[5, 6, 7], [8, 9]], [[10, 11, 1], [12, 13, 14, 1]]


def gradient_and_forwards(model):
    """The policy gradient's weights, and how often the first layer ran."""
    calls = []
    hook = model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    logprobs, _ = token_logprobs(model, pad_batch(PROMPTS, RESPONSES, 0))
    logprobs.sum().backward()
    hook.remove()
    return [p.grad.clone() for p in model.parameters()], len(calls)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_recomputing_activations_runs_layers_twice_and_gives_the_same_gradient(tiny_model, architecture):
    plain = tiny_model(architecture)
    abilities_of(plain)  # whose trials are no passes to count
    recomputing = copy.deepcopy(plain)
    recomputing.gradient_checkpointing_enable()
    recompute_activations(recomputing)
    expected, once = gradient_and_forwards(plain)
    found, twice = gradient_and_forwards(recomputing)
    assert (once, twice) == (1, 2)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))
    assert not recomputing.model.layers[0].self_attn.training  # dropout stays off
    recomputing.eval()
    assert not recomputing.model.layers[0].training  # what sampling sets before it decodes


def test_adapters_of_a_trunk_train_alone_and_start_as_nothing(tiny_model):
    trunk = tiny_model()
    before = trunk(torch.tensor([[5, 6, 7]])).logits
    with_adapters(trunk, LoraConfig(rank=2, alpha=4))
    assert torch.equal(trunk(torch.tensor([[5, 6, 7]])).logits, before)
    trained = {name for name, p in trunk.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    # what critic and reward model read of their trunk
    assert trunk.base_model(input_ids=torch.tensor([[5, 6, 7]])).last_hidden_state.shape == (1, 3, 16)


def test_batches_hold_no_more_tokens_than_allowed_but_at_least_one_row():
    lengths = [10, 40, 20, 100]
    # longest first: 100 alone exceeds 60; 40 leaves room for none of its length; then 20 and 10 as 2 x 20
    assert list(length_sorted_batches(lengths, 8, most_tokens=60)) == [[3], [1], [2, 0]]
    assert list(length_sorted_batches(lengths, 3)) == [[3, 1, 2], [0]]


def test_smaller_scoring_batches_give_the_same_logprobs(tiny_model, monkeypatch):
    model = tiny_model()
    together = response_logprobs(model, PROMPTS, RESPONSES, pad_token_id=0)
    monkeypatch.setattr("retort.modeling.logprobs.MOST_SCORES", model.config.vocab_size)  # one token: a row at a time
    alone = response_logprobs(model, PROMPTS, RESPONSES, pad_token_id=0)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(together, alone, strict=True))


def test_microbatches_of_the_reward_model_add_up_to_its_batch(tiny_model, tiny_tokenizer, tmp_path):
    def step(micro):
        torch.manual_seed(0)
        model = RewardModel(tiny_model(), tiny_tokenizer, {}, head_size=8)
        config = RewardConfig(batch_size=5, micro_batch_size=micro, likelihood=[], max_grad_norm=1e9)
        rows = [
            {"prompt_id": f"p{i}", "prompt": "2 + 3", "response": f"so #### {4 + label}", "source": "teacher"}
            | {"finished": True, "label": label, "correct": None}
            for i, label in enumerate((0, 1, 1, 0, 1, 0))
        ]
        examples = prepare(model, rows, 64, folder=tmp_path)
        optimizer = training._optimizer(model, config)
        loss = training._step(model, optimizer, examples, config, None, step=0, seed=0, state=tmp_path)
        return loss, [p.grad for p in model.head_parameters()]

    (whole, expected), (parts, found) = step(None), step(2)
    assert parts == pytest.approx(whole, abs=1e-6)
    assert any(gradient.abs().max() > 1e-3 for gradient in expected)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))
