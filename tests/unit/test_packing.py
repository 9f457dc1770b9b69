"""Packed rows against single sequences: the same hidden states and gradients, fewer positions."""

from __future__ import annotations

import pytest
import torch

from retort.likelihood import pad_batch, token_logprobs
from retort.packing import can_pack, first_fit, hidden_states, pack

PROMPTS = [[7, 8, 9], [10], [11, 12, 13, 14, 15, 16], [17, 18], [19, 20, 21]]
RESPONSES = [[20, 21, 1], [22, 1], [23, 24, 25, 26, 27, 28], [29, 30, 31], []]
ARCHITECTURES = ["llama", "qwen2", "gemma2", "gpt2"]


def batch():
    return pad_batch(PROMPTS, RESPONSES, 0)


def test_longest_first_into_the_first_row_with_room():
    # Width 12: 12 alone; 6 and 5 leave 1; 3 and 3 open a row.
    assert first_fit([6, 3, 12, 5, 3], 12) == [(1, 0), (2, 0), (0, 0), (1, 6), (2, 3)]
    assert first_fit([4, 4], 4) == [(0, 0), (1, 0)]


def test_no_token_is_lost_and_none_has_two_places(tiny_model):
    whole = batch()
    packed = pack(tiny_model(), whole)
    rows, columns = whole.attention_mask_BT.nonzero(as_tuple=True)
    places = packed.places(rows, columns)
    assert len(set(places.tolist())) == len(rows)
    assert torch.equal(packed.ids_RW.view(-1)[places], whole.ids_BT[rows, columns])
    assert torch.equal(packed.position_ids_RW.view(-1)[places], columns)
    # 12, 6, 5, 3 and 3 tokens: 12 | 6 + 5 | 3 + 3
    assert packed.ids_RW.shape == (3, 12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_are_those_of_single_sequences(tiny_model, architecture):
    model, whole = tiny_model(architecture), batch()
    assert can_pack(model)
    found = hidden_states(model, whole, whole.attention_mask_BT.bool()).detach()
    expected = [
        model.base_model(torch.tensor([prompt + response]), use_cache=False).last_hidden_state[0]
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(expected).detach(), atol=1e-5, rtol=0)


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
        assert not can_pack(model)
        model.config._attn_implementation_internal, model._is_stateful = "sdpa", True  # it cannot run here
    else:
        model.config.layer_types = ["full_attention", "linear_attention"]
    assert not can_pack(model)
    found, _ = token_logprobs(model, whole)
    assert shapes == [(5, 12)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
