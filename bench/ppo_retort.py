"""Retort's side of `bench.ppo`, in a process of its own: `python -m bench.ppo_retort WORK.json OUT.json`.

The stage's own trainer with a real reward model (trunk of the policy's size and a head that sees the reference's
likelihood as well, as by default). It differs from a stage's run in that nothing is measured on held-out prompts
and no checkpoint is written between the iterations that are timed; TRL does neither.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.ppo_work import SEED, Meter, Work, language_model, prompts, tokenizer


def main(work: Work, out: Path) -> None:
    """Train and write the figures."""
    import dvclive  # noqa: F401 - loaded here, so that its memory is not counted as training's
    import torch

    from retort.config.training import PPOConfig
    from retort.trainers.ppo import trainer

    torch.set_num_threads(work.threads)
    logging.getLogger("dvclive").setLevel(logging.ERROR)
    models = _models(work)
    meter = Meter()
    _measure(meter)
    config = PPOConfig(
        iterations=work.iterations + 1,
        prompts_per_iteration=work.rows // work.responses_per_prompt,
        responses_per_prompt=work.responses_per_prompt,
        temperature=1.0,
        max_new_tokens=work.response,
        generation_batch_size=work.rows,
        epochs=work.epochs,
        minibatch_size=work.minibatch,
        learning_rate=1e-6,
        critic_warmup=0,
        evaluate_every=work.iterations + 1,
        checkpoint_every=work.iterations + 2,
        missing_eos_penalty=0.5,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(
            models, config, "text", seed=SEED, state_folder=Path(folder), curves_folder=Path(folder, "curves")
        )
    out.write_text(json.dumps(meter.figures(work)), encoding="utf-8")


def _models(work: Work) -> Any:
    from retort.modeling.chat import prompt_ids
    from retort.rewards.learned.features import LikelihoodModel
    from retort.rewards.learned.model import RewardModel
    from retort.trainers.ppo.critic import Critic
    from retort.trainers.ppo.models import features_of
    from retort.trainers.ppo.rollout import PPOModels, frozen_models
    from retort.trainers.shared.prompts import TrainingPrompt

    words = tokenizer(work)
    policy, reference = language_model(work, SEED), language_model(work, SEED)
    reference.requires_grad_(False)
    trunk = language_model(work, SEED + 1)
    reward = (
        RewardModel(trunk, words, {"sft": LikelihoodModel(reference, words)}, head_size=64).to(policy.device).eval()
    )
    reward.requires_grad_(False)
    seen = features_of(reward, frozen_models(reward, words))
    critic = Critic(language_model(work, SEED), features=seen, head_size=64)
    listed = []
    for number, ids in enumerate(prompts(work)):
        text = " ".join(f"w{token}" for token in ids)
        listed.append(TrainingPrompt(f"p{number}", text, prompt_ids(words, text), label="w2"))
    return PPOModels(
        policy=policy,
        critic=critic.to(policy.device),
        reference=reference,
        reward=reward,
        start="sft",
        tokenizer=words,
        prompts=listed,
        held_out=listed[:1],
    )


def _measure(meter: Meter) -> None:
    """Put clocks around the phases: rollout less generation is scoring; an iteration ends where the next begins."""
    from retort.trainers.ppo import rollout as rollout_module
    from retort.trainers.ppo import trainer as trainer_module

    trainer: Any = trainer_module  # its own names are replaced
    plain_rollout, plain_respond = trainer.rollout, rollout_module.respond
    generation: list[float] = []

    def respond(*arguments: Any, **named: Any) -> Any:
        start = meter.clock()
        samples = plain_respond(*arguments, **named)
        generation.append(meter.clock() - start)
        meter.count("prompt", sum(len(prompt.ids) for prompt in arguments[1]))
        meter.count("response", sum(len(one.ids) for one in samples))
        return samples

    def rollout(*arguments: Any, **named: Any) -> Any:
        start = meter.clock()
        episodes = plain_rollout(*arguments, **named)
        spent = generation.pop()
        meter.seconds["generation"] = meter.seconds.get("generation", 0.0) + spent
        meter.seconds["scoring"] = meter.seconds.get("scoring", 0.0) + meter.clock() - start - spent
        return episodes

    plain_iterate = trainer._iterate

    def iterate(*arguments: Any, **named: Any) -> Any:
        figures = plain_iterate(*arguments, **named)
        meter.iteration_ends()
        return figures

    rollout_module.respond, trainer.rollout, trainer._iterate = respond, rollout, iterate
    trainer.update = meter.timed("update", trainer.update)


if __name__ == "__main__":
    main(Work(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), Path(sys.argv[2]))
