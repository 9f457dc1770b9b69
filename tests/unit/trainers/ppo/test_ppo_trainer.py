"""The training loop: it learns, it converges to the known optimum, it resumes bit for bit, it keeps the best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from retort.config.training import KLConfig
from retort.engines.sampler import Sample
from retort.errors import TrainingError
from retort.modeling.chat import response_ids
from retort.trainers.ppo import trainer
from retort.trainers.ppo.optimizers import make_optimizers, set_learning_rates
from retort.trainers.ppo.trainer import PPOState, train
from retort.trainers.ppo.weights import snapshot


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path):
    """`run(parts, config, name)`: trains with state and curves in folders of that name, made before as stages do."""

    def run(models, config, name="run"):
        state = tmp_path / f"{name}-state"
        state.mkdir(exist_ok=True)
        return train(models, config, "number", seed=0, state_folder=state, curves_folder=tmp_path / f"{name}-curves")

    run.root = tmp_path
    return run


@pytest.fixture
def killed_in(monkeypatch):
    """`killed_in(iteration)`: the next run ends inside that iteration, once."""

    def arm(iteration):
        honest, state = trainer.update, {"armed": True}

        def update(*args, **kwargs):
            if state["armed"] and kwargs["iteration"] == iteration:
                state["armed"] = False
                raise KeyboardInterrupt
            return honest(*args, **kwargs)

        monkeypatch.setattr(trainer, "update", update)

    return arm


@pytest.mark.parametrize(("dies", "every"), [(3, 1), (3, 2), (1, 2), (0, 1)])
def test_a_killed_run_that_is_started_again_equals_an_uninterrupted_one(
    run, make_models, ppo_config, weights, killed_in, dies, every
):
    config = ppo_config(iterations=5, checkpoint_every=every, kl=KLConfig(coefficient=0.1, target=1.0, horizon=50))
    whole = make_models()
    expected = run(whole, config, "whole")
    killed_in(dies)
    with pytest.raises(KeyboardInterrupt):
        run(make_models(), config, "killed")
    torch.manual_seed(99)
    again = make_models()
    found = run(again, config, "killed")
    assert torch.equal(weights(again.policy), weights(whole.policy))
    assert torch.equal(weights(again.critic), weights(whole.critic))
    for name in ("iteration", "kl_coefficient", "best_agreement", "best_iteration", "first_agreement", "tokens"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.flops == pytest.approx(expected.flops)
    assert files(run.root / "killed-curves") == files(run.root / "whole-curves")


def test_a_policy_that_can_learn_does(run, make_models, ppo_config):
    # The answer is the prompt's first digit: half the reward for saying it, half for ending there.
    def score(prompt, response, finished):
        return 0.5 * (response[:1] == prompt[0]) + 0.5 * (finished and len(response) == 1)

    models = make_models(score, likelihood_models=(), prompts=("12", "7", "345", "90"))
    config = ppo_config(
        iterations=40,
        responses_per_prompt=32,
        minibatch_size=64,
        max_new_tokens=2,
        learning_rate=1e-2,
        evaluate_every=5,
        patience=12,
        whiten_advantages=False,
        prompt_baseline=True,
        kl=KLConfig(coefficient=0.1),  # keeps the policy from settling on one digit for all prompts
    )
    state = run(models, config)
    assert state.first_agreement <= 0.25
    assert state.best_agreement >= 0.75  # one answer to every prompt would be right a quarter of the time


@pytest.fixture
def scripted(monkeypatch, make_models, weights):
    """`scripted(counts)`: held-out responses are right for so many prompts, measurement by measurement."""

    def script(counts):
        models, seen = make_models(), []

        def respond(given, prompts, config, **_):
            right = counts[len(seen)]
            seen.append(weights(given.policy))
            texts = [prompt.label if i < right else "0" for i, prompt in enumerate(prompts)]
            return [Sample(response_ids(given.tokenizer, text), [], True) for text in texts]

        monkeypatch.setattr(trainer, "respond", respond)
        return models, seen

    return script


def test_the_best_policy_is_kept_and_training_stops_when_patience_ends(run, ppo_config, scripted, weights):
    # Right of four: 2 at first, 3 after the second iteration, then three measurements without a new best.
    models, seen = scripted([2, 1, 3, 0, 3, 2, 4])
    state = run(models, ppo_config(iterations=10, patience=3, critic_warmup=0))
    assert (state.first_agreement, state.best_agreement, state.best_iteration, state.iteration) == (0.5, 0.75, 2, 5)
    assert torch.equal(weights(models.policy), seen[2])
    assert not torch.equal(seen[2], seen[5])


def test_an_sft_student_that_was_never_beaten_is_the_result(run, ppo_config, scripted, weights):
    models, seen = scripted([4] + [3] * 9)
    state = run(models, ppo_config(iterations=3, critic_warmup=0))
    assert (state.best_iteration, state.iteration) == (0, 3)
    assert torch.equal(weights(models.policy), seen[0])


def test_the_warm_up_of_the_critic_does_not_use_up_patience(run, ppo_config, scripted):
    models, _ = scripted([2] * 10)
    state = run(models, ppo_config(iterations=10, patience=2, critic_warmup=3))
    # Measured without a new best after iterations 4 and 5, the first two that moved the policy.
    assert state.iteration == 5


def test_responses_that_were_cut_off_do_not_agree(run, make_models, ppo_config, monkeypatch):
    models = make_models()

    def respond(given, prompts, config, **_):
        return [
            Sample(response_ids(given.tokenizer, prompt.label, finished=i % 2 == 0), [], i % 2 == 0)
            for i, prompt in enumerate(prompts)
        ]

    monkeypatch.setattr(trainer, "respond", respond)
    assert run(models, ppo_config(iterations=1)).first_agreement == 0.5


def test_a_reward_that_is_not_a_number_ends_training_and_the_last_checkpoint_is_kept(run, make_models, ppo_config):
    calls = []

    def score(prompt, text, finished):
        calls.append(text)
        return float("nan") if len(calls) > 32 else len(text) / 10

    with pytest.raises(TrainingError, match=r"rewards\.judged: scored nan for the response '.*' to the prompt '.+'"):
        run(make_models(score, likelihood_models=()), ppo_config())
    # Two iterations of 16 episodes were whole.
    kept = sorted(path.name for path in (run.root / "run-state").glob("step-*.pt"))
    assert kept == ["step-00000001.pt", "step-00000002.pt"]


def test_in_the_warm_up_of_the_critic_the_policy_keeps_its_weights_to_the_bit(make_models, ppo_config, weights):
    models, config = make_models(), ppo_config(critic_warmup=2, weight_decay=0.1)
    policy, critic = weights(models.policy), weights(models.critic)
    state, both = PPOState(averaged_policy=snapshot(models.policy)), make_optimizers(models, config)
    for _ in range(2):
        trainer._iterate(models, config, both, state, seed=0, state_folder=Path())
    assert torch.equal(weights(models.policy), policy)
    assert not torch.equal(weights(models.critic), critic)
    trainer._iterate(models, config, both, state, seed=0, state_folder=Path())
    assert not torch.equal(weights(models.policy), policy)


def test_learning_rates_rise_then_fall_to_zero(make_models, ppo_config):
    models = make_models()
    config = ppo_config(iterations=10, critic_warmup=2, warmup_steps=4, learning_rate=1.0)
    both = make_optimizers(models, config)
    rates = []
    for iteration in range(10):
        set_learning_rates(config, both, iteration)
        rates.append(both.policy.param_groups[0]["lr"])
    # The policy rests in the critic's warm-up; then 1/4, 2/4, ... times decay 1 - done / 8.
    expected = [0, 0, 0.25, 0.5 * 7 / 8, 0.75 * 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert rates == pytest.approx(expected)


def test_flops_count_forward_and_training_passes(make_models, ppo_config):
    models, config = make_models(), ppo_config(epochs=3, critic_warmup=2, critic_warmup_epochs=5)
    size = sum(p.numel() for p in models.policy.parameters())  # every model here has this size
    # Forward: policy twice, reference, critic, reward trunk and one likelihood model, 2 each; training: 6 an epoch.
    assert trainer._flops_per_token(models, config, 5) == 2 * 6 * size + 6 * 3 * 2 * size
    # In the critic's warm-up both passes are made as well, as often as the warm-up says.
    assert trainer._flops_per_token(models, config, 0) == 2 * 6 * size + 6 * 5 * 2 * size
