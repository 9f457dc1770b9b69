"""Arguments that all of TRL's trainers take, from the settings that all of Retort's methods have."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from retort.config.training import TrainerConfig
from retort.errors import TrainingError
from retort.modeling.fsdp import is_sharded
from retort.modeling.process_group import process_group

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def trainer_arguments(
    config: TrainerConfig,
    *,
    method: str,
    batch: int,
    key: str,
    steps: int,
    save_every: int,
    log_every: int,
    seed: int,
    state: Path,
) -> dict[str, Any]:
    """Keyword arguments of any of TRL's configurations.

    Args:
        config: Settings of the method.
        method: Name of the method, for messages.
        batch: Examples an optimizer step, over all devices and accumulation.
        key: Setting that says so, for messages.
        steps: Optimizer steps.
        save_every: Steps between checkpoints.
        log_every: Steps that a logged figure is averaged over.
        seed: Seed of the run.
        state: Folder of resume state.

    Raises:
        TrainingError: the processes cannot share the batch evenly.
    """
    import torch

    on_gpu, sharded = torch.cuda.is_available(), is_sharded(config)
    if sharded and not on_gpu:
        logging.getLogger(__name__).warning(
            "%s: accelerate shards on GPUs alone; every process holds all weights", method
        )
    devices = process_group().size
    micro = micro_batch(batch, config.micro_batch_size, devices, f"{method}.{key}")
    return {
        "output_dir": str(checkpoints(state, config)),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": batch // (micro * devices),
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup_steps,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "activation_checkpointing": config.gradient_checkpointing and not sharded,
        "fsdp": sharded,
        "fsdp_config": {"version": 2, "activation_checkpointing": config.gradient_checkpointing} if sharded else None,
        "save_steps": save_every,
        "save_total_limit": 2,
        "logging_steps": log_every,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
    }


def paid_steps(configured: int, step_flops: float, extra_flops: float, max_extra_steps: int | None) -> tuple[int, bool]:
    """Optimizer steps with those that `extra_flops` pays for, and whether `max_extra_steps` allows fewer."""
    extra = round(extra_flops / step_flops)
    capped = max_extra_steps is not None and extra > max_extra_steps
    return configured + (max_extra_steps if capped and max_extra_steps is not None else extra), capped


def checkpoints(state: Path, config: TrainerConfig) -> Path:
    """Folder of checkpoints; the trainer writes those of sharded weights in another form, which one process refuses."""
    return state / ("sharded-checkpoints" if is_sharded(config) else "checkpoints")


def micro_batch(batch: int, most: int | None, processes: int, key: str) -> int:
    """Rows of one pass of each process: at most `most`, and such that passes add up to `batch`.

    Raises:
        TrainingError: the processes cannot share the batch evenly.
    """
    share, rest = divmod(batch, processes)
    if rest:
        raise TrainingError(
            f"{key} {batch} cannot be shared by {processes} processes. Choose a multiple of {processes}, or another "
            "number of processes."
        )
    return next(size for size in range(min(most or share, share), 0, -1) if share % size == 0)


def log_every(steps: int, checkpoint_steps: int) -> int:
    """Steps over which the trainer averages a logged loss: about a hundredth of all, and a divisor of the checkpoints'.

    A checkpoint between two logged steps would lose part of the loss that the next one averages.
    """
    return next(each for each in range(max(1, steps // 100), 0, -1) if checkpoint_steps % each == 0)
