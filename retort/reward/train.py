"""Training the reward model: binary cross-entropy on pointwise pseudo-labels, best state by held-out AUC, resumable.

Held-out prompts are halved by their ids: one half chooses the step and fits the calibration, the other is only
measured on, so that the gate's figures are not those that were selected for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from retort.checkpoint import Checkpoints
from retort.config.training import RewardConfig
from retort.curves import Curves
from retort.errors import TrainingError
from retort.progress import Progress
from retort.reward.model import RewardModel
from retort.reward.quality import measure, platt_scaling


@dataclass(frozen=True)
class Examples:
    """Labelled responses, tokenized for the trunk and with the judges' features."""

    rows: list[dict[str, Any]]
    tokens: list[tuple[list[int], list[int]]]
    features: Tensor
    labels: Tensor

    def only(self, index: Sequence[int]) -> Examples:
        """Some of the examples."""
        return Examples(
            [self.rows[i] for i in index], [self.tokens[i] for i in index], self.features[index], self.labels[index]
        )


def prepare(model: RewardModel, rows: Sequence[dict[str, Any]], max_length: int) -> Examples:
    """Tokenize rows of REWARD_EXAMPLES and compute their features; those too long for the trunk are left out."""
    kept, tokens = [], []
    for row in rows:
        pair = model.encode(row["prompt"], row["response"], row["finished"])
        if len(pair[0]) + len(pair[1]) <= max_length:
            kept.append(row)
            tokens.append(pair)
    columns = [[row[name] for row in kept] for name in ("prompt", "response", "finished")]
    table = model.features(columns[0], columns[1], columns[2]) if kept else torch.zeros(0, len(model.feature_mean))
    return Examples(kept, tokens, table, torch.tensor([float(row["label"]) for row in kept]))


def held_out_part(prompt_id: str) -> str:
    """`select` or `gate`: which half of the held-out prompts one belongs to."""
    return "select" if hashlib.sha256(prompt_id.encode()).digest()[0] % 2 else "gate"


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
        TrainingError: the loss is not a finite number.
    """
    torch.manual_seed(seed)
    model.feature_mean.copy_(train.features.mean(dim=0))
    model.feature_scale.copy_(train.features.std(dim=0).clamp(min=1e-3))
    optimizer = _optimizer(model, config)
    checkpoints = Checkpoints(state)
    start = 0
    best: dict[str, Any] = {"auc": -1.0, "step": 0, "model": None}
    if (saved := checkpoints.load()) is not None:
        start, best = saved["step"], saved["best"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    with (
        Curves(curves_folder, state, resume_step=start) as curves,
        Progress("reward", total=config.steps, unit="steps", done=start) as progress,
    ):
        for step in range(start, config.steps):
            loss = _step(model, optimizer, train, config, step=step, seed=seed)
            progress.update(loss=loss)
            if not torch.isfinite(torch.tensor(loss)):
                raise TrainingError(f"reward loss is {loss} at step {step + 1}. Lower reward.learning_rate.")
            if (step + 1) % config.evaluate_steps == 0 or step + 1 == config.steps:
                auc = _auc(model, select)
                curves.log(step + 1, loss=loss, auc=auc)
                if auc > best["auc"]:
                    best = {"auc": auc, "step": step + 1, "model": _copy(model)}
                checkpoints.save(
                    step + 1,
                    {"step": step + 1, "best": best, "model": _copy(model), "optimizer": optimizer.state_dict()},
                )
    model.load_state_dict(best["model"])
    model.eval()
    scores = model.score_tokens(select.tokens, select.features, batch_size=256).clamp(1e-6, 1 - 1e-6)
    temperature, bias = platt_scaling([int(label) for label in select.labels], torch.logit(scores).tolist())
    model.temperature.fill_(temperature)
    model.bias.fill_(bias)
    return int(best["step"])


def _optimizer(model: RewardModel, config: RewardConfig) -> torch.optim.AdamW:
    groups = [{"params": model.head_parameters(), "lr": config.head_learning_rate or config.learning_rate}]
    for parameter in model.trunk.parameters():
        parameter.requires_grad_(config.train_trunk and parameter.requires_grad)  # adapters freeze what they adapt
    if config.train_trunk:
        trunk = [parameter for parameter in model.trunk.parameters() if parameter.requires_grad]
        groups.append({"params": trunk, "lr": config.learning_rate})
    if config.gradient_checkpointing:
        model.trunk.gradient_checkpointing_enable()
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _step(
    model: RewardModel, optimizer: torch.optim.AdamW, train: Examples, config: RewardConfig, *, step: int, seed: int
) -> float:
    model.train()
    # The batch is a function of the step, so a resumed run sees the same data.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    index = torch.randint(len(train.tokens), (min(config.batch_size, len(train.tokens)),), generator=generator)
    for group in optimizer.param_groups:
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        group["lr"] = group["peak"] * warm * (1 - step / config.steps)
    optimizer.zero_grad()
    total = 0.0
    for part in index.split(config.micro_batch_size or len(index)):
        rows = [train.tokens[i] for i in part.tolist()]
        logits = model.logits([row[0] for row in rows], [row[1] for row in rows], train.features[part])
        loss = binary_cross_entropy_with_logits(logits, train.labels[part].to(logits.device))
        loss = loss * (len(part) / len(index))
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], config.max_grad_norm)
    optimizer.step()
    return total


def _auc(model: RewardModel, select: Examples) -> float:
    model.eval()
    scores = model.score_tokens(select.tokens, select.features, batch_size=256)
    auc = measure([int(label) for label in select.labels], scores.tolist()).auc
    return 0.5 if auc is None else auc


def _copy(model: RewardModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
