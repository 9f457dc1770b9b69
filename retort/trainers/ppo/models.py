"""The models that PPO trains and those that it compares with, in as few copies of the weights as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retort.config.training import PPOConfig
from retort.errors import InputError
from retort.modeling.fsdp import is_sharded, shard
from retort.modeling.loading import load_model
from retort.modeling.lora import WithoutAdapters, adapter_settings, is_adapter, with_adapters
from retort.rewards.learned.features import Judge
from retort.rewards.learned.model import load_trunk
from retort.run.paths import Paths
from retort.trainers.ppo.critic import ADAPTER, Critic

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from retort.rewards.learned.model import RewardModel

REWARD = "reward"
"""Name of the reward model's adapter in a model that it shares with the policy."""


def ppo_models(
    paths: Paths,
    config: PPOConfig,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    reward: RewardModel,
    *,
    judges: int,
) -> tuple[Any, Critic, Any]:
    """Policy, critic and reference.

    With adapters all three share the weights of `base`, and so does the reward model's judge `sft`: the reference is
    the policy without its adapter, the critic is another adapter. So does the reward model's trunk where it is an
    adapter of the same student. Without adapters, the reference is that judge.

    Args:
        paths: Where models lie.
        config: Settings.
        base: The SFT student; it becomes the policy.
        tokenizer: The policy's.
        reward: The reward model; its judge `sft` and its trunk are replaced where weights are shared.
        judges: Number of judges that read what the policy writes.

    Raises:
        InputError: the critic is to start from a reward model that reads other tokens.
    """
    shared = config.lora is not None and config.critic_init == "policy"
    adapters = adapter_settings(config.lora, base)
    policy = with_adapters(base, config.lora)
    if shared:
        policy.add_adapter(ADAPTER, adapters)
        policy.set_adapter(policy.active_adapter)  # adding one leaves both trainable
        trunk = policy
    elif config.critic_init == "reward":
        trunk = _reward_trunk(paths, tokenizer, reward)
        with_adapters(trunk, config.lora)  # puts them into the trunk's own layers
    else:
        trunk = load_model(paths.model("sft"))
    critic = Critic(trunk, judges=judges, head_size=config.critic_head_size, shared=shared).to(base.device)
    if config.lora is not None:
        reference: Any = WithoutAdapters(policy)
        if "sft" in reward.judges:
            reward.judges["sft"] = Judge(reference, reward.judges["sft"].tokenizer)
        if reward.adapted is not None and reward.init == "sft":
            policy.load_adapter(str(paths.model("reward") / "trunk"), REWARD)
            reward.share(policy, REWARD)
    else:
        reference = reward.judges["sft"].model if "sft" in reward.judges else load_model(paths.model("sft"))
    if config.gradient_checkpointing:
        for model in {id(model): model for model in (policy, trunk)}.values():
            model.gradient_checkpointing_enable()
    if is_sharded(config):
        shard(policy, policy)
        shard(critic, trunk)
    return policy, critic, reference


def _reward_trunk(paths: Paths, tokenizer: PreTrainedTokenizerFast, reward: RewardModel) -> PreTrainedModel:
    folder = paths.model("reward") / "trunk"
    if not Judge(reward.trunk, reward.tokenizer).reads_like(tokenizer):
        raise InputError(
            "has another vocabulary or chat template than the student: the critic cannot start from it",
            file=folder,
            remedy="Set ppo.critic_init to policy, or train the reward model with reward.init sft",
        )
    trunk = load_trunk(paths.model("reward"), {name: paths.model(name) for name in ("teacher", "sft")})
    merged: PreTrainedModel = trunk.merge_and_unload() if is_adapter(folder) else trunk
    return merged


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
