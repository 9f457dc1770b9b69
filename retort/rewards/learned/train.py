"""Training the reward model: binary cross-entropy on pointwise pseudo-labels, best state by held-out AUC, resumable.

Held-out prompts are halved by their ids: one half chooses the step and fits the calibration, the other is only
measured on, so that the gate's figures are not those that were selected for.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from retort.config.training import RewardConfig
from retort.io.progress import Progress
from retort.modeling import preemption
from retort.modeling.checkpoint import Checkpoints
from retort.modeling.curves import Curves
from retort.modeling.fsdp import as_dtensor_like, full_state, is_sharded, load_optimizer, shard, summon_full_params
from retort.modeling.loading import default_device
from retort.modeling.nonfinite import stop_training
from retort.modeling.process_group import process_group
from retort.rewards.learned.calibration import platt_scaling
from retort.rewards.learned.examples import Examples
from retort.rewards.learned.loss import class_weights, every_token_loss, last_token_loss
from retort.rewards.learned.model import RewardModel
from retort.rewards.learned.quality import measure


def train_reward(
    model: RewardModel,
    train: Examples,
    select: Examples,
    config: RewardConfig,
    *,
    seed: int,
    state: Path,
    curves_folder: Path,
) -> int:
    """Train `model` in place; it ends with the step of best AUC on `select`, calibrated there.

    Returns:
        The step that was kept.

    Raises:
        TrainingError: a weight, the loss or a gradient is not a finite number; the step's batch is saved.
        InterruptionError: the process was told to go; its checkpoint is of the last step.
    """
    torch.manual_seed(seed)
    if config.train_trunk and config.lora is None:
        # Most updates of a bfloat16 weight are smaller than its last bit and would be lost (Micikevicius et al. 2018,
        # §3.1): float32 copies are trained, and the trunk's own type comes back before it is calibrated and measured.
        model.trunk.float()
    model.feature_mean.copy_(train.features.mean(dim=0))
    model.feature_scale.copy_(train.features.std(dim=0).clamp(min=1e-3))
    trained = _sharded(model) if is_sharded(config) else model
    optimizer = _optimizer(trained, config)
    weights = class_weights(train.labels, config.class_weight)
    checkpoints = Checkpoints(state)
    start = 0
    best: dict[str, Any] = {"auc": -1.0, "step": 0, "model": None}
    if (saved := checkpoints.load()) is not None:
        start, best = saved["step"], saved["best"]
        held = trained.state_dict()
        trained.load_state_dict({name: as_dtensor_like(value, held[name]) for name, value in saved["model"].items()})
        load_optimizer(optimizer, saved["optimizer"])
    curves = Curves(curves_folder, state, resume_step=start)
    with (
        preemption.deferred(),
        Progress("reward", total=config.steps, unit="steps", done=start) as progress,
    ):
        for step in range(start, config.steps):
            loss = _step(trained, optimizer, train, config, weights, step=step, seed=seed, state=state)
            progress.update(loss=loss)
            measured = (step + 1) % config.evaluate_steps == 0 or step + 1 == config.steps
            if measured:
                with summon_full_params(trained):
                    auc = _auc(trained, select, rows_of_a_pass(config))
                curves.log(step + 1, loss=loss, auc=auc)
                if auc > best["auc"]:
                    best = {"auc": auc, "step": step + 1, "model": _copy(trained)}
            if measured or preemption.asked():
                payload = {"best": best, "model": _copy(trained), "optimizer": optimizer.state_dict()}
                checkpoints.save(step + 1, {"step": step + 1, **full_state(payload)})
            preemption.check()
    model.to(default_device()).load_state_dict(full_state(best["model"], everywhere=True))
    if config.lora is None:
        model.to_compute_dtype()
    model.eval()
    rows = rows_of_a_pass(config)
    scores = model.score_tokens(select.tokens, select.features, batch_size=rows).clamp(1e-6, 1 - 1e-6)
    temperature, bias = platt_scaling([int(label) for label in select.labels], torch.logit(scores).tolist())
    model.temperature.fill_(temperature)
    model.bias.fill_(bias)
    return int(best["step"])


def _sharded(model: RewardModel) -> RewardModel:
    """A copy of `model` that lies sharded on the device, to train; `model` itself waits on the CPU."""
    copied = copy.deepcopy(model.cpu(), {id(model.likelihood_models): model.likelihood_models})
    shard(copied, copied.trunk, methods=("logits", "token_logits"))
    return copied


def _optimizer(model: RewardModel, config: RewardConfig) -> torch.optim.AdamW:
    groups = [{"params": model.head_parameters(), "lr": config.head_learning_rate or config.learning_rate}]
    for parameter in model.trunk.parameters():
        parameter.requires_grad_(config.train_trunk and parameter.requires_grad)  # adapters freeze what they adapt
    if config.train_trunk:
        trunk = [parameter for parameter in model.trunk.parameters() if parameter.requires_grad]
        groups.append({"params": trunk, "lr": config.learning_rate})
    if config.gradient_checkpointing:
        model.trunk.activation_checkpointing_enable()
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _step(
    model: RewardModel,
    optimizer: torch.optim.AdamW,
    train: Examples,
    config: RewardConfig,
    weights: tuple[float, float] | None,
    *,
    step: int,
    seed: int,
    state: Path,
) -> float:
    """One optimizer step; its mean loss."""
    model.train()
    # The batch is a function of the step, so a resumed run sees the same data.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    index = torch.randint(len(train), (min(config.batch_size, len(train)),), generator=generator)
    for group in optimizer.param_groups:
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        group["lr"] = group["peak"] * warm * (1 - step / config.steps)
    optimizer.zero_grad()
    total, workers = 0.0, process_group()
    for part, counts in workers.passes(index, config.micro_batch_size or len(index)):
        some = train.only(part.tolist())
        logits, loss = _forward(model, some, weights)
        loss = loss * (counts * len(part) / len(index))
        if not torch.isfinite(loss):
            seen = {"features": some.features, "logits": logits}
            _stop(model, some, seen, ("loss", loss), step, state)
        loss.backward()
        total += loss.item()
    parameters = [p for p in model.parameters() if p.requires_grad]
    workers.sum_gradients(parameters)
    norm: Tensor = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = full_state(norm, everywhere=True)
    if not torch.isfinite(norm):  # seen before clipping, which would spread it over every gradient
        _stop(model, train.only(index.tolist()), {}, ("gradient norm", norm), step, state)
    torch.nn.utils.clip_grads_with_norm_(parameters, config.max_grad_norm, norm)
    optimizer.step()
    return workers.sum_figures({"loss": total})["loss"]


def _forward(model: RewardModel, some: Examples, weights: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    """Logits and mean loss of some examples."""
    prompts, responses = (list(column) for column in zip(*some.tokens, strict=True))
    if some.token_features is None:
        logits = model.logits(prompts, responses, some.features)
        return logits, last_token_loss(logits, some.labels.to(logits.device), weights)
    logits, rows = model.token_logits(prompts, responses, list(some.token_features))
    return logits, every_token_loss(logits, rows, some.labels.to(logits.device), weights)


def _stop(
    model: RewardModel,
    some: Examples,
    tensors: dict[str, Tensor],
    found: tuple[str, Tensor],
    step: int,
    state: Path,
) -> NoReturn:
    stop_training(
        "reward",
        step=step + 1,
        modules={"reward model": model},
        tensors=tensors,
        found=found,
        batch=list(some.rows),
        state=state,
        remedy="Lower reward.learning_rate, or look at the batch for extreme examples.",
    )


def rows_of_a_pass(config: RewardConfig) -> int:
    """Examples of a forward pass, in training and in measuring: what fits with a gradient fits without one."""
    return config.micro_batch_size or config.batch_size


def _auc(model: RewardModel, select: Examples, rows: int) -> float:
    model.eval()
    scores = model.score_tokens(select.tokens, select.features, batch_size=rows)
    auc = measure([int(label) for label in select.labels], scores.tolist()).auc
    return 0.5 if auc is None else auc


def _copy(model: RewardModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
