"""The models that PPO trains and those that it compares with, in as few copies of the weights as can be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retort.config.training import PPOConfig
from retort.errors import ConfigError
from retort.modeling.fsdp import is_sharded, shard
from retort.modeling.loading import load_model
from retort.modeling.lora import WithoutAdapters, adapter_settings, with_adapters
from retort.plugins import Reward
from retort.trainers.ppo.critic import ADAPTER, Critic
from retort.trainers.ppo.rollout import frozen_models

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REWARD = "reward"
"""Name of the reward model's adapter in a model that it shares with the policy."""


def ppo_models(
    start: Path, config: PPOConfig, base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, reward: Reward
) -> tuple[Any, Critic, Any]:
    """Policy, critic and reference.

    With adapters all three share the weights of `base`: the reference is the policy without its adapter, the critic is
    another adapter; and so does the reward where its weights are the same (`LikelihoodReward.share_weights`). Without
    adapters, the reference is the reward's own frozen copy of that model where it has one.

    Args:
        start: Folder of the model that is refined; its name is that of the model or student.
        config: Settings.
        base: That model; it becomes the policy.
        tokenizer: The policy's.
        reward: What the policy is trained against.

    Raises:
        InputError: the critic is to start from a reward that reads other tokens.
        ConfigError: the critic is to start from a reward that has no trunk.
    """
    frozen = frozen_models(reward, tokenizer)
    shared = config.lora is not None and config.critic_init == "policy"
    adapters = adapter_settings(config.lora, base)
    policy = with_adapters(base, config.lora)
    if shared:
        policy.add_adapter(ADAPTER, adapters)
        policy.set_adapter(policy.active_adapter)  # adding one leaves both trainable
        trunk = policy
    elif config.critic_init == "reward":
        trunk = _reward_trunk(tokenizer, reward)
        with_adapters(trunk, config.lora)  # puts them into the trunk's own layers
    else:
        trunk = load_model(start)
    critic = Critic(trunk, features=features_of(reward, frozen), head_size=config.critic_head_size, shared=shared)
    critic = critic.to(base.device)
    if config.lora is not None:
        reference: Any = WithoutAdapters(policy)
        if hasattr(reward, "share_weights"):
            reward.share_weights(policy, reference, start.name, REWARD)
    else:
        reference = frozen.get(start.name) or load_model(start)
    if config.gradient_checkpointing:
        for model in {id(model): model for model in (policy, trunk)}.values():
            model.activation_checkpointing_enable()
    if is_sharded(config):
        shard(policy, policy)
        shard(critic, trunk)
    return policy, critic, reference


def features_of(reward: Any, frozen: dict[str, Any]) -> int:
    """Figures a token that the critic gets of the reward's frozen models."""
    if not frozen:
        return 0
    one = torch.zeros(1, 1)
    return len(frozen) * int(reward.prefix_features(one, one).shape[2])


def _reward_trunk(tokenizer: PreTrainedTokenizerFast, reward: Any) -> PreTrainedModel:
    if not hasattr(reward, "critic_trunk"):
        raise ConfigError(
            f"critic_init: reward: the reward {reward.name!r} has no model for the critic to start from. Set "
            "critic_init: policy."
        )
    trunk: PreTrainedModel = reward.critic_trunk(tokenizer)
    return trunk


def trained_student(policy: Any) -> PreTrainedModel:
    """The policy as a model of its own: its adapter merged into the weights, the others left out."""
    if not hasattr(policy, "peft_config"):
        student: PreTrainedModel = policy
        return student
    for name in {ADAPTER, REWARD} & policy.peft_config.keys():
        policy.delete_adapter(name)
    # In float32: many of PPO's small changes to a weight would round to none in bfloat16.
    merged: PreTrainedModel = policy.float().merge_and_unload()
    return merged
