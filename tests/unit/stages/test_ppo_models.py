"""What PPO trains: adapters over shared weights, a critic from the reward model, bfloat16 passes, refusals."""

from __future__ import annotations

import pytest
import torch

from retort.errors import InputError, ModelError
from retort.io.files import content_hash
from retort.modeling.batch import pad_batch
from retort.modeling.loading import load_model
from retort.modeling.logprobs import token_logprobs
from retort.rewards.learned.model import RewardModel, load_trunk
from retort.run.stage import context_of, run_stage
from retort.stages.train import _training
from retort.trainers.ppo import trainer
from retort.trainers.ppo.method import _models
from retort.trainers.ppo.optimizers import make_optimizers
from retort.trainers.ppo.rollout import frozen_logprobs
from retort.trainers.ppo.trainer import PPOState, _iterate
from retort.trainers.ppo.weights import snapshot, trained_weights

PPO = {"student": "ppo"}


def training_of(root):
    """What the method is given for the student."""
    return _training(context_of("ppo", PPO, root), "ppo", "learned")


def models_of(root):
    return _models(training_of(root))


def test_adapters_share_one_copy_of_the_weights_with_critic_and_reference(with_reward):
    root = with_reward(reward={"likelihood": ["sft"]}, ppo={"lora": {"rank": 2, "alpha": 4}})
    training = training_of(root)
    models = _models(training)
    base = models.policy.get_base_model()
    shared = [models.critic.trunk.get_base_model(), models.reference.get_base_model()]
    shared.append(models.reward.likelihood_models["sft"].model.get_base_model())
    assert all(model is base for model in shared)
    trained = trained_weights(models.policy)
    assert trained
    assert all(".default." in name for name in trained)
    adapter = models.critic.trunk_parameters()
    assert adapter
    assert not {id(p) for p in adapter} & {id(p) for p in trained.values()}
    assert not [name for name, _ in models.critic.named_parameters() if "layers" in name]


def test_what_shares_weights_computes_what_copies_would(with_reward):
    root = with_reward(reward={"likelihood": ["sft"]}, ppo={"lora": {"rank": 2, "alpha": 4}})
    models = models_of(root)
    batch = pad_batch([[5, 6, 7], [8, 9]], [[10, 11], [12, 13, 1]], 0)
    before = frozen_logprobs(models.reference, batch, temperature=1.0)
    # Whatever policy and critic learn, the reference stays the SFT student.
    with torch.no_grad():
        for weight in [*trained_weights(models.policy).values(), *models.critic.trunk_parameters()]:
            weight.add_(torch.randn_like(weight))
    copy = load_model(root / "outputs/models/sft")
    torch.testing.assert_close(before, frozen_logprobs(copy, batch, temperature=1.0))
    assert torch.equal(frozen_logprobs(models.reference, batch, temperature=1.0), before)
    policy = frozen_logprobs(models.policy, batch, temperature=1.0)
    assert (policy - before).abs().max() > 1e-3
    with models.critic.using(), torch.no_grad():
        critic_adapter = token_logprobs(models.policy, batch)[0]
    assert (critic_adapter - policy).abs().max() > 1e-3
    assert torch.equal(frozen_logprobs(models.policy, batch, temperature=1.0), policy)


def test_a_reward_model_of_adapters_takes_no_copy_of_the_student_either(with_reward):
    settings = {"lora": {"rank": 2, "alpha": 4}}
    root = with_reward(reward={"lora": settings["lora"], "learning_rate": 0.05}, ppo=settings)
    trunk = root / "outputs/rewards/learned/trunk"
    assert not (trunk / "model.safetensors").exists()
    assert str(root) not in (trunk / "adapter_config.json").read_text()
    folders = {name: root / "outputs/models" / name for name in ("teacher", "sft")}
    alone = RewardModel.load(trunk.parent, folders)
    models = models_of(root)
    assert models.reward.trunk.get_base_model() is models.policy.get_base_model()
    asked = (["3 + 4 ?", "5 - 1 ?"], ["seven", "4"], [True, False])
    expected = alone.score(*asked)
    # Whatever the policy learns, the reward model stays as it was trained, and it was trained.
    with torch.no_grad():
        for weight in trained_weights(models.policy).values():
            weight.add_(torch.randn_like(weight))
    models.reward.likelihood_models = alone.likelihood_models
    torch.testing.assert_close(models.reward.score(*asked), expected)
    with alone.adapted.disable_adapter():
        assert (alone.score(*asked) - expected).abs().max() > 1e-4
    assert run_stage("ppo", PPO, root)["iterations"] == 2
    assert not [name for name in load_model(root / "outputs/models/ppo").state_dict() if "lora" in name]


def test_the_critic_can_start_from_a_reward_model_of_adapters(with_reward):
    lora = {"rank": 2, "alpha": 4}
    root = with_reward(reward={"lora": lora, "learning_rate": 0.05}, ppo={"critic_init": "reward", "lora": lora})
    models = models_of(root)
    merged = load_trunk(root / "outputs/rewards/learned", {"sft": root / "outputs/models/sft"}).merge_and_unload()
    name = "model.layers.0.self_attn.q_proj"
    found = models.critic.trunk.get_submodule(name).base_layer.weight
    torch.testing.assert_close(found, merged.get_submodule(name).weight)
    assert not torch.equal(found, load_model(root / "outputs/models/sft").get_submodule(name).weight)


def test_policy_and_critic_train_their_own_adapters_alone(with_reward):
    root = with_reward(ppo={"lora": {"rank": 2, "alpha": 4}, "critic_warmup": 2, "critic_learning_rate": 0.1})
    training = training_of(root)
    models = _models(training)
    frozen = {n: p.detach().clone() for n, p in models.policy.named_parameters() if "lora" not in n}
    policy, critic = snapshot(models.policy), [p.detach().clone() for p in models.critic.trunk_parameters()]
    state = PPOState(kl_coefficient=0.05, averaged_policy=snapshot(models.policy))
    optimizers = make_optimizers(models, training.settings)

    def changed(before, now):
        return any(not torch.equal(one, other) for one, other in zip(before, now, strict=True))

    # In the critic's first step its zero-initialised last layer passes no gradient on to its trunk.
    for warm in (True, True, False):
        _iterate(models, training.settings, optimizers, state, seed=0, state_folder=root)
        assert changed(policy.values(), snapshot(models.policy).values()) is not warm
    assert changed(critic, models.critic.trunk_parameters())
    assert all(torch.equal(frozen[n], p) for n, p in models.policy.named_parameters() if n in frozen)


def test_a_killed_run_with_adapters_ends_as_if_nothing_had_happened(with_reward, monkeypatch):
    settings = {"lora": {"rank": 2, "alpha": 4}, "iterations": 3, "critic_warmup": 0, "learning_rate": 0.01}
    whole, killed = with_reward("whole", ppo=settings), with_reward("killed", ppo=settings)
    run_stage("ppo", PPO, whole)
    honest = trainer.update

    def update(*args, iteration, **kwargs):
        if iteration == 2:
            raise KeyboardInterrupt
        return honest(*args, iteration=iteration, **kwargs)

    monkeypatch.setattr(trainer, "update", update)
    with pytest.raises(KeyboardInterrupt):
        run_stage("ppo", PPO, killed)
    monkeypatch.setattr(trainer, "update", honest)
    run_stage("ppo", PPO, killed)
    assert content_hash(killed / "outputs/models/ppo") == content_hash(whole / "outputs/models/ppo")


def test_the_critic_can_start_from_the_reward_model(with_reward):
    root = with_reward(ppo={"critic_init": "reward"})
    models = models_of(root)
    expected = load_model(root / "outputs/rewards/learned/trunk").state_dict()
    found = models.critic.trunk.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    run_stage("ppo", PPO, root)


def test_a_critic_does_not_start_from_a_reward_model_that_reads_other_tokens(with_reward):
    root = with_reward(ppo={"critic_init": "reward"})
    template = root / "outputs/rewards/learned/trunk/chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", "<|system|>") + " ")
    with pytest.raises((InputError, ModelError), match="chat template"):
        run_stage("ppo", PPO, root)


def test_autocast_trains_weights_in_float32(with_reward):
    root = with_reward(ppo={"autocast": True, "critic_warmup": 0, "learning_rate": 1e-2})
    metrics = run_stage("ppo", PPO, root)
    assert metrics["iterations"] == 2
    before, after = load_model(root / "outputs/models/sft"), load_model(root / "outputs/models/ppo")
    assert {p.dtype for p in after.parameters()} == {torch.float32}
    if metrics["best_iteration"]:
        assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_a_student_that_ends_nothing_raises_an_alarm_that_can_stop_the_stage(with_reward):
    settings = {"max_new_tokens": 1, "temperature": 0.01, "alarms": {"action": "stop"}}
    metrics = run_stage("ppo", PPO, with_reward(ppo=settings))
    assert metrics["iterations"] == 1
    assert metrics["stopped_early"]
    assert "every response was cut off, after 1 tokens" in metrics["alarms"][0]
