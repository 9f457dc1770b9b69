"""Supervised fine-tuning with TRL's SFTTrainer, resumable, on response tokens alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.training import StepsConfig
from retort.errors import TrainingError
from retort.modeling.chat import holds_markup, prompt_ids, response_ids
from retort.modeling.curves import Curves
from retort.modeling.loading import load_model, load_tokenizer, model_size
from retort.modeling.lora import adapter_settings
from retort.trainers.sft.examples import Example
from retort.trainers.shared import course
from retort.trainers.shared.arguments import checkpoints, log_every, paid_steps, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Trained:
    """What one fine-tuning did."""

    steps: int
    examples: int
    too_long: int
    """Examples left out because they exceed `max_length`."""
    loss: float
    """Mean training loss (nats a token) over the last tenth of the steps."""
    tokens: int
    """Tokens of all examples trained on, prompts included."""
    flops: float
    """Training compute, 6 x parameters x tokens (Kaplan et al. 2020, §2.1)."""
    capped: bool = False
    """Whether `max_extra_steps` cut the steps that `extra_flops` pays for."""


def train_sft(
    base: Path,
    examples: Sequence[Example],
    config: StepsConfig,
    *,
    method: str = "sft",
    seed: int,
    state: Path,
    curves_folder: Path,
    out: Path,
    extra_flops: float = 0.0,
    max_extra_steps: int | None = None,
) -> Trained:
    """Fine-tune the model of `base` on `examples` and write the student to `out`.

    It takes the configured steps, and as many more as `extra_flops` pays for, at most `max_extra_steps`. A killed call
    resumes from its last checkpoint in `state`, on the same data in the same order. Messages name the section `method`
    of the configuration.

    Raises:
        TrainingError: no example is short enough, or the loss is not a finite number.
        ModelError: the base model or its tokenizer cannot be used.
        InterruptionError: the process was told to go; its checkpoint is of the last step.
    """
    from datasets import Dataset
    from transformers import set_seed

    set_seed(seed)
    tokenizer, model = load_tokenizer(base), load_model(base)
    parameters = model_size(model)
    rows = tokenize(tokenizer, examples, config.max_length, method=method)
    if not rows:
        raise TrainingError(
            f"none of the {len(examples)} examples has at most {config.max_length} tokens. Raise {method}.max_length."
        )
    step_tokens = config.batch_size * sum(len(row["input_ids"]) for row in rows) / len(rows)
    steps, capped = paid_steps(config.steps, 6.0 * parameters * step_tokens, extra_flops, max_extra_steps)
    tokens = round(steps * step_tokens)

    def make(callbacks: Sequence[Any], _: Curves) -> Any:
        from trl import SFTTrainer

        return SFTTrainer(
            model=model,
            args=_arguments(config, method=method, steps=steps, seed=seed, state=state),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=list(callbacks),
            peft_config=adapter_settings(config.lora, model),
        )

    trainer = course.run(
        make,
        method=method,
        steps=steps,
        folder=checkpoints(state, config),
        state=state,
        curves_folder=curves_folder,
        figures={"loss": "loss", "learning_rate": "learning_rate"},
    )
    course.save(trainer, tokenizer, out, adapted=config.lora is not None)
    return Trained(
        steps=steps,
        examples=len(rows),
        too_long=len(examples) - len(rows),
        loss=course.tail_mean(trainer),
        tokens=tokens,
        flops=6.0 * parameters * tokens,
        capped=capped,
    )


def tokenize(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], max_length: int, *, method: str = "sft"
) -> list[dict[str, list[int]]]:
    """Examples as `input_ids` with a `completion_mask` (1 = response token, counts); those too long are left out."""
    rows = []
    cut = sum(holds_markup(tokenizer, example.response) for example in examples)
    if cut:
        logging.getLogger(__name__).warning(
            "%s: %d of %d responses hold what ends or begins a turn; they are trained up to there",
            method,
            cut,
            len(examples),
        )
    for example in examples:
        prompt, response = prompt_ids(tokenizer, example.prompt), response_ids(tokenizer, example.response)
        if len(prompt) + len(response) <= max_length:
            rows.append({"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)})
    return rows


def _arguments(config: StepsConfig, *, method: str, steps: int, seed: int, state: Path) -> Any:
    from trl import SFTConfig as TRLConfig

    return TRLConfig(
        **trainer_arguments(
            config,
            method=method,
            batch=config.batch_size,
            key="batch_size",
            steps=steps,
            save_every=config.checkpoint_steps,
            log_every=log_every(steps, config.checkpoint_steps),
            seed=seed,
            state=state,
        ),
        completion_only_loss=True,
        max_length=config.max_length,
    )
