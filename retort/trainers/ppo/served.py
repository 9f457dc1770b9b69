"""A policy that another program samples from: it is given the weights when they have changed, and checked each time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retort.engines.base import Rollouts
from retort.modeling.batch import pad_batch
from retort.modeling.logprobs import token_logprobs
from retort.trainers.ppo.canary import Canary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from retort.engines.sampler import Sample

_PROMPTS = 8
"""Prompts that are answered after each update to compare."""
CHECKED_TOKENS = 16
"""Tokens of each answer."""


class Served:
    """Keeps a sampler at the policy's weights."""

    def __init__(self, rollouts: Rollouts, prompts: Sequence[Sequence[int]], *, pad: int, place: str) -> None:
        """Nothing runs before the first weights.

        Args:
            rollouts: What samples.
            prompts: Token ids; the first few are what is answered after each update to compare.
            pad: Token to fill rows with.
            place: Where the configuration describes it, for messages.
        """
        self._rollouts, self._pad = rollouts, pad
        self._prompts = [list(prompt) for prompt in prompts[:_PROMPTS]]
        self._version: Hashable = None
        self.canary = Canary(rollouts.max_difference, place)
        self.difference = 0.0
        """Mean difference of the last check, in nats a token."""

    def follow(self, policy: Any, version: Hashable) -> None:
        """Let the sampler have the weights of `policy`.

        Args:
            policy: A model, or one with adapters, of which the active one is taken.
            version: Names the weights; where they are those that it has, nothing is done.

        Raises:
            TrainingError: its log-probabilities are not the policy's afterwards.
            EngineError: it failed.
        """
        if version == self._version:
            return
        self._rollouts.load(lambda folder: write_policy(policy, folder))
        self._version = version
        self.difference = self._check(policy)

    def respond(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], *, temperature: float, max_new_tokens: int
    ) -> list[Sample]:
        """One response to each prompt."""
        return self._rollouts.sample(prompts, seeds, temperature=temperature, max_new_tokens=max_new_tokens)

    @torch.no_grad()
    def _check(self, policy: PreTrainedModel) -> float:
        """Compare a few samples, always to the same prompts with the same seeds."""
        prompts = self._prompts
        samples = self.respond(prompts, range(len(prompts)), temperature=1.0, max_new_tokens=CHECKED_TOKENS)
        batch = pad_batch(prompts, [sample.ids for sample in samples], self._pad).to(policy.device)
        logprobs, _ = token_logprobs(policy, batch)
        ours = [row[mask].tolist() for row, mask in zip(logprobs, batch.response_mask_BT.bool(), strict=True)]
        return self.canary.check_samples(samples, ours)


def write_policy(policy: Any, folder: Path) -> None:
    """Write what is trained of a policy: all its weights, or its active adapter."""
    if hasattr(policy, "peft_config"):
        # The adapters of critic and reward lie in the same model.
        policy.save_pretrained(folder, selected_adapters=[policy.active_adapter], save_embedding_layers=False)
    else:
        policy.save_pretrained(folder)
