"""What GRPO and RLOO share: a reward as TRL wants it, their result, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from retort.config.methods import GroupConfig
from retort.modeling.chat import response_text
from retort.plugins import Reward, Training
from retort.trainers.shared.on_policy import Method, train
from retort.trainers.shared.scores import checked_scores
from retort.trainers.shared.student import Student, load_student


@dataclass(frozen=True)
class GroupResult:
    """Metrics of a training against a reward on groups of responses."""

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
    """Compute of samples, scoring and updates, 2 x parameters a forward token and 6 x a trained one."""


def reward_function(reward: Reward, student: Student, *, missing_eos_penalty: float) -> Callable[..., list[float]]:
    """A reward of Retort's as a reward function of TRL's, which is given lists of N prompts, texts and token ids.

    The function raises a TrainingError for a score that is not a finite number; it names the response.
    """

    def score(prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        # Not TRL's text: every end token of the model is cut off, and nothing else is.
        texts = [response_text(student.tokenizer, list(ids), student.ends) for ids in completion_ids]
        finished = [ids[-1] in student.ends for ids in completion_ids]
        scores = checked_scores(reward.score(prompts, texts, finished), reward.name, prompts, texts)
        return [float(one) - missing_eos_penalty * (not end) for one, end in zip(scores, finished, strict=True)]

    score.__name__ = "reward"
    return score


def train_groups(
    training: Training,
    name: str,
    trainer: Callable[[], type],
    make: Callable[[type, dict[str, Any], dict[str, Any]], Any],
    *,
    beta: float,
    logprobs: bool = False,
) -> GroupResult:
    """Train a student against its reward by one of TRL's trainers that compare the responses to one prompt.

    Args:
        training: What the method is given.
        name: Name of the method.
        trainer: TRL's class.
        make: Makes it; see `Method.make`. The reward function is `reward_funcs`.
        beta: Weight of the KL to the start: with 0 no reference reads the samples.
        logprobs: Whether TRL's class is given log-probabilities beside the samples.

    Raises:
        InputError: a prompt is too long for the student, or none that is held out has a label.
        TrainingError: a reward, figure or weight is not a finite number.
    """
    config: GroupConfig = training.settings
    assert training.reward is not None, "the method says that it is trained against one"
    student, reward = load_student(training), training.reward()
    function = reward_function(reward, student, missing_eos_penalty=config.missing_eos_penalty)

    def flops_per_token(parameters: int) -> float:
        # Sampled once; read again where several updates share a round, or as the reference; trained on once an epoch.
        passes = 1 + (config.minibatch < config.episodes or config.epochs > 1) + (beta > 0)
        return 2.0 * passes * parameters + reward.flops_per_token + 6.0 * config.epochs * parameters

    watch = train(
        training,
        student,
        Method(
            name,
            lambda kind, arguments, rest: make(kind, arguments, rest | {"reward_funcs": function}),
            trainer,
            group=config.responses_per_prompt,
            minibatch=config.minibatch,
            epochs=config.epochs,
            flops_per_token=flops_per_token,
            figures={
                "reward": "reward",
                "reward_std": "reward_std",
                "frac_reward_zero_std": "solved_groups",
                "kl": "kl",
                "entropy": "entropy",
                "completions/mean_length": "response_tokens",
                "completions/clipped_ratio": "cut_off",
                "loss": "loss",
                "learning_rate": "learning_rate",
            },
            logprobs=logprobs,
        ),
    )
    done = watch.state
    return GroupResult(
        iterations=done.iteration,
        episodes=done.iteration * config.episodes,
        first_agreement=done.first_agreement,
        best_agreement=done.best_agreement,
        best_iteration=done.best_iteration if student.held_out else done.iteration,
        stopped_early=done.iteration < config.iterations,
        tokens=done.tokens,
        flops=done.flops,
    )
