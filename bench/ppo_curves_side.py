"""One side of `bench.ppo_curves`: `python -m bench.ppo_curves_side retort|trl SEED OUT.json`, in its environment.

The task: say the prompt's word four times; the reward is the share of the four words that are right; words after
the end are wrong. A rule, not a model, so that both trainers see the very same reward. A random policy gets 1/10.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.ppo_work import Work, language_model, llama_config, tokenizer

WORK = Work(vocabulary=12, hidden=64, layers=2, heads=4, rows=64, response=4, mean_response=40.0, threads=1)
"""At first a word in forty is the end."""
ITERATIONS, EPOCHS, MINIBATCH, RATE, KL = 40, 2, 16, 3e-3, 0.02


def shares(prompts: Any, responses: Any) -> Any:
    """Reward of each response: its tokens that are the prompt's, of four; (B, 1) and (B, T) give (B,)."""
    return (responses == prompts).float().sum(dim=1) / WORK.response


def prompts(seed: int) -> list[list[int]]:
    """One word each; the same for both sides."""
    import random

    rng = random.Random(seed)  # noqa: S311 - prompts of a benchmark
    return [[rng.randrange(2, WORK.vocabulary)] for _ in range(ITERATIONS * WORK.rows)]


def retort(seed: int) -> list[float]:
    """Mean reward of each iteration, by Retort's trainer."""
    import torch

    from retort.config.training import KLConfig, PPOConfig
    from retort.trainers.ppo import trainer
    from retort.trainers.ppo.critic import Critic
    from retort.trainers.ppo.rollout import PPOModels
    from retort.trainers.shared.prompts import TrainingPrompt

    words, policy = tokenizer(WORK), language_model(WORK, seed)

    class Rule:
        """A reward without a model (`retort.plugins.Reward`)."""

        name, flops_per_token = "rule", 0.0

        def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Any:  # noqa: ARG002
            asked = torch.tensor([words(text).input_ids for text in prompts])
            said = [words(text).input_ids for text in responses]
            return shares(asked, torch.tensor([ids + [0] * (WORK.response - len(ids)) for ids in said]))

    listed = [TrainingPrompt(f"p{n}", f"w{ids[0]}", ids, label="none") for n, ids in enumerate(prompts(seed))]
    critic = Critic(language_model(WORK, seed), features=0, head_size=64)
    models = PPOModels(
        policy=policy,
        critic=critic,
        reference=language_model(WORK, seed),
        reward=Rule(),
        start="sft",
        tokenizer=words,
        prompts=listed,
        held_out=listed[:1],
    )
    config = PPOConfig(
        iterations=ITERATIONS,
        prompts_per_iteration=WORK.rows,
        responses_per_prompt=1,
        max_new_tokens=WORK.response,
        generation_batch_size=WORK.rows,
        epochs=EPOCHS,
        minibatch_size=MINIBATCH,
        learning_rate=RATE,
        critic_warmup=0,
        warmup_steps=0,
        critic_lam=0.95,
        missing_eos_penalty=0.0,
        kl=KLConfig(coefficient=KL),
        evaluate_every=ITERATIONS,
        checkpoint_every=ITERATIONS,
        patience=ITERATIONS,
    )
    with tempfile.TemporaryDirectory() as folder:
        curves = Path(folder, "curves")
        state = trainer.train(models, config, "text", seed=seed, state_folder=Path(folder), curves_folder=curves)
    return [row["reward"] for row in state.history]


def trl(seed: int) -> list[float]:
    """Mean reward of each iteration, by TRL's."""
    import torch
    from datasets import Dataset
    from transformers import LlamaForSequenceClassification, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    class Rule(torch.nn.Module):
        """A model to TRL: `backbone` gives hidden states, `score` makes rewards of them."""

        base_model_prefix = "backbone"

        def backbone(self, input_ids: Any, **_: Any) -> Any:
            found = shares(input_ids[:, :1], input_ids[:, 1:])
            return SimpleNamespace(hidden_states=[found[:, None, None].expand(*input_ids.shape, 1)])

        def score(self, hidden: Any) -> Any:
            return hidden

    rewards: list[float] = []

    class Record(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            rewards.append(float(logs["objective/scores"]))

    torch.manual_seed(seed)
    values = llama_config(WORK)
    values.num_labels = 1
    with tempfile.TemporaryDirectory() as folder:
        PPOTrainer(
            args=PPOConfig(
                output_dir=folder,
                total_episodes=ITERATIONS * WORK.rows,
                per_device_train_batch_size=WORK.rows,
                gradient_accumulation_steps=1,
                num_mini_batches=WORK.rows // MINIBATCH,
                num_ppo_epochs=EPOCHS,
                local_rollout_forward_batch_size=WORK.rows,
                response_length=WORK.response,
                temperature=1.0,
                stop_token="eos",
                kl_coef=KL,
                learning_rate=RATE,
                num_sample_generations=0,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                seed=seed,
            ),
            processing_class=tokenizer(WORK),
            model=language_model(WORK, seed),
            ref_model=language_model(WORK, seed),
            reward_model=Rule(),
            value_model=LlamaForSequenceClassification(values),
            train_dataset=Dataset.from_list([{"input_ids": ids} for ids in prompts(seed)]),
            callbacks=[Record()],
        ).train()
    return rewards


if __name__ == "__main__":
    found = {"retort": retort, "trl": trl}[sys.argv[1]](int(sys.argv[2]))
    Path(sys.argv[3]).write_text(json.dumps(found), encoding="utf-8")
