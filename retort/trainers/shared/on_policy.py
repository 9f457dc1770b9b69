"""What trainers of TRL that learn from the student's own samples have in common here.

TRL's trainers draw samples by `generate` and shuffle prompts by a generator of their own. Here they get Retort's
sampler and its order of prompts, as PPO has them: samples depend on the seed and the iteration alone, so that a killed
training that goes on draws what an uninterrupted one would have drawn; every end token of a model ends a response; and
prompts are formatted as they are everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.config.methods import OnPolicyConfig
from retort.errors import TrainingError
from retort.modeling.curves import Curves
from retort.modeling.loading import load_model, model_size
from retort.modeling.process_group import process_group
from retort.plugins import Training
from retort.trainers.shared import course
from retort.trainers.shared.agreement import open_agreement
from retort.trainers.shared.arguments import checkpoints, trainer_arguments
from retort.trainers.shared.prompts import TrainingPrompt, in_order
from retort.trainers.shared.student import Student
from retort.trainers.shared.watch import Watch, watching


@dataclass(frozen=True)
class Method:
    """What is a method's own."""

    name: str
    make: Callable[[type, dict[str, Any], dict[str, Any]], Any]
    """Makes the trainer from the class of TRL's with Retort's sampler, arguments that all trainers of TRL take and
    those that all constructors take."""
    trainer: Callable[[], type]
    """TRL's class."""
    group: int
    """Responses to each prompt."""
    minibatch: int
    """Responses an optimizer step."""
    epochs: int
    """Passes over the responses of an iteration."""
    flops_per_token: Callable[[int], float]
    """Compute of one token of an iteration, of a student with so many parameters: sampled, scored and trained on."""
    figures: course.Figures
    """Curves by TRL's names of the figures."""
    logprobs: bool = False
    """Whether TRL's class is given log-probabilities beside the samples."""


@dataclass(frozen=True)
class OnPolicyResult:
    """Metrics of a training on the student's own samples."""

    iterations: int
    episodes: int
    first_agreement: float | None
    """Agreement with the vote on held-out prompts before the first update; None where it is not watched."""
    best_agreement: float | None
    best_iteration: int
    """Iteration whose student is the result; 0 is the student that it started from."""
    stopped_early: bool
    tokens: int
    """Tokens of all samples, prompts included."""
    flops: float
    """Compute of samples, what else reads them (reward, reference, teacher) and updates: 2 x parameters a forward
    token and 6 x a trained one."""
    extra_iterations: int = 0
    """Iterations that another student's compute added (`compute_of`)."""
    capped: bool = False
    """Whether `max_extra_steps` kept it below that compute."""


def result_of(watch: Watch, *, episodes: int) -> OnPolicyResult:
    """What a training that was watched came to; `episodes` are the responses of one iteration."""
    done = watch.state
    return OnPolicyResult(
        iterations=done.iteration,
        episodes=done.iteration * episodes,
        first_agreement=done.first_agreement,
        best_agreement=done.best_agreement,
        best_iteration=done.best_iteration if watch.student.held_out else done.iteration,
        stopped_early=done.iteration < watch.config.iterations,
        tokens=done.tokens,
        flops=done.flops,
        extra_iterations=max(done.iteration - watch.config.iterations, 0),
        capped=done.iteration == watch.iterations and done.flops < done.configured_flops + watch.extra_flops,
    )


def train(training: Training, student: Student, method: Method) -> Watch:
    """Train `student` and write it; what was watched is returned.

    It takes the configured iterations, or as many more as `extra_flops` pays for.

    Raises:
        TrainingError: a figure or a weight is not a finite number.
        InterruptionError: the process was told to go; its checkpoint is of the last iteration.
    """
    config: OnPolicyConfig = training.settings
    steps = method.epochs * config.prompts_per_iteration * method.group // method.minibatch
    parameters = model_size(student.model)
    each = method.flops_per_token(parameters)
    iterations = config.iterations + _most_extra(training, student, method, each)
    with open_agreement(training) as agree:
        watch = Watch(
            student=student,
            config=config,
            kind=training.answer,
            agree=agree,
            steps=steps,
            iterations=iterations,
            extra_flops=training.extra_flops,
            flops_per_token=each,
            parameters=parameters,
            state_folder=training.state / "watch",
        )

        def make(callbacks: Sequence[Any], curves: Curves) -> Any:
            trainer_class = with_sampler(
                method.trainer(), watch, config, seed=training.seed, group=method.group, logprobs=method.logprobs
            )
            arguments = trainer_arguments(
                config,
                method=method.name,
                batch=method.minibatch,
                key="minibatch_size",
                steps=iterations * steps,
                save_every=config.checkpoint_every * steps,
                log_every=steps,
                seed=training.seed,
                state=training.state,
            )
            rest = {
                "shuffle_dataset": False,  # the rows are in the order that they are drawn in
                "temperature": config.temperature,
                "max_completion_length": config.max_new_tokens,
                "disable_dropout": True,
            }
            made = method.make(
                trainer_class,
                arguments | rest,
                {
                    "model": student.model,
                    "train_dataset": _rows(student.prompts, config, iterations, training.seed),
                    "processing_class": student.tokenizer,
                    "callbacks": [*callbacks, watching(watch, curves)],
                },
            )
            watch.trainer = made
            return made

        trainer = course.run(
            make,
            method=method.name,
            steps=iterations * steps,
            folder=checkpoints(training.state, config),
            state=training.state,
            curves_folder=training.curves,
            figures=method.figures,
            rounds=steps,
        )
    if not watch.state.tokens:
        raise TrainingError(
            f"{method.name}: the installed trl did not ask for samples. Install the version of the lock."
        )
    watch.restore_best()
    course.save(trainer, student.tokenizer, training.out, adapted=config.lora is not None)
    return watch


def _most_extra(training: Training, student: Student, method: Method, each: float) -> int:
    """More iterations than `extra_flops` can pay for: as many as would be if every response were one token long."""
    if training.extra_flops <= 0:
        return 0
    config: OnPolicyConfig = training.settings
    prompt = sum(len(one.ids) for one in student.prompts) / len(student.prompts)
    least = config.prompts_per_iteration * method.group * (prompt + 1) * each
    most = int(training.extra_flops / least) + 1
    return most if training.max_extra_steps is None else min(most, training.max_extra_steps)


def _rows(prompts: Sequence[TrainingPrompt], config: OnPolicyConfig, iterations: int, seed: int) -> Any:
    """A row for each prompt of each iteration, in order: one epoch is the whole training."""
    from datasets import Dataset

    drawn = in_order(prompts, range(iterations * config.prompts_per_iteration), seed=seed)
    return Dataset.from_dict({"prompt": [prompt.text for prompt in drawn]})


def with_sampler(base: type, watch: Watch, config: OnPolicyConfig, *, seed: int, group: int, logprobs: bool) -> type:
    """A trainer of TRL's that formats prompts and samples as Retort does."""
    student = watch.student
    ids = {prompt.text: prompt.ids for prompt in student.prompts}

    class WithSampler(base):
        """TRL's trainer, its samples drawn by Retort."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [ids[prompt] for prompt in prompts], None, {}

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
            iteration = self.state.global_step // watch.steps
            with self.accelerator.autocast():
                samples = student.respond(
                    self.accelerator.unwrap_model(self.model),
                    prompt_ids,
                    config,
                    temperature=config.temperature,
                    count=config.prompts_per_iteration * group,
                    seed=seed * 1_000_003 + iteration,
                )
            tokens = sum(len(prompt) + len(one.ids) for prompt, one in zip(prompt_ids, samples, strict=True))
            watch.sampled(int(process_group().sum_figures({"tokens": float(tokens)})["tokens"]))
            found = [one.ids for one in samples]
            # Log-probabilities would be those of another sampler, to correct for its arithmetic.
            return (found, None) if logprobs else found

    return WithSampler


def frozen_start(training: Training, trainer: Any, *, beta: float) -> None:
    """Give a trainer what the student started from as its reference; with adapters that is the student without them."""
    trainer.beta = beta
    if beta == 0 or training.settings.lora is not None:
        return
    from trl.trainer.utils import add_fused_lm_head

    reference = load_model(Path(training.start))
    add_fused_lm_head(reference, temperature=training.settings.temperature)
    trainer.ref_model = trainer.accelerator.prepare_model(reference, evaluation_mode=True)
