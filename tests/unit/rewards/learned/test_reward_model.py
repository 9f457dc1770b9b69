"""The reward model: scores of whole responses and of their tokens, saving, and whom it may read."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch

from retort.errors import InputError, ModelError
from retort.rewards.learned.examples import prepare
from retort.rewards.learned.model import RewardModel

PROMPTS = ["3 + 4 ?", "a much longer question of many words ?", "5"]
RESPONSES = ["7", "#### 12 and then some more", ""]
FINISHED = [True, False, True]


def test_a_score_depends_neither_on_the_batch_nor_on_the_order(make_reward):
    model = make_reward()
    expected = model.score(PROMPTS, RESPONSES, FINISHED, batch_size=1)
    torch.testing.assert_close(model.score(PROMPTS, RESPONSES, FINISHED, batch_size=3), expected, atol=1e-5, rtol=0)
    backwards = model.score(PROMPTS[::-1], RESPONSES[::-1], FINISHED[::-1], batch_size=2)
    torch.testing.assert_close(backwards.flip(0), expected, atol=1e-5, rtol=0)
    assert len(set(expected.tolist())) == 3


def test_known_logprobs_replace_the_likelihood_model_s_own(make_reward):
    model = make_reward()
    expected = model.score(PROMPTS, RESPONSES, FINISHED)
    known = {"sft": model.likelihood_models["sft"].logprobs(PROMPTS, RESPONSES, FINISHED, batch_size=2)}
    torch.testing.assert_close(model.score(PROMPTS, RESPONSES, FINISHED, known=known), expected, atol=1e-5, rtol=0)
    shifted = {"sft": [row - 5 for row in known["sft"]]}
    assert not torch.allclose(model.score(PROMPTS, RESPONSES, FINISHED, known=shifted), expected, atol=1e-4)


def test_the_hidden_state_is_that_of_the_response_s_last_token(make_reward):
    model = make_reward()
    prompt, response = model.encode(PROMPTS[0], RESPONSES[0], True)
    table = model.features(PROMPTS[:1], RESPONSES[:1], FINISHED[:1])
    seen = model.trunk.base_model(torch.tensor([prompt + response])).last_hidden_state[0, -1]
    by_hand = model.to_logit(model.from_hidden(seen) + model.from_features(table[0]))
    torch.testing.assert_close(model.logits([prompt], [response], table), by_hand, atol=1e-5, rtol=0)
    # The same row beside a longer one, where padding follows its last token.
    long = model.encode(PROMPTS[1], RESPONSES[1], False)
    beside = model.logits([prompt, long[0]], [response, long[1]], torch.cat([table, table]))
    torch.testing.assert_close(beside[:1], by_hand, atol=1e-5, rtol=0)


def test_calibration_is_applied_to_the_logit(make_reward):
    model = make_reward()
    raw = torch.logit(model.score(PROMPTS, RESPONSES, FINISHED))
    model.temperature.fill_(2.0)
    model.bias.fill_(-0.5)
    expected = (raw / 2 - 0.5).sigmoid()
    torch.testing.assert_close(model.score(PROMPTS, RESPONSES, FINISHED), expected, atol=1e-5, rtol=0)


def test_a_model_that_was_saved_gives_the_same_scores(make_reward, tmp_path):
    model = make_reward()
    model.temperature.fill_(1.5)
    model.bias.fill_(0.25)
    model.feature_mean.normal_()
    model.feature_scale.fill_(3.0)
    model.save(tmp_path / "reward")
    loaded = RewardModel.load(tmp_path / "reward", make_reward.folders)
    expected = model.score(PROMPTS, RESPONSES, FINISHED)
    assert torch.equal(loaded.score(PROMPTS, RESPONSES, FINISHED), expected)
    assert not loaded.training
    assert not any(p.requires_grad for one in loaded.likelihood_models.values() for p in one.model.parameters())


def test_a_folder_without_a_reward_model_says_which_stage_makes_it(tmp_path):
    with pytest.raises(ModelError, match=r"reward\.json: does not exist\. Run the stage `reward`"):
        RewardModel.load(tmp_path, {})


def test_likelihood_models_are_not_trained_and_not_saved(make_reward, rows, tmp_path):
    model = make_reward()
    assert not any("likelihood_model" in name for name in model.state_dict())
    examples = prepare(model, rows(4), 64, folder=tmp_path)
    batch = model.logits([t[0] for t in examples.tokens], [t[1] for t in examples.tokens], examples.features)
    batch.sum().backward()
    assert all(p.grad is None for one in model.likelihood_models.values() for p in one.model.parameters())


def test_the_last_token_s_logit_is_the_response_s_and_an_empty_response_has_one(make_reward):
    model = make_reward()
    tokens = [model.encode(*row) for row in zip(PROMPTS, [*RESPONSES[:2], ""], [True, False, False], strict=True)]
    table, of_tokens = model.token_features(PROMPTS, [*RESPONSES[:2], ""], [True, False, False])
    assert torch.equal(table, model.features(PROMPTS, [*RESPONSES[:2], ""], [True, False, False]))
    prompts, responses = [pair[0] for pair in tokens], [pair[1] for pair in tokens]
    logits, rows = model.token_logits(prompts, responses, of_tokens)
    assert rows.tolist() == [0] * len(responses[0]) + [1] * len(responses[1]) + [2]
    lasts = torch.tensor([(rows == row).nonzero().max() for row in range(3)])
    torch.testing.assert_close(logits[lasts], model.logits(prompts, responses, table), atol=1e-5, rtol=0)


def test_a_token_s_logit_sees_nothing_that_is_written_after_it(make_reward):
    model = make_reward()
    (prompt, short), (_, long) = (model.encode("3 + 4 ?", text, False) for text in ("12 5", "12 5 64 and more"))
    assert long[: len(short)] == short
    found = []
    for text, ids in (("12 5", short), ("12 5 64 and more", long)):
        of_tokens = model.token_features(["3 + 4 ?"], [text], [False])[1]
        found.append(model.token_logits([prompt], [ids], of_tokens)[0][: len(short)])
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    assert len(set(found[0].tolist())) == len(short)


def test_a_likelihood_model_of_other_tokens_is_read_up_to_what_is_written(make_reward, tiny_tokenizer):
    model = make_reward()
    plain = copy.deepcopy(tiny_tokenizer)
    plain.backend_tokenizer.model = type(plain.backend_tokenizer.model)(
        vocab=tiny_tokenizer.get_vocab(), merges=[]
    )  # one token a byte
    model.likelihood_models["sft"].tokenizer.__dict__.update(plain.__dict__)
    response = "cards and 64"
    own, other = (len(tokenizer(response).input_ids) for tokenizer in (tiny_tokenizer, plain))
    assert other == len(response) > own
    (found,) = model.token_features(["3 ?"], [response], [False])[1]
    # Each row of the features of `sft` (after the teacher's six): what it makes of the text so far, by itself.
    logprobs = model.likelihood_models["sft"].logprobs(["3 ?"], [response], [False], batch_size=1)[0]
    written = 0
    for row, token in zip(found, tiny_tokenizer(response).input_ids, strict=True):
        written += len(tiny_tokenizer.decode([token]))
        assert row[6].item() == pytest.approx(logprobs[:written].mean().item(), abs=1e-5)
        assert row[7].item() == pytest.approx(logprobs[:written].min().item(), abs=1e-5)
    assert written == len(response)


def saved(model, tmp_path):
    model.save(tmp_path / "reward")
    return tmp_path / "reward"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tokenizer: setattr(tokenizer, "chat_template", "{{ messages[0]['content'] }}"), "chat template"),
        (lambda tokenizer: tokenizer.add_tokens(["<|new|>"]), "vocabulary"),
    ],
)
def test_a_policy_that_reads_otherwise_than_the_student_is_refused(
    make_reward, tmp_path, tiny_tokenizer, change, words
):
    model = RewardModel.load(saved(make_reward(), tmp_path), make_reward.folders)
    model.check_reads_like(copy.deepcopy(tiny_tokenizer), "sft")
    other = copy.deepcopy(tiny_tokenizer)
    change(other)
    with pytest.raises(InputError, match=rf"reward\.json, field 'reads\.trunk': its trunk .* another {words} than the"):
        model.check_reads_like(other, "sft")
    # A policy that starts from another model may read as it likes.
    model.check_reads_like(other, "base")
    # What began as the teacher may read as it likes; the student as a likelihood model may not.
    from_teacher = make_reward(init="teacher")
    with pytest.raises(InputError, match=r"field 'reads\.sft'"):
        from_teacher.check_reads_like(other, "sft")
    del from_teacher.likelihood_models["sft"]
    from_teacher.check_reads_like(other, "sft")


def test_a_likelihood_model_that_was_exchanged_for_one_of_another_tokenizer_is_refused(
    make_reward, tmp_path, tiny_tokenizer
):
    folder = saved(make_reward(), tmp_path)
    other = tmp_path / "other"
    shutil.copytree(make_reward.folders["teacher"], other)
    changed = copy.deepcopy(tiny_tokenizer)
    changed.add_tokens(["<|new|>"])
    changed.chat_template = "{{ messages[0]['content'] }}"
    changed.save_pretrained(other)
    words = (
        r"field 'reads\.teacher': the head was trained with a likelihood model of another vocabulary and chat template "
    )
    with pytest.raises(InputError, match=words):
        RewardModel.load(folder, make_reward.folders | {"teacher": other})


@pytest.mark.parametrize("key", ["reads", "likelihood_models"])
def test_a_folder_of_an_earlier_version_says_so(make_reward, tmp_path, key):
    folder = saved(make_reward(), tmp_path)
    settings = json.loads((folder / "reward.json").read_text())
    del settings[key]
    (folder / "reward.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"written by an earlier version\. Run the stage `reward` again"):
        RewardModel.load(folder, make_reward.folders)
