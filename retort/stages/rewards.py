"""Loading the reward that a student is trained against, or answers with."""

from __future__ import annotations

from retort import plugins
from retort.errors import ConfigError
from retort.run.stage import Context


def load_reward(context: Context, name: str, student: str) -> plugins.Reward:
    """The reward `name`, for a policy that starts from `student`.

    Raises:
        InputError: it is a reward model that was made from another student.
    """
    config, paths = context.config, context.paths
    kind = config.reward_type(name)
    found = kind.load(
        plugins.RewardContext(
            name=name,
            settings=None if kind.trained else config.reward_settings(name),
            answer=config.answer,
            root=paths.root,
            folder=paths.reward(name),
            models=paths.model,
            prompts={split: paths.prompts(split) for split in ("train", "validation")},
            votes=paths.votes,
            judge=getattr(config, "judge", None),
            state=context.state(),
            seed=config.seed,
        )
    )
    if not callable(getattr(found, "score", None)) or not hasattr(found, "flops_per_token"):
        raise ConfigError(
            f"rewards.{name}: its type loads a {type(found).__name__}, which lacks score or flops_per_token; see "
            "retort.plugins.Reward."
        )
    if hasattr(found, "check_reads_like"):
        from retort.modeling.loading import load_tokenizer

        found.check_reads_like(load_tokenizer(paths.model(student)), student)
    reward: plugins.Reward = found
    return reward
