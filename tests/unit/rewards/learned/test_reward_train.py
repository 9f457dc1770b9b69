"""Training the reward model: learning, resuming, memory-saving ways, and numbers that are not finite."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from retort.config.training import LoraConfig
from retort.errors import TrainingError
from retort.modeling.lora import with_adapters
from retort.rewards.learned import train as training
from retort.rewards.learned.examples import prepare
from retort.rewards.learned.halves import held_out_part
from retort.rewards.learned.quality import measure
from retort.rewards.learned.train import train_reward


@pytest.fixture
def fit(rows, config, tmp_path):
    """`fit(model, **changes)`: train on 60 examples, choose by 20 others; AUC on those."""

    def run(model, state="state", **changes):
        settings = config(**changes)
        every = settings.loss == "every_token"
        fresh = [row | {"prompt": f"{n} other cards ?"} for n, row in enumerate(rows(60))]
        held = prepare(model, rows(20), 64, folder=tmp_path)
        train = prepare(model, fresh, 64, folder=tmp_path, every_token=every)
        folder = tmp_path / state
        folder.mkdir(exist_ok=True)
        train_reward(model, train, held, settings, seed=0, state=folder, curves_folder=tmp_path / f"{state}-curves")
        scores = model.score_tokens(held.tokens, held.features, batch_size=8).tolist()
        return measure([int(x) for x in held.labels], scores).auc

    return run


def test_training_learns_what_can_be_told_apart(make_reward, rows, config, tmp_path):
    model = make_reward()
    held = prepare(model, rows(20), 64, folder=tmp_path)
    before = measure(
        [int(x) for x in held.labels], model.score_tokens(held.tokens, held.features, batch_size=8).tolist()
    )
    fresh = [row | {"prompt": f"{n} other cards ?"} for n, row in enumerate(rows(60))]
    step = train_reward(
        model,
        prepare(model, fresh, 64, folder=tmp_path),
        held,
        config(),
        seed=0,
        state=tmp_path,
        curves_folder=tmp_path / "curves",
    )
    scores = model.score_tokens(held.tokens, held.features, batch_size=8).tolist()
    after = measure([int(x) for x in held.labels], scores)
    assert 0 < step <= 40
    assert after.auc > 0.9 > before.auc
    assert after.calibration_error < 0.2


@pytest.mark.parametrize("dies", [4, 13])
def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one(
    make_reward, rows, config, tmp_path, monkeypatch, dies
):
    def run(name, model):
        (tmp_path / name).mkdir(exist_ok=True)
        train, held = (
            prepare(model, rows(40, lambda n: (n * n // 3) % 2), 64, folder=tmp_path),
            prepare(model, rows(10), 64, folder=tmp_path),
        )
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


def test_a_frozen_trunk_stays_as_it_is_and_the_head_learns(make_reward, rows, config, tmp_path):
    model = make_reward()
    trunk = [p.clone() for p in model.trunk.parameters()]
    head = [p.clone() for p in model.head_parameters()]
    examples = prepare(model, rows(8), 64, folder=tmp_path)
    settings = config(steps=2, evaluate_steps=1, train_trunk=False)
    train_reward(model, examples, examples, settings, seed=0, state=tmp_path, curves_folder=tmp_path / "c")
    assert all(torch.equal(x, y) for x, y in zip(trunk, model.trunk.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(head, model.head_parameters(), strict=True))


def test_held_out_prompts_are_halved_by_their_id_alone():
    parts = [held_out_part(f"p{number}") for number in range(400)]
    assert parts == [held_out_part(f"p{number}") for number in range(400)]
    assert 150 < parts.count("gate") < 250


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "every_token"},
        {"class_weight": "balanced"},
        {"class_weight": 3.0},
        {"gradient_checkpointing": True},
        {"lora": {"rank": 4, "alpha": 8}, "learning_rate": 3e-2},
        {"lora": {"rank": 4, "alpha": 8}, "learning_rate": 3e-2, "gradient_checkpointing": True},
    ],
    ids="-".join,
)
def test_every_way_of_training_learns(make_reward, fit, changes):
    model = make_reward()
    if "lora" in changes:
        frozen = {name: p.clone() for name, p in model.trunk.named_parameters()}
        adapted = with_adapters(model.trunk, LoraConfig(**changes["lora"]))
        assert fit(model, **changes) > 0.9
        adapted.merge_and_unload()
        moved = [name for name, p in model.trunk.named_parameters() if not torch.equal(p, frozen[name])]
        assert moved
        assert all("proj" in name for name in moved)  # what has no adapters stays
    else:
        assert fit(model, **changes) > 0.9


def test_recomputed_activations_give_the_same_training(make_reward, fit):
    plain, sparing = make_reward(), make_reward()
    fit(plain, "plain", steps=6)
    fit(sparing, "sparing", steps=6, gradient_checkpointing=True)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(sparing.state_dict()[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("loss", ["last_token", "every_token"])
def test_microbatches_add_up_to_the_batch(make_reward, fit, loss):
    whole, parts = make_reward(), make_reward()
    fit(whole, "whole", steps=4, loss=loss, class_weight="balanced")
    fit(parts, "parts", steps=4, loss=loss, class_weight="balanced", micro_batch_size=3)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=1e-4, rtol=1e-3)


def test_small_updates_of_bfloat16_weights_add_up_and_the_type_comes_back(make_reward, fit):
    model = make_reward()
    model.trunk.to(torch.bfloat16)
    model.compute_dtype = torch.bfloat16
    before = [p.clone() for p in model.trunk.parameters()]
    # A step of 1e-4 is less than half the last bit of a weight above 0.06 (2^-4 x 2^-7 / 2 = 2.4e-4): alone it is lost.
    fit(model, steps=20, learning_rate=1e-4, head_learning_rate=3e-3)
    after = list(model.trunk.parameters())
    assert {p.dtype for p in after} == {torch.bfloat16}
    large = [(x.abs() > 0.06) & (x.abs() < 0.12) for x in before]
    changed = sum(int((x != y)[some].sum()) for x, y, some in zip(before, after, large, strict=True))
    assert changed > 0.2 * sum(int(some.sum()) for some in large)


def test_a_bfloat16_trunk_computes_in_bfloat16_while_float32_copies_are_trained(make_reward):
    model = make_reward()
    model.trunk.to(torch.bfloat16)
    model.compute_dtype = torch.bfloat16
    prompt, response = model.encode("3 + 4 ?", "7", True)
    batch = model._batch([prompt], [response])
    where = batch.attention_mask_BT.bool()
    expected = model._hidden(batch, where)
    model.trunk.float()
    mixed = model._hidden(batch, where)
    # Three digits alike, as bfloat16 has; in float32 alone they would not be rounded at all.
    torch.testing.assert_close(mixed, expected, atol=0.05, rtol=0.05)
    model.compute_dtype = torch.float32
    assert not torch.equal(model._hidden(batch, where), mixed)


def failure(folder, step):
    place = folder.with_name(f"{folder.name}.failed") / step
    return json.loads((place / "batch.json").read_text()), load_file(place / "tensors.safetensors")


def test_a_weight_that_is_no_number_is_named_and_saved_with_the_batch(make_reward, fit, tmp_path):
    model = make_reward()
    with torch.no_grad():
        model.trunk.model.norm.weight[3] = torch.nan
    words = (
        r"reward: weight reward model\.trunk\.model\.norm\.weight holds nan at step 1 \(1 of 16 values\)\. It is "
        r"saved .*state\.failed/step-00000001; checkpoints are as they were\. Lower reward\.learning_rate"
    )
    with pytest.raises(TrainingError, match=words):
        fit(model)
    found, tensors = failure(tmp_path / "state", "step-00000001")
    assert (found["step"], found["stage"], len(found["batch"])) == (1, "reward", 16)
    assert set(found["batch"][0]) == {"prompt_id", "prompt", "response", "source", "finished", "label", "correct"}
    assert tensors[found["tensor"]].isnan().nonzero().tolist() == [[3]]
    assert set(tensors) == {found["tensor"], "features", "logits", "loss"}


def test_steps_that_are_far_too_long_overflow_the_logits(make_reward, fit, tmp_path):
    with pytest.raises(TrainingError, match=r"reward: logits holds nan at step 2"):
        fit(make_reward(), learning_rate=1e30)
    assert failure(tmp_path / "state", "step-00000002")[1]["features"].isfinite().all()


def test_a_failure_overwrites_neither_checkpoints_nor_an_earlier_failure(make_reward, fit, tmp_path, monkeypatch):
    honest = training._forward
    calls = []

    def broken(model, some, weights):
        calls.append(0)
        logits, loss = honest(model, some, weights)
        return logits, loss * (torch.nan if len(calls) % 4 == 0 else 1)

    monkeypatch.setattr(training, "_forward", broken)
    with pytest.raises(TrainingError, match="loss holds nan at step 4"):
        fit(make_reward(), evaluate_steps=1)
    kept = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert any(file.name == "step-00000003.pt" for file in kept)
    calls[:] = [0, 0, 0]
    with pytest.raises(TrainingError, match=r"at step 4 .*state\.failed/step-00000004-2;"):
        fit(make_reward(), evaluate_steps=1)  # goes on from step 3
    for file, content in kept.items():
        if "curves" not in str(file):
            assert file.read_bytes() == content, file


def test_a_gradient_that_is_not_finite_is_named_before_it_reaches_a_weight(make_reward, fit, tmp_path):
    model = make_reward()
    weight = model.from_hidden[1].weight
    weight.register_hook(lambda gradient: gradient.index_fill(0, torch.tensor([2]), torch.inf))
    before = weight.detach().clone()
    with pytest.raises(
        TrainingError, match=r"gradient of reward model\.from_hidden\.1\.weight holds inf at step 1 \(16 of"
    ):
        fit(model)
    assert torch.equal(weight, before)
    assert "gradient of reward model.from_hidden.1.weight" in failure(tmp_path / "state", "step-00000001")[1]
