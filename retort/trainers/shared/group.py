"""What GRPO and RLOO share: a reward as TRL wants it, the trainer around it, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from retort.config.methods import GroupConfig
from retort.modeling.chat import response_text
from retort.modeling.lora import adapter_settings
from retort.plugins import Reward, Training
from retort.trainers.shared.on_policy import Method, OnPolicyResult, frozen_start, result_of, train
from retort.trainers.shared.scores import checked_scores
from retort.trainers.shared.student import Student, load_student


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
    training: Training, algorithm: str, *, beta: float, logprobs: bool = False, **own: Any
) -> OnPolicyResult:
    """Train a student against its reward by one of TRL's trainers that compare the responses to one prompt.

    Args:
        training: What the method is given.
        algorithm: `GRPO` or `RLOO`: TRL's classes are named for it.
        beta: Weight of the KL to the start: with 0 no reference reads the samples.
        logprobs: Whether TRL's class is given log-probabilities beside the samples.
        own: Fields of TRL's configuration that are the algorithm's own.

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

    def make(kind: type, arguments: dict[str, Any], rest: dict[str, Any]) -> Any:
        import trl

        made = kind(
            args=getattr(trl, f"{algorithm}Config")(
                **arguments,
                num_generations=config.responses_per_prompt,
                generation_batch_size=config.episodes,
                num_iterations=config.epochs,
                epsilon=config.clip,
                beta=0.0,  # the reference is given below: TRL would load it by its name alone
                **own,
            ),
            **rest,
            reward_funcs=function,
            peft_config=adapter_settings(config.lora, rest["model"]),
        )
        frozen_start(training, made, beta=beta)
        return made

    def trainer() -> type:
        import trl

        found: type = getattr(trl, f"{algorithm}Trainer")
        return found

    watch = train(
        training,
        student,
        Method(
            algorithm.lower(),
            make,
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
    return result_of(watch, episodes=config.episodes)
