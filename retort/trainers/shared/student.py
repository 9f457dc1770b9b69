"""A student that learns from its own samples: what it is, the prompts it answers, and how it is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from retort.config.methods import OnPolicyConfig
from retort.engines.sampler import Sample, sample
from retort.errors import TrainingError
from retort.modeling.loading import context_length, load_model, load_tokenizer
from retort.modeling.process_group import process_group
from retort.modeling.turns import end_ids
from retort.plugins import Training
from retort.trainers.shared.prompts import TrainingPrompt, held_out_prompts, train_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Student:
    """The student that is trained, and what it is trained with."""

    model: Any
    tokenizer: PreTrainedTokenizerFast
    ends: tuple[int, ...]
    """Tokens that end a response."""
    prompts: list[TrainingPrompt]
    held_out: list[TrainingPrompt]
    """Empty where nothing is watched."""

    @property
    def pad(self) -> int:
        """Token to fill rows with."""
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int), "load_tokenizer refuses students without a pad token"
        return pad

    def respond(
        self,
        model: Any,
        prompts: Sequence[list[int]],
        config: OnPolicyConfig,
        *,
        temperature: float,
        count: int,
        seed: int,
    ) -> list[Sample]:
        """Responses of this process, of `count` that all processes draw together.

        Args:
            model: The student as it is now.
            prompts: Token ids of this process's share of the prompts.
            config: Settings.
            temperature: 0 is greedy.
            count: Responses of all processes.
            seed: What the draws depend on.
        """
        # Drawn for all prompts by every process: a response does not depend on how many processes there are.
        uniforms = torch.rand(count, config.max_new_tokens, generator=torch.Generator().manual_seed(seed))
        return sample(
            model,
            prompts,
            temperature=temperature,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=self.ends,
            pad_token_id=self.pad,
            generator=None,
            uniforms=uniforms[process_group().shard(count)],
            batch_size=config.generation_batch_size,
        )


def load_student(training: Training) -> Student:
    """The student as it starts, and its prompts.

    Raises:
        InputError: a prompt is too long for it, or none that is held out has a label though one is to be watched.
        TrainingError: its processes cannot share the prompts.
    """
    from transformers import set_seed

    config: OnPolicyConfig = training.settings
    if config.prompts_per_iteration % process_group().size:
        raise TrainingError(
            f"{training.student}: prompts_per_iteration {config.prompts_per_iteration} cannot be shared by "
            f"{process_group().size} processes, which the responses to one prompt may not be. Choose a multiple."
        )
    set_seed(training.seed)
    tokenizer, model = load_tokenizer(training.start), load_model(training.start)
    limit = context_length(model)
    return Student(
        model,
        tokenizer,
        end_ids(tokenizer, model),
        train_prompts(training, tokenizer, limit),
        held_out_prompts(training, tokenizer, limit) if config.keep == "best" else [],
    )
