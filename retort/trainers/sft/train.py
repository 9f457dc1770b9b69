"""Supervised fine-tuning with TRL's SFTTrainer, resumable, on response tokens alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.training import SFTConfig
from retort.errors import TrainingError
from retort.io.files import explain_writes
from retort.io.progress import Progress
from retort.modeling import preemption
from retort.modeling.chat import holds_markup, prompt_ids, response_ids
from retort.modeling.curves import Curves
from retort.modeling.fsdp import is_sharded, local, save_whole
from retort.modeling.loading import load_model, load_tokenizer, model_size
from retort.modeling.lora import adapter_settings
from retort.modeling.process_group import team
from retort.trainers.sft.examples import Example

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
    config: SFTConfig,
    *,
    seed: int,
    state: Path,
    curves_folder: Path,
    out: Path,
    extra_flops: float = 0.0,
    max_extra_steps: int | None = None,
) -> Trained:
    """Fine-tune the model of `base` on `examples` and write the student to `out`.

    It takes the configured steps, and as many more as `extra_flops` pays for, at most `max_extra_steps`. A killed call
    resumes from its last checkpoint in `state`, on the same data in the same order.

    Raises:
        TrainingError: no example is short enough, or the loss is not a finite number.
        ModelError: the base model or its tokenizer cannot be used.
        InterruptionError: the process was told to go; its checkpoint is of the last step.
    """
    from datasets import Dataset
    from transformers import PrinterCallback, set_seed
    from trl import SFTTrainer

    set_seed(seed)
    tokenizer, model = load_tokenizer(base), load_model(base)
    parameters = model_size(model)
    rows = tokenize(tokenizer, examples, config.max_length)
    if not rows:
        raise TrainingError(
            f"none of the {len(examples)} examples has at most {config.max_length} tokens. Raise sft.max_length."
        )
    step_tokens = config.batch_size * sum(len(row["input_ids"]) for row in rows) / len(rows)
    extra = round(extra_flops / (6.0 * parameters * step_tokens))
    capped = max_extra_steps is not None and extra > max_extra_steps
    steps = config.steps + (max_extra_steps if capped and max_extra_steps is not None else extra)
    tokens = round(steps * step_tokens)
    resume = last_checkpoint(_checkpoints(state, config))
    done = int(resume.name.split("-")[1]) if resume else 0
    with (
        preemption.deferred(),
        Curves(curves_folder, state, resume_step=done, tracker=config.tracker) as curves,
        Progress("sft", total=steps, unit="steps", done=done) as progress,
    ):
        trainer = SFTTrainer(
            model=model,
            args=_arguments(config, steps=steps, seed=seed, state=state),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[_log(curves, progress)],
            peft_config=adapter_settings(config.lora, model),
        )
        trainer.remove_callback(PrinterCallback)  # it prints every figure to stdout
        with explain_writes(state, kept="training goes on from its last checkpoint"):
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        preemption.check()
    # Of the whole course, what was trained before a kill included.
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    finite = all(bool(local(parameter).isfinite().all()) for parameter in trainer.model.parameters())
    if team().any(not finite):
        raise TrainingError(f"a weight is not a finite number after {steps} steps. Lower sft.learning_rate.")
    trained = trainer.model.merge_and_unload() if config.lora else trainer.model
    save_whole(trained, tokenizer, out)
    tail = losses[-max(1, len(losses) // 10) :]
    return Trained(
        steps=steps,
        examples=len(rows),
        too_long=len(examples) - len(rows),
        loss=sum(tail) / len(tail),
        tokens=tokens,
        flops=6.0 * parameters * tokens,
        capped=capped,
    )


def tokenize(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], max_length: int
) -> list[dict[str, list[int]]]:
    """Examples as `input_ids` with a `completion_mask` (1 = response token, counts); those too long are left out."""
    rows = []
    cut = sum(holds_markup(tokenizer, example.response) for example in examples)
    if cut:
        logging.getLogger(__name__).warning(
            "sft: %d of %d responses hold what ends or begins a turn; they are trained up to there", cut, len(examples)
        )
    for example in examples:
        prompt, response = prompt_ids(tokenizer, example.prompt), response_ids(tokenizer, example.response)
        if len(prompt) + len(response) <= max_length:
            rows.append({"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)})
    return rows


def _checkpoints(state: Path, config: SFTConfig) -> Path:
    """Folder of checkpoints; the trainer writes those of sharded weights in another form, which one process refuses."""
    return state / ("sharded-checkpoints" if is_sharded(config) else "checkpoints")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer writes `trainer_state.json` last."""
    whole = [item.parent for item in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda folder: int(folder.name.split("-")[1]), default=None)


def micro_batch(config: SFTConfig, processes: int) -> int:
    """Rows of one pass of each process: at most what is asked for, and such that passes add up to `batch_size`.

    Raises:
        TrainingError: the processes cannot share the batch evenly.
    """
    share, rest = divmod(config.batch_size, processes)
    if rest:
        raise TrainingError(
            f"sft.batch_size {config.batch_size} cannot be shared by {processes} processes. Choose a multiple of "
            f"{processes}, or another number of processes."
        )
    most = min(config.micro_batch_size or share, share)
    return next(size for size in range(most, 0, -1) if share % size == 0)


def log_every(steps: int, checkpoint_steps: int) -> int:
    """Steps over which the trainer averages a logged loss: about a hundredth of all, and a divisor of the checkpoints'.

    A checkpoint between two logged steps would lose part of the loss that the next one averages.
    """
    return next(each for each in range(max(1, steps // 100), 0, -1) if checkpoint_steps % each == 0)


def _arguments(config: SFTConfig, *, steps: int, seed: int, state: Path) -> Any:
    import torch
    from trl import SFTConfig as TRLConfig

    on_gpu, sharded = torch.cuda.is_available(), is_sharded(config)
    if sharded and not on_gpu:
        logging.getLogger(__name__).warning("sft: accelerate shards on GPUs alone; every process holds all weights")
    devices = team().size
    micro = micro_batch(config, devices)
    schedules = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return TRLConfig(
        output_dir=str(_checkpoints(state, config)),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // (micro * devices),
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        lr_scheduler_type=schedules[config.schedule],
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        gradient_checkpointing=config.gradient_checkpointing and not sharded,
        fsdp=sharded,
        fsdp_config={"version": 2, "activation_checkpointing": config.gradient_checkpointing} if sharded else None,
        completion_only_loss=True,
        max_length=config.max_length,
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        logging_steps=log_every(steps, config.checkpoint_steps),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
    )


def _log(curves: Curves, progress: Progress) -> Any:
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        """Passes the trainer's figures on to the curves; they refuse what is not finite."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                curves.log(state.global_step, loss=logs["loss"], learning_rate=logs["learning_rate"])

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress.update(state.global_step - progress.done)
            # Between two logged steps a checkpoint would lose part of the loss that the next one averages.
            if preemption.asked() and state.global_step % args.logging_steps == 0:
                control.should_save = control.should_training_stop = True

    return Log()
