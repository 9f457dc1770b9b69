"""Watching a student that learns from its own samples: held-out agreement, best weights, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from retort.config.data import AnswerType
from retort.config.methods import OnPolicyConfig
from retort.io.files import atomic_path, native_writes
from retort.io.rank import is_rank_zero
from retort.modeling.curves import Curves
from retort.modeling.process_group import process_group
from retort.trainers.ppo.weights import Weights, load_weights, snapshot
from retort.trainers.shared.agreement import Agree, agreement
from retort.trainers.shared.student import Student


@dataclass
class WatchState:
    """What a killed training needs to go on watching as if nothing had happened."""

    iteration: int = 0
    first_agreement: float | None = None
    """Before the first update."""
    best_agreement: float | None = None
    best_iteration: int = 0
    best: Weights = field(default_factory=dict)
    """Trained weights of that iteration; empty for the start's."""
    stale: int = 0
    """Measurements since the best one."""
    tokens: int = 0
    """Tokens of all samples that were trained on, prompts included."""
    flops: float = 0.0
    configured_flops: float = 0.0
    """Of the configured iterations, once they are done."""


@dataclass
class Watch:
    """Looks at the student after every iteration; B prompts are sampled in each."""

    student: Student
    config: OnPolicyConfig
    kind: AnswerType
    agree: Agree | None
    steps: int
    """Optimizer steps an iteration."""
    iterations: int
    """Most iterations."""
    extra_flops: float
    """Compute to spend after the configured iterations."""
    flops_per_token: float
    parameters: int
    state_folder: Path
    state: WatchState = field(default_factory=WatchState)
    trainer: Any = None
    """TRL's, once it is made."""

    def sampled(self, tokens: int) -> None:
        """Count an iteration's samples."""
        self.state.tokens += tokens
        self.state.flops += tokens * self.flops_per_token

    def begin(self, iteration: int, log: Callable[..., None]) -> None:
        """Measure the start, or go on from the checkpoint of `iteration`."""
        if iteration:
            file = self._file(iteration)
            with torch.serialization.safe_globals([WatchState]):  # a file out of a store runs no code of its own
                self.state = torch.load(file, weights_only=True, map_location="cpu")
        elif self.student.held_out:
            self._measure(log)

    def ended(self, iteration: int, log: Callable[..., None]) -> bool:
        """Look at the student after `iteration`; whether training is over."""
        self.state.iteration = iteration
        over = self._spent(iteration) or iteration >= self.iterations
        due = iteration % self.config.evaluate_every == 0 or over
        if self.student.held_out and due:
            self._measure(log)
            over = over or self.state.stale >= self.config.patience
        return over

    def save(self) -> None:
        """Write the state of this iteration, and remove those before the last."""
        if not is_rank_zero():
            return
        self.state_folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._file(self.state.iteration)) as temporary, native_writes():
            torch.save(self.state, temporary)
        for old in sorted(self.state_folder.glob("iteration-*.pt"))[:-3]:
            old.unlink()

    def restore_best(self) -> None:
        """Give the student the weights that agreed best, where that was watched."""
        if self.state.best:
            load_weights(self.model, self.state.best)

    @property
    def model(self) -> Any:
        """The student as it is trained."""
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _file(self, iteration: int) -> Path:
        return self.state_folder / f"iteration-{iteration:08d}.pt"

    def _spent(self, iteration: int) -> bool:
        """Whether the configured iterations are done and the extra compute is spent."""
        if iteration < self.config.iterations:
            return False
        if iteration == self.config.iterations:
            self.state.configured_flops = self.state.flops
        return self.state.flops >= self.state.configured_flops + self.extra_flops

    def _measure(self, log: Callable[..., None]) -> None:
        """Agreement with the vote on held-out prompts; keeps the best weights."""
        student, state, workers = self.student, self.state, process_group()
        prompts = student.held_out
        mine = workers.shard(len(prompts))
        with self.trainer.accelerator.autocast():
            samples = workers.gather(
                student.respond(
                    self.model,
                    [prompt.ids for prompt in prompts[mine]],
                    self.config,
                    temperature=self.config.evaluate_temperature,
                    count=len(prompts),
                    seed=0,
                )
            )
        measured = agreement(
            prompts, samples, tokenizer=student.tokenizer, ends=student.ends, kind=self.kind, agree=self.agree
        )
        log(state.iteration, agreement=measured)
        state.flops += (
            2.0
            * self.parameters
            * sum(len(prompt.ids) + len(one.ids) for prompt, one in zip(prompts, samples, strict=True))
        )
        if state.first_agreement is None:
            state.first_agreement = measured
        if state.best_agreement is None or measured > state.best_agreement:
            state.best_agreement, state.best_iteration, state.stale = measured, state.iteration, 0
            state.best = snapshot(self.model)
        else:
            state.stale += 1


def watching(watch: Watch, curves: Curves) -> Any:
    """The trainer's callback that has `watch` look at the student between iterations."""
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        """Ends training and writes what was watched beside the trainer's checkpoints, before them."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.begin(state.global_step // watch.steps, curves.log)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % watch.steps:
                return
            if watch.ended(state.global_step // watch.steps, curves.log):
                control.should_training_stop = True
            if control.should_save:
                watch.save()

    return Watching()
