"""Packed rows against single sequences: the same hidden states and gradients, fewer positions."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from retort.modeling import packing
from retort.modeling.abilities import abilities_of
from retort.modeling.batch import pad_batch
from retort.modeling.logprobs import token_logprobs
from retort.modeling.packing import first_fit, hidden_states, pack

PROMPTS = [[7, 8, 9], [10], [11, 12, 13, 14, 15, 16], [17, 18], [19, 20, 21]]
RESPONSES = [[20, 21, 1], [22, 1], [23, 24, 25, 26, 27, 28], [29, 30, 31], []]
ARCHITECTURES = ["llama", "qwen2", "gemma2", "gpt2"]


SHARED = [[7, 8, 9], [10, 11], [7, 8, 9], [7, 8, 9], [10, 11], [7, 8]]
ANSWERS = [[20, 21, 22, 23, 24], [25, 1], [26], [20, 21, 1], [25, 27, 1], [28]]


def batch():
    return pad_batch(PROMPTS, RESPONSES, 0)


def single(model, prompts, responses):
    """Hidden states of each sequence on its own, one after another."""
    each = [
        model.base_model(torch.tensor([prompt + response]), use_cache=False).last_hidden_state[0]
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return torch.cat(each).detach()


def test_longest_first_into_the_first_row_with_room():
    # Width 12: 12 alone; 6 and 5 leave 1; 3 and 3 open a row.
    assert first_fit([6, 3, 12, 5, 3], 12) == [(1, 0), (2, 0), (0, 0), (1, 6), (2, 3)]
    assert first_fit([4, 4], 4) == [(0, 0), (1, 0)]


def test_no_token_is_lost_and_none_has_two_places(tiny_model):
    whole = batch()
    packed = pack(tiny_model(), whole)
    rows, columns = whole.attention_mask_BT.nonzero(as_tuple=True)
    places = packed.place_BT[rows, columns]
    assert len(set(places.tolist())) == len(rows)
    assert torch.equal(packed.ids_RW.view(-1)[places], whole.ids_BT[rows, columns])
    assert torch.equal(packed.position_ids_RW.view(-1)[places], columns)
    # 12, 6, 5, 3 and 3 tokens: 12 + 3 | 6 + 5 + 3; rows of 12 would be three.
    assert packed.ids_RW.shape == (2, 15)


def test_responses_to_one_prompt_stand_behind_one_copy_of_it(tiny_model):
    whole = pad_batch(SHARED, ANSWERS, 0)
    packed = pack(tiny_model(), whole)
    # 7 8 9 with its three responses: 12 tokens; 10 11 with two: 7; 7 8 is another prompt: 3. They take 12 | 7 + 3.
    assert packed.ids_RW.shape == (2, 12)
    assert packed.place_BT[0, :3].tolist() == packed.place_BT[2, :3].tolist() == packed.place_BT[3, :3].tolist()
    assert packed.place_BT[1, :2].tolist() == packed.place_BT[4, :2].tolist() != packed.place_BT[5, :2].tolist()
    assert torch.equal(packed.position_ids_RW.view(-1)[packed.place_BT[3, :6]], torch.arange(6))


def test_a_prompt_is_repeated_where_its_responses_do_not_fit_one_row(tiny_model, monkeypatch):
    monkeypatch.setattr(packing, "LONGEST_ROW", 1)
    packed = pack(tiny_model(), pad_batch(SHARED, ANSWERS, 0))
    # Width 8. 7 8 9: 5 | 3 + 1 of its responses fit beside it; 10 11: both. Pieces of 8, 7, 7 and 3 take four rows.
    assert packed.ids_RW.shape == (4, 8)
    assert packed.place_BT[2, :3].tolist() == packed.place_BT[3, :3].tolist() != packed.place_BT[0, :3].tolist()


@pytest.mark.parametrize(("hidden_size", "shape"), [(32, (2, 15)), (0, (3, 12))])
def test_rows_are_longer_only_where_attention_costs_less_than_the_room_they_save(tiny_model, hidden_size, shape):
    model = tiny_model()
    # 30 (6 H + 15) against 36 (6 H + 12), equal at 6 H = 3: below that, short rows are cheaper.
    model.config.hidden_size = hidden_size
    assert pack(model, batch()).ids_RW.shape == shape


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_behind_shared_prompts_are_those_of_single_sequences(tiny_model, architecture):
    model, whole = tiny_model(architecture), pad_batch(SHARED, ANSWERS, 0)
    found = hidden_states(model, whole, whole.attention_mask_BT.bool()).detach()
    torch.testing.assert_close(found, single(model, SHARED, ANSWERS), atol=1e-5, rtol=0)


def test_log_probabilities_and_gradients_behind_shared_prompts_are_those_of_single_sequences(tiny_model):
    model, whole = tiny_model(), pad_batch(SHARED, ANSWERS, 0)
    weights = torch.linspace(-1, 2, 15)
    found, entropies = token_logprobs(model, whole, temperature=0.7, entropy=True)
    (found[whole.response_mask_BT.bool()] * weights).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    expected = []
    for prompt, response in zip(SHARED, ANSWERS, strict=True):
        logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1] / 0.7
        expected.append(torch.distributions.Categorical(logits=logits))
    logprobs = [one.log_prob(torch.tensor(ids)) for one, ids in zip(expected, ANSWERS, strict=True)]
    (torch.cat(logprobs) * weights).sum().backward()
    kept = whole.response_mask_BT.bool()
    torch.testing.assert_close(found[kept], torch.cat(logprobs), atol=1e-5, rtol=0)
    torch.testing.assert_close(entropies[kept], torch.cat([one.entropy() for one in expected]), atol=1e-5, rtol=0)
    for one, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=2e-5, rtol=1e-4)


def test_models_that_do_not_see_everything_share_no_prompts(tiny_model):
    assert [abilities_of(tiny_model(name)).shares for name in ARCHITECTURES] == [True, True, False, True]
    config = tiny_model("qwen2").config
    config.layer_types, config.sliding_window = ["full_attention", "sliding_attention"], 8
    windowed = AutoModelForCausalLM.from_config(config)
    assert not abilities_of(windowed).shares
    assert abilities_of(windowed).packs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_are_those_of_single_sequences(tiny_model, architecture):
    model, whole = tiny_model(architecture), batch()
    assert abilities_of(model).packs
    found = hidden_states(model, whole, whole.attention_mask_BT.bool()).detach()
    torch.testing.assert_close(found, single(model, PROMPTS, RESPONSES), atol=1e-5, rtol=0)


def test_a_sequence_sees_no_other_in_its_row(tiny_model):
    model, whole = tiny_model(), batch()
    before = hidden_states(model, whole, whole.attention_mask_BT.bool())
    whole.ids_BT[1, :3] = 40  # stands behind another in the second row
    after = hidden_states(model, whole, whole.attention_mask_BT.bool())
    other = whole.attention_mask_BT.nonzero()[:, 0] != 1
    assert torch.equal(before[other], after[other])
    assert not torch.allclose(before[~other], after[~other])


@pytest.mark.parametrize("kind", ["stateful", "kernel", "layers"])
def test_models_that_cannot_be_packed_are_padded_and_give_the_same(tiny_model, kind):
    model, whole = tiny_model(), batch()
    expected, _ = token_logprobs(model, whole)
    shapes = []
    model.base_model.register_forward_pre_hook(
        lambda _module, _args, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    if kind == "stateful":
        model._is_stateful = True
    elif kind == "kernel":
        model.config._attn_implementation_internal = "flash_attention_2"
        assert not abilities_of(model).packs
        model.config._attn_implementation_internal, model._is_stateful = "sdpa", True  # it cannot run here
    else:
        model.config.layer_types = ["full_attention", "linear_attention"]
    assert not abilities_of(model).packs
    shapes.clear()  # of the trials
    found, _ = token_logprobs(model, whole)
    assert shapes == [(5, 12)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
