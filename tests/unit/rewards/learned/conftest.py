"""A reward model of random weights with two likelihood models, and responses that it can learn to tell apart."""

from __future__ import annotations

import pytest
import torch

from retort.config.training import RewardConfig
from retort.rewards.learned.model import RewardModel, load_likelihood_models


@pytest.fixture
def make_reward(tmp_path, tiny_model_folder, tiny_model, tiny_tokenizer):
    """`make_reward(seed)`: random head, trunk and the likelihood models `teacher` and `sft`."""
    folders = {name: tiny_model_folder(seed=seed, name=name) for seed, name in ((7, "teacher"), (8, "sft"))}

    def make(seed=0, **changes):
        torch.manual_seed(seed)
        return RewardModel(
            tiny_model(seed=3), tiny_tokenizer, load_likelihood_models(folders), head_size=8, **changes
        ).eval()

    make.folders = folders
    return make


@pytest.fixture
def rows():
    """`rows(count, label)`: labelled responses, two to a prompt; right ones end in 64, wrong ones in 46."""

    def make(count=40, label=lambda number: number % 2):
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

    return make


@pytest.fixture
def config():
    """`config(**changes)`: a configuration that takes no time."""

    def make(**changes):
        plain = {"steps": 40, "batch_size": 16, "learning_rate": 3e-3, "evaluate_steps": 10, "head_size": 8}
        return RewardConfig(**(plain | changes))

    return make
