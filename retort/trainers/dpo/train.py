"""DPO with TRL's DPOTrainer, resumable, on tokens that Retort makes: the end token of each response counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.methods import DPOConfig
from retort.errors import TrainingError
from retort.modeling.chat import prompt_ids, response_ids
from retort.modeling.curves import Curves
from retort.modeling.loading import load_model, load_tokenizer, model_size
from retort.modeling.lora import adapter_settings
from retort.trainers.dpo.pairs import Pair
from retort.trainers.shared import course
from retort.trainers.shared.arguments import checkpoints, log_every, paid_steps, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FIGURES = {
    "loss": "loss",
    "rewards/accuracies": "preferred",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen",
    "rewards/rejected": "rejected",
    "learning_rate": "learning_rate",
}
"""Curves by TRL's names: the share of pairs whose chosen response has the higher implicit reward, the mean distance of
the two, and both themselves (beta times the log-ratio to the start, eq. 5 of the paper)."""


@dataclass(frozen=True)
class Trained:
    """What one training did."""

    steps: int
    pairs: int
    too_long: int
    """Pairs left out because a response with its prompt exceeds `max_length`."""
    loss: float
    """Mean loss over the last tenth of the steps."""
    preferred: float
    """Share of pairs whose chosen response has the higher implicit reward, over the last tenth of the steps."""
    tokens: int
    """Tokens of all responses trained on, prompts included."""
    flops: float
    """6 x parameters a token trained on, 2 x parameters one that the start reads as the reference."""
    capped: bool = False
    """Whether `max_extra_steps` cut the steps that `extra_flops` pays for."""


def train_dpo(
    start: Path,
    pairs: Sequence[Pair],
    config: DPOConfig,
    *,
    seed: int,
    state: Path,
    curves_folder: Path,
    out: Path,
    extra_flops: float = 0.0,
    max_extra_steps: int | None = None,
) -> Trained:
    """Train the model of `start` to prefer the chosen responses, held to `start`, and write the student to `out`.

    It takes the configured steps, and as many more as `extra_flops` pays for, at most `max_extra_steps`. A killed call
    resumes from its last checkpoint in `state`, on the same data in the same order.

    Raises:
        TrainingError: no pair is short enough, or a figure is not a finite number.
        ModelError: the model or its tokenizer cannot be used.
        InterruptionError: the process was told to go; its checkpoint is of the last step.
    """
    from transformers import set_seed

    set_seed(seed)
    tokenizer, model = load_tokenizer(start), load_model(start)
    parameters = model_size(model)
    rows = tokenize(tokenizer, pairs, config.max_length)
    if not rows:
        raise TrainingError(
            f"none of the {len(pairs)} pairs has at most {config.max_length} tokens. Raise dpo.max_length."
        )
    both = sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    step_tokens, each = config.batch_size * both / len(rows), 8.0 * parameters
    steps, capped = paid_steps(config.steps, each * step_tokens, extra_flops, max_extra_steps)
    tokens = round(steps * step_tokens)

    def make(callbacks: Sequence[Any], _: Curves) -> Any:
        from datasets import Dataset

        return _trainer_class()(
            model=model,
            # With adapters the reference is the model without them.
            ref_model=None if config.lora is not None else load_model(start),
            args=_arguments(config, steps=steps, seed=seed, state=state),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=list(callbacks),
            peft_config=adapter_settings(config.lora, model),
        )

    trainer = course.run(
        make,
        method="dpo",
        steps=steps,
        folder=checkpoints(state, config),
        state=state,
        curves_folder=curves_folder,
        figures=FIGURES,
    )
    course.save(trainer, tokenizer, out, adapted=config.lora is not None)
    return Trained(
        steps=steps,
        pairs=len(rows),
        too_long=len(pairs) - len(rows),
        loss=course.tail_mean(trainer),
        preferred=course.tail_mean(trainer, "rewards/accuracies"),
        tokens=tokens,
        flops=each * tokens,
        capped=capped,
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair], max_length: int) -> list[dict[str, list[int]]]:
    """Pairs as `prompt_ids`, `chosen_ids` and `rejected_ids`, end tokens included; those too long are left out."""
    rows = []
    for pair in pairs:
        prompt = prompt_ids(tokenizer, pair.prompt)
        chosen, rejected = (response_ids(tokenizer, text) for text in (pair.chosen, pair.rejected))
        if len(prompt) + max(len(chosen), len(rejected)) <= max_length:
            rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return rows


def _trainer_class() -> Any:
    from trl import DPOTrainer

    class OnTokens(DPOTrainer):
        """Takes the tokens as they are: TRL's own would format and end the texts by rules of its own."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return OnTokens


def _arguments(config: DPOConfig, *, steps: int, seed: int, state: Path) -> Any:
    from trl import DPOConfig as TRLConfig

    return TRLConfig(
        **trainer_arguments(
            config,
            method="dpo",
            batch=config.batch_size,
            key="batch_size",
            steps=steps,
            save_every=config.checkpoint_steps,
            log_every=log_every(steps, config.checkpoint_steps),
            seed=seed,
            state=state,
        ),
        beta=config.beta,
        loss_type=[config.loss, "sft"] if config.sft_weight else [config.loss],
        loss_weights=[1.0, config.sft_weight] if config.sft_weight else None,
        max_length=config.max_length,
        precompute_ref_log_probs=False,
    )
