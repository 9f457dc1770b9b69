"""The reward model: scores, saving, training, resuming."""

from __future__ import annotations

import pytest
import torch

from retort.config.training import RewardConfig
from retort.errors import ModelError, TrainingError
from retort.reward import train as training
from retort.reward.model import RewardModel, load_judges
from retort.reward.quality import measure
from retort.reward.train import held_out_part, prepare, train_reward

PROMPTS = ["3 + 4 ?", "a much longer question of many words ?", "5"]
RESPONSES = ["7", "#### 12 and then some more", ""]
FINISHED = [True, False, True]


@pytest.fixture
def make_reward(tmp_path, tiny_model_folder, tiny_model, tiny_tokenizer):
    """`make_reward(seed)`: random head, trunk and the judges `teacher` and `sft`."""
    folders = {name: tiny_model_folder(seed=seed, name=name) for seed, name in ((7, "teacher"), (8, "sft"))}

    def make(seed=0):
        torch.manual_seed(seed)
        return RewardModel(tiny_model(seed=3), tiny_tokenizer, load_judges(folders), head_size=8).eval()

    make.folders = folders
    return make


def rows(count=40, label=lambda number: number % 2):
    """Labelled responses: right ones end in 64, wrong ones in 46."""
    return [
        {
            "prompt_id": f"p{number // 2}",
            "prompt": f"{number // 2} cards ?",
            "response": f"so #### {64 if label(number) else 46}",
            "source": "teacher",
            "finished": True,
            "label": label(number),
            "correct": None,
        }
        for number in range(count)
    ]


def config(**changes):
    plain = {"steps": 40, "batch_size": 16, "learning_rate": 3e-3, "evaluate_steps": 10, "head_size": 8}
    return RewardConfig(**(plain | changes))


def test_a_score_depends_neither_on_the_batch_nor_on_the_order(make_reward):
    model = make_reward()
    expected = model.score(PROMPTS, RESPONSES, FINISHED, batch_size=1)
    torch.testing.assert_close(model.score(PROMPTS, RESPONSES, FINISHED, batch_size=3), expected, atol=1e-5, rtol=0)
    backwards = model.score(PROMPTS[::-1], RESPONSES[::-1], FINISHED[::-1], batch_size=2)
    torch.testing.assert_close(backwards.flip(0), expected, atol=1e-5, rtol=0)
    assert len(set(expected.tolist())) == 3


def test_known_logprobs_replace_the_judge_s_own(make_reward):
    model = make_reward()
    expected = model.score(PROMPTS, RESPONSES, FINISHED)
    known = {"sft": model.judges["sft"].logprobs(PROMPTS, RESPONSES, FINISHED, batch_size=2)}
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
    model.save(tmp_path / "reward", init="sft")
    loaded = RewardModel.load(tmp_path / "reward", make_reward.folders)
    expected = model.score(PROMPTS, RESPONSES, FINISHED)
    assert torch.equal(loaded.score(PROMPTS, RESPONSES, FINISHED), expected)
    assert not loaded.training
    assert not any(p.requires_grad for judge in loaded.judges.values() for p in judge.model.parameters())


def test_a_folder_without_a_reward_model_says_which_stage_makes_it(tmp_path):
    with pytest.raises(ModelError, match=r"reward\.json: does not exist\. Run the stage `reward`"):
        RewardModel.load(tmp_path, {})


def test_training_learns_what_can_be_told_apart(make_reward, tmp_path):
    model = make_reward()
    held = prepare(model, rows(20), 64)
    before = measure(
        [int(x) for x in held.labels], model.score_tokens(held.tokens, held.features, batch_size=8).tolist()
    )
    fresh = [row | {"prompt": f"{n} other cards ?"} for n, row in enumerate(rows(60))]
    step = train_reward(
        model, prepare(model, fresh, 64), held, config(), seed=0, state=tmp_path, curves_folder=tmp_path / "curves"
    )
    scores = model.score_tokens(held.tokens, held.features, batch_size=8).tolist()
    after = measure([int(x) for x in held.labels], scores)
    assert 0 < step <= 40
    assert after.auc > 0.9 > before.auc
    assert after.calibration_error < 0.2


@pytest.mark.parametrize("dies", [4, 13])
def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one(make_reward, tmp_path, monkeypatch, dies):
    def run(name, model):
        (tmp_path / name).mkdir(exist_ok=True)
        train, held = prepare(model, rows(40, lambda n: (n * n // 3) % 2), 64), prepare(model, rows(10), 64)
        return train_reward(
            model,
            train,
            held,
            config(steps=16, evaluate_steps=5),
            seed=0,
            state=tmp_path / name,
            curves_folder=tmp_path / f"{name}-curves",
        )

    whole, killed, again = make_reward(), make_reward(), make_reward()
    expected = run("whole", whole)
    honest = training._step

    def step(*args, **kwargs):
        if kwargs["step"] == dies:
            raise KeyboardInterrupt
        return honest(*args, **kwargs)

    monkeypatch.setattr(training, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        run("killed", killed)
    monkeypatch.setattr(training, "_step", honest)
    assert run("killed", again) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    curves = [
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "whole-curves", tmp_path / "killed-curves")
    ]
    assert curves[0] == curves[1]


def test_a_loss_that_is_not_a_number_stops_training(make_reward, tmp_path):
    model = make_reward()
    examples = prepare(model, rows(8), 64)
    with pytest.raises(TrainingError, match=r"reward loss is nan at step \d+\. Lower reward\.learning_rate"):
        train_reward(
            model, examples, examples, config(learning_rate=1e30), seed=0, state=tmp_path, curves_folder=tmp_path / "c"
        )


def test_a_frozen_trunk_stays_as_it_is_and_the_head_learns(make_reward, tmp_path):
    model = make_reward()
    trunk = [p.clone() for p in model.trunk.parameters()]
    head = [p.clone() for p in model.head_parameters()]
    examples = prepare(model, rows(8), 64)
    settings = config(steps=2, evaluate_steps=1, train_trunk=False)
    train_reward(model, examples, examples, settings, seed=0, state=tmp_path, curves_folder=tmp_path / "c")
    assert all(torch.equal(x, y) for x, y in zip(trunk, model.trunk.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(head, model.head_parameters(), strict=True))


def test_examples_too_long_for_the_trunk_are_left_out_with_everything_of_theirs(make_reward):
    model = make_reward()
    long = rows(2)[1] | {"response": "1 2 3 4 5 6 7 8 9 " * 5}
    found = prepare(model, [rows(2)[0], long, rows(2)[1]], 32)
    assert [row["label"] for row in found.rows] == [0, 1]
    assert (len(found.tokens), found.features.shape[0], found.labels.tolist()) == (2, 2, [0, 1])
    lone = prepare(model, [rows(2)[1]], 32)
    torch.testing.assert_close(found.features[1], lone.features[0], atol=1e-5, rtol=0)


def test_held_out_prompts_are_halved_by_their_id_alone():
    parts = [held_out_part(f"p{number}") for number in range(400)]
    assert parts == [held_out_part(f"p{number}") for number in range(400)]
    assert 150 < parts.count("gate") < 250


def test_judges_are_not_trained_and_not_saved(make_reward):
    model = make_reward()
    assert not any("judge" in name for name in model.state_dict())
    examples = prepare(model, rows(4), 64)
    batch = model.logits([t[0] for t in examples.tokens], [t[1] for t in examples.tokens], examples.features)
    batch.sum().backward()
    assert all(p.grad is None for judge in model.judges.values() for p in judge.model.parameters())
