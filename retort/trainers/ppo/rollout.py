"""Rollouts: the policy answers prompts, the reward model scores the answers, the reference prices their KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retort.config.training import PPOConfig
from retort.engines.sampler import Sample, sample
from retort.modeling.batch import TokenBatch, pad_batch
from retort.modeling.chat import response_text
from retort.modeling.logprobs import length_sorted_batches, scoring_tokens, token_logprobs
from retort.modeling.process_group import process_group
from retort.modeling.turns import end_ids
from retort.plugins import Reward
from retort.trainers.shared.prompts import TrainingPrompt, draw_prompts
from retort.trainers.shared.scores import checked_scores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from retort.trainers.ppo.critic import Critic
    from retort.trainers.ppo.served import Served
    from retort.trainers.shared.agreement import Agree

SCORING_BATCH = 128
"""Rows of a forward pass without gradient."""


@dataclass
class PPOModels:
    """Everything that PPO works with; reference and reward model are frozen."""

    policy: Any
    """A causal language model, or one with adapters."""
    critic: Critic
    reference: Any
    """What the policy started from: a frozen copy, or the policy without its adapters."""
    reward: Reward
    start: str
    """Model or student that the policy started from."""
    tokenizer: PreTrainedTokenizerFast
    prompts: list[TrainingPrompt]
    held_out: list[TrainingPrompt]
    agree: Agree | None = None
    """Says which responses to open-ended prompts agree with the label; None reads and compares their answers."""
    served: Served | None = None
    """What samples in the policy's place; None samples from the policy itself."""

    def likelihood_models(self) -> dict[str, Any]:
        """The reward's frozen models, if it has any, that see the very tokens that the policy writes."""
        return frozen_models(self.reward, self.tokenizer)

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end a response."""
        return end_ids(self.tokenizer, self.policy)

    @property
    def device(self) -> torch.device:
        """Where policy and critic are."""
        device: torch.device = self.policy.device
        return device


@dataclass(frozen=True)
class Rollout:
    """Episodes of one iteration; B episodes of T positions, on the policy's device."""

    batch: TokenBatch
    sampled_BT: Tensor
    """Log-probability of each response token by the sampler, whose rounding is another than the training passes'."""
    reference_BT: Tensor
    """The same under the reference."""
    features_BTF: Tensor
    """What the critic sees beside its trunk's hidden states."""
    values_BT: Tensor
    """The critic's value of the state that each token was chosen in."""
    scores_B: Tensor
    """The reward model's probability of agreement."""
    finished_B: Tensor
    """Whether each response ended by itself."""
    unlabelled: int = 0
    """Episodes whose prompt the teacher never answered."""


def frozen_models(reward: Any, tokenizer: Any) -> dict[str, Any]:
    """Frozen models of a `retort.plugins.LikelihoodReward` that read the tokens of `tokenizer`; none of another."""
    return reward.frozen_models(tokenizer) if hasattr(reward, "frozen_models") else {}


def rollout(models: PPOModels, config: PPOConfig, *, seed: int, iteration: int) -> Rollout:
    """Sample responses to one iteration's prompts and score them; each process of a group does its share.

    Everything random comes from (seed, iteration), so an iteration that is done again after a kill is the same.
    """
    prompts = draw_prompts(models.prompts, config, seed=seed, iteration=iteration)
    drawn, version = seed * 1_000_003 + iteration, weights_version(config, iteration)
    samples = respond(models, prompts, config, temperature=config.temperature, seed=drawn, version=version)
    batch = pad_batch([p.ids for p in prompts], [s.ids for s in samples], pad_token(models)).to(models.device)
    logprobs = torch.zeros(batch.ids_BT.shape, dtype=torch.float32, device=models.device)
    logprobs[batch.response_mask_BT.bool()] = torch.tensor(
        [value for s in samples for value in s.logprobs], device=models.device
    )
    workers = process_group()
    mine = workers.shard(len(prompts))
    scored = _scored(models, config, prompts[mine], samples[mine], _rows(batch, mine))
    reference, features, values, scores = (workers.gather_rows(part) for part in scored)
    return Rollout(
        batch=batch,
        sampled_BT=logprobs,
        reference_BT=reference,
        features_BTF=features,
        values_BT=values,
        scores_B=scores,
        finished_B=torch.tensor([s.finished for s in samples], device=models.device),
        unlabelled=sum(not prompt.answered for prompt in prompts),
    )


def _rows(batch: TokenBatch, part: slice) -> TokenBatch:
    return TokenBatch(batch.ids_BT[part], batch.attention_mask_BT[part], batch.response_mask_BT[part])


def _scored(
    models: PPOModels,
    config: PPOConfig,
    prompts: Sequence[TrainingPrompt],
    samples: Sequence[Sample],
    batch: TokenBatch,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reference log-probabilities (B, T), the critic's features (B, T, F), values (B, T) and scores (B,)."""
    likelihood = {
        name: frozen_logprobs(model, batch, temperature=1.0) for name, model in models.likelihood_models().items()
    }
    # Where what the policy started from is also one of the reward's models, its likelihood is known already.
    known = likelihood.get(models.start) if config.temperature == 1.0 else None
    reference = frozen_logprobs(models.reference, batch, temperature=config.temperature) if known is None else known
    reward: Any = models.reward
    pooled = [reward.prefix_features(logprobs_BT, batch.response_mask_BT) for logprobs_BT in likelihood.values()]
    features = torch.cat(pooled, dim=2) if pooled else torch.zeros(*batch.ids_BT.shape, 0, device=models.device)
    scores = _scores(models, prompts, samples, batch, likelihood)
    return reference, features, _values(models, batch, features), scores.to(models.device)


def weights_version(config: PPOConfig, iteration: int, *, averaged: bool = False) -> tuple[int, bool]:
    """Names the policy's weights before an iteration: two that have one name are equal.

    Args:
        config: Settings.
        iteration: Number of the iteration, from 0.
        averaged: Whether the weights' moving average is meant.
    """
    # The critic's warm-up leaves the policy as it was, and an average that forgets all is the weights themselves.
    return max(iteration - config.critic_warmup, 0), averaged and config.average > 0


def respond(
    models: PPOModels,
    prompts: Sequence[TrainingPrompt],
    config: PPOConfig,
    *,
    temperature: float,
    seed: int,
    version: tuple[int, bool],
) -> list[Sample]:
    """The policy's responses, one to each prompt given; each process of a group samples its share.

    Args:
        models: The policy, and what samples in its place if anything does.
        prompts: What is answered.
        config: Settings.
        temperature: Sampling temperature, 0 for greedy.
        seed: What is drawn depends on it.
        version: Names the policy's weights (`weights_version`).
    """
    workers = process_group()
    mine = workers.shard(len(prompts))
    # Drawn for all prompts by every process: a response does not depend on how many processes there are.
    generator = torch.Generator().manual_seed(seed)
    if models.served is not None:
        seeds = torch.randint(2**31, (len(prompts),), generator=generator)[mine].tolist()
        models.served.follow(models.policy, version)
        ids = [prompt.ids for prompt in prompts[mine]]
        return workers.gather(
            models.served.respond(ids, seeds, temperature=temperature, max_new_tokens=config.max_new_tokens)
        )
    uniforms = torch.rand(len(prompts), config.max_new_tokens, generator=generator)
    return workers.gather(
        sample(
            models.policy,
            [prompt.ids for prompt in prompts[mine]],
            temperature=temperature,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=models.ends,
            pad_token_id=pad_token(models),
            generator=None,
            uniforms=uniforms[mine],
            batch_size=config.generation_batch_size,
        )
    )


def _scores(
    models: PPOModels,
    prompts: Sequence[TrainingPrompt],
    samples: Sequence[Sample],
    batch: TokenBatch,
    likelihood: dict[str, Tensor],
) -> Tensor:
    """The reward of each response, shape (B,), on the CPU."""
    texts = [response_text(models.tokenizer, s.ids, models.ends) for s in samples]
    asked = ([prompt.text for prompt in prompts], texts, [s.finished for s in samples])
    if not likelihood:
        return checked_scores(models.reward.score(*asked), models.reward.name, *asked[:2])
    mask = batch.response_mask_BT.bool()
    known = {
        name: [row[keep].cpu() for row, keep in zip(logprobs_BT, mask, strict=True)]
        for name, logprobs_BT in likelihood.items()
    }
    reward: Any = models.reward
    return checked_scores(reward.score_knowing(*asked, known), models.reward.name, *asked[:2])


@torch.no_grad()
def frozen_logprobs(model: Any, batch: TokenBatch, *, temperature: float) -> Tensor:
    """Log-probability of each response token under a frozen model, shape (B, T)."""
    found = torch.zeros(batch.ids_BT.shape, dtype=torch.float32, device=batch.ids_BT.device)
    for index, part in _microbatches(batch, scoring_tokens(model)):
        found[index, : part.ids_BT.shape[1]] = token_logprobs(model, part, temperature=temperature)[0]
    return found


@torch.no_grad()
def _values(models: PPOModels, batch: TokenBatch, features_BTF: Tensor) -> Tensor:
    found = torch.zeros(batch.ids_BT.shape, dtype=torch.float32, device=models.device)
    with models.critic.using():
        for index, part in _microbatches(batch, scoring_tokens(models.critic.trunk)):
            length = part.ids_BT.shape[1]
            found[index, :length] = models.critic(part, features_BTF[index, :length])
    return found


def _microbatches(batch: TokenBatch, most_tokens: int) -> list[tuple[Tensor, TokenBatch]]:
    lengths = batch.attention_mask_BT.sum(dim=1).tolist()
    models = length_sorted_batches(lengths, SCORING_BATCH, most_tokens=most_tokens)
    rows = [torch.tensor(index, device=batch.ids_BT.device) for index in models]
    return [(index, batch.rows(index)) for index in rows]


def pad_token(models: PPOModels) -> int:
    """Token that rows are filled with."""
    pad = models.tokenizer.pad_token_id
    assert isinstance(pad, int), "load_tokenizer refuses students without a pad token"
    return pad
