"""The learned reward: a model trained on the pseudo-labels, measured and gated by the stage `reward`."""

from __future__ import annotations

from retort.config.training import RewardConfig
from retort.plugins import Reward, RewardContext, RewardType


def load(context: RewardContext) -> Reward:
    """The reward model that the stage `reward` wrote.

    Raises:
        ModelError: the folder holds no reward model, or a model that it needs is missing.
        InputError: a model of it has another vocabulary or chat template than the one that the head was trained with.
    """
    import json

    from retort.rewards.learned.model import RewardModel

    file = context.folder / "reward.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    names = {*settings.get("likelihood_models", ()), *([settings["init"]] if "init" in settings else ())}
    return RewardModel.load(context.folder, {name: context.models(name) for name in names}, name=context.name)


def _models(settings: RewardConfig) -> list[str]:
    """Models that scoring needs: those whose likelihood is seen, and the base of a trunk saved as an adapter."""
    return list(dict.fromkeys([*settings.likelihood, *([settings.trunk] if settings.lora is not None else [])]))


REWARD = RewardType("model", RewardConfig, load, trained=True, models=_models)
