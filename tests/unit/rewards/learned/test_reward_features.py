"""What the reward head and the critic see of a likelihood model's likelihood."""

from __future__ import annotations

import math

import pytest
import torch

from retort.modeling.batch import pad_batch
from retort.modeling.logprobs import token_logprobs
from retort.rewards.learned.features import (
    POOLED,
    PREFIX,
    LikelihoodModel,
    features,
    pool,
    pool_prefixes,
    prefix_features,
    running_pool,
    token_features,
)


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        # mean -10.5 / 5; least -4, next -3; halves (-1, -4, -2) and (-3, -0.5); last.
        ([-1.0, -4.0, -2.0, -3.0, -0.5], [-2.1, -4, -3, -4, -3, -0.5]),
        ([-1.0, -2.0], [-1.5, -2, -1, -1, -2, -2]),
        # One token is the least and the next least at once, and the second half is empty: likelihood one.
        ([-2.0], [-2, -2, -2, -2, 0, -2]),
        ([], [0, 0, 0, 0, 0, 0]),
    ],
)
def test_pooling_by_hand(logprobs, expected):
    assert pool(torch.tensor(logprobs)) == pytest.approx(expected)


def test_features_are_each_likelihood_model_s_figures_then_end_and_length():
    one, two = [torch.tensor([-1.0]), torch.tensor([-2.0, -4.0])], [torch.tensor([-3.0]), torch.tensor([])]
    found = features([one, two], ["abc", ""], [True, False])
    assert found[0].tolist() == pytest.approx([-1, -1, -1, -1, 0, -1, -3, -3, -3, -3, 0, -3, 1, math.log(4)])
    assert found[1].tolist() == pytest.approx([-3, -4, -2, -2, -4, -4, 0, 0, 0, 0, 0, 0, 0, 0])


def test_without_likelihood_models_the_features_are_end_and_length():
    assert features([], ["", "ab"], [True, False]).tolist() == [[1, 0], [0, pytest.approx(math.log(3))]]


def test_the_running_pool_is_the_pool_of_every_prefix():
    logprobs = -torch.rand(3, 9, generator=torch.Generator().manual_seed(0))
    found = running_pool(logprobs)
    for row in range(3):
        for t in range(9):
            assert found[row, t].tolist() == pytest.approx(pool(logprobs[row, : t + 1]), abs=1e-6), (row, t)
    assert running_pool(torch.zeros(2, 0)).shape == (2, 0, len(POOLED))


def test_prefixes_are_pooled_from_none_of_the_tokens_on_whatever_the_batch():
    rows = [-torch.rand(length, generator=torch.Generator().manual_seed(length)) for length in (4, 0, 7, 1)]
    for batch_size in (1, 4):
        for row, found in zip(rows, pool_prefixes(rows, batch_size=batch_size), strict=True):
            assert found.shape == (len(row) + 1, len(POOLED))
            for t in range(len(row) + 1):
                assert found[t].tolist() == pytest.approx(pool(row[:t]), abs=1e-6)


def test_token_features_count_a_likelihood_model_s_tokens_once_they_are_complete():
    # "abcd" as the trunk's tokens "ab", "cd" and the end; the likelihood model reads "a", "bc", "d" and its end.
    logprobs = torch.tensor([-1.0, -2.0, -4.0, -0.5])
    whole = features([[logprobs]], ["abcd"], [True])[0]
    found = token_features(pool_prefixes([logprobs]), [[1, 3, 4, 5]], [2, 4, 5], whole)
    # After "ab" the likelihood model has finished "a" alone; after "cd" three tokens; then all and the end.
    assert found[:, 0].tolist() == pytest.approx([-1, -7 / 3, -7.5 / 4])
    assert found[:, -2].tolist() == [0, 0, 1]
    assert found[:, -1].tolist() == pytest.approx([math.log(3), math.log(5), math.log(5)])
    assert torch.equal(found[-1], whole)
    assert torch.equal(token_features(pool_prefixes([logprobs]), [[1, 3, 4, 5]], [], whole), whole[None])


def test_prefix_features_by_hand():
    logprobs = torch.tensor([[0.0, -1, -3, -2, 0], [0, 0, 0, -5, -1]])
    mask = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 0, 1, 1]])
    found = prefix_features(logprobs, mask)
    nothing = [0, 0, 0]
    # Row 1: nothing is known at the first token; then after (-1), then after (-1, -3): mean -2, least and latest -3.
    assert found[0].tolist() == [nothing, nothing, [-1, -1, -1], [-2, -3, -3], nothing]
    assert found[1].tolist() == [nothing, nothing, nothing, nothing, [-5, -5, -5]]


def test_a_state_sees_only_tokens_before_it():
    generator = torch.Generator().manual_seed(0)
    logprobs, mask = -torch.rand(3, 8, generator=generator), torch.ones(3, 8)
    mask[:, :2] = 0
    before = prefix_features(logprobs, mask)
    for t in range(2, 8):
        changed = logprobs.clone()
        changed[:, t:] -= 9
        found = prefix_features(changed, mask)
        assert torch.equal(found[:, : t + 1], before[:, : t + 1])
        if t < 7:
            assert not torch.equal(found[:, t + 1], before[:, t + 1])


def test_the_features_of_a_whole_response_agree_with_its_pooling():
    logprobs = torch.tensor([-1.0, -4.0, -2.0])
    after = prefix_features(torch.cat([logprobs, torch.zeros(1)])[None], torch.ones(1, 4))[0, 3]
    assert dict(zip(PREFIX, after.tolist(), strict=True)) == pytest.approx(
        {"running_mean": pool(logprobs)[0], "running_minimum": pool(logprobs)[1], "latest": pool(logprobs)[5]}
    )


def test_a_likelihood_model_reads_texts_in_its_own_template_and_tokens(tiny_model, tiny_tokenizer):
    model = tiny_model()
    found = LikelihoodModel(model, tiny_tokenizer).logprobs(["a b", "c"], ["7", "12 ."], [True, False], batch_size=1)
    for one, prompt, response in zip(found, ["a b", "c"], ["7<|end|>", "12 ."], strict=True):
        prompt_ids = tiny_tokenizer(f"<|user|>{prompt}<|assistant|>").input_ids
        batch = pad_batch([prompt_ids], [tiny_tokenizer(response).input_ids], 0)
        expected = token_logprobs(model, batch)[0][batch.response_mask_BT.bool()].detach()
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


def test_likelihood_models_read_alike_only_with_one_vocabulary_and_one_template(tiny_model, tiny_tokenizer):
    import copy

    other_template, other_words = copy.deepcopy(tiny_tokenizer), copy.deepcopy(tiny_tokenizer)
    other_template.chat_template = "{{ messages[0]['content'] }}"
    other_words.add_tokens(["<|new|>"])
    model = tiny_model()
    assert LikelihoodModel(model, copy.deepcopy(tiny_tokenizer)).reads_like(tiny_tokenizer)
    assert not LikelihoodModel(model, other_template).reads_like(tiny_tokenizer)
    assert not LikelihoodModel(model, other_words).reads_like(tiny_tokenizer)
