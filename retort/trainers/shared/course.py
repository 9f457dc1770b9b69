"""One course of a TRL trainer: resumed from its last checkpoint, its figures drawn, its weights looked at and saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.errors import TrainingError
from retort.io.files import explain_writes
from retort.io.progress import Progress
from retort.modeling import preemption
from retort.modeling.curves import Curves
from retort.modeling.fsdp import save_full, to_local
from retort.modeling.process_group import process_group

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Figures = Mapping[str, str]
"""Names of curves by the names that the trainer logs figures under."""


def run(
    make: Callable[[Sequence[Any], Curves], Any],
    *,
    method: str,
    steps: int,
    folder: Path,
    state: Path,
    curves_folder: Path,
    figures: Figures,
    rounds: int = 1,
) -> Any:
    """Train to the end and return the trainer.

    Args:
        make: Makes the trainer, of the callbacks given; they come after the trainer's own.
        method: Name of the method, for progress and messages.
        steps: Optimizer steps.
        folder: Folder of checkpoints.
        state: Folder of resume state.
        curves_folder: Where curves are drawn.
        figures: Figures that are drawn, of those that the trainer logs.
        rounds: Optimizer steps of what cannot be left half done: a checkpoint in between would lose its samples. They
            are one step of the curves.

    Raises:
        TrainingError: a figure or a weight is not a finite number.
        InterruptionError: the process was told to go; its checkpoint is of the last step or round.
    """
    from transformers import PrinterCallback

    resume = last_checkpoint(folder)
    done = int(resume.name.split("-")[1]) if resume else 0
    curves = Curves(curves_folder, state, resume_step=done // rounds if resume else -1)
    with (
        preemption.deferred(),
        Progress(
            method,
            total=steps // rounds,
            unit="steps" if rounds == 1 else "iterations",
            done=done // rounds,
        ) as progress,
    ):
        trainer = make([_log(curves, progress, figures, rounds)], curves)
        trainer.remove_callback(PrinterCallback)  # it prints every figure to stdout
        with explain_writes(state, kept="training goes on from its last checkpoint"):
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        preemption.check()
    finite = all(bool(to_local(parameter).isfinite().all()) for parameter in trainer.model.parameters())
    if process_group().any(not finite):
        raise TrainingError(
            f"a weight is not a finite number after {trainer.state.global_step} steps. Lower {method}.learning_rate."
        )
    return trainer


def save(trainer: Any, tokenizer: PreTrainedTokenizerFast, out: Path, *, adapted: bool) -> None:
    """Write what was trained as a whole model, its adapters merged into the weights."""
    save_full(trainer.model.merge_and_unload() if adapted else trainer.model, tokenizer, out)


def tail_mean(trainer: Any, name: str = "loss") -> float:
    """Mean of a logged figure over the last tenth of the whole course, what was trained before a kill included."""
    values = [row[name] for row in trainer.state.log_history if name in row]
    tail = values[-max(1, len(values) // 10) :]
    return float(sum(tail) / len(tail))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer writes `trainer_state.json` last."""
    complete = [item.parent for item in folder.glob("checkpoint-*/trainer_state.json")]
    return max(complete, key=lambda folder: int(folder.name.split("-")[1]), default=None)


def _log(curves: Curves, progress: Progress, figures: Figures, rounds: int) -> Any:
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        """Passes the trainer's figures on to the curves; they refuse what is not finite."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                shown = {ours: logs[theirs] for theirs, ours in figures.items() if logs.get(theirs) is not None}
                curves.log(state.global_step // rounds, **shown)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress.update(state.global_step // rounds - progress.done)
            # Between two logged steps a checkpoint would lose part of the figures that the next one averages.
            due = state.global_step % args.logging_steps == 0 and state.global_step % rounds == 0
            if due and preemption.asked():
                control.should_save = control.should_training_stop = True

    return Log()
