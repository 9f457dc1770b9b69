"""Rejection sampling as a training method: of several responses to each prompt, teach those that a reward likes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retort.config.methods import RejectionConfig
from retort.plugins import Method, Reward, Training

if TYPE_CHECKING:
    from retort.trainers.sft.examples import Example


@dataclass(frozen=True)
class RejectionResult:
    """Metrics of a fine-tuning on selected responses."""

    steps: int
    scored: int
    """Responses that were scored."""
    prompts: int
    """Prompts that they answer."""
    examples: int
    """Responses that were taught, of those that are short enough."""
    too_long: int
    """Examples left out because they exceed `max_length`."""
    mean_reward: float
    """Of all scored responses."""
    taught_reward: float
    """Of those that were chosen."""
    loss: float
    """Mean training loss (nats a token) over the last tenth of the steps."""
    tokens: int
    """Tokens of all examples trained on, prompts included."""
    flops: float
    """Compute of sampling, scoring and training, 2 x parameters a forward token and 6 x a trained one."""
    extra_steps: int = 0
    """Optimizer steps that another student's compute added (`compute_of`)."""
    capped: bool = False
    """Whether `max_extra_steps` kept it below that compute."""


@dataclass(frozen=True)
class Candidate:
    """A whole response that may be taught."""

    prompt_id: str
    prompt: str
    response: str


def train(training: Training) -> RejectionResult:
    """Sample or read the responses, score them, and fine-tune on the best of each prompt.

    Raises:
        InputError: no response ended by itself, or none is worth `min_reward`; or a prompt is too long.
        TrainingError: a reward is not a finite number; see also `retort.trainers.sft.train.train_sft`.
    """
    from retort.errors import InputError
    from retort.trainers.sft.train import train_sft

    config: RejectionConfig = training.settings
    assert training.reward is not None, "the method says that it is trained against one"
    candidates, sampling_flops = _teacher_candidates(training) if config.source == "teacher" else _own(training)
    if not candidates:
        raise InputError(
            f"students.{training.student}: no response to a training prompt ended by itself, so none can be taught",
            file=training.prompts["train"],
            field="prompt",
            remedy="Raise max_new_tokens, or start from a student that ends its responses",
        )
    reward = training.reward()
    scores = _scores(reward, candidates)
    examples, chosen = select(candidates, scores, best=config.best_per_prompt, least=config.min_reward)
    if not examples:
        raise InputError(
            f"students.{training.student}: none of {len(candidates)} whole responses to training prompts is worth "
            f"min_reward {config.min_reward}; the best is worth {max(scores):.4g}",
            file=training.prompts["train"],
            field="prompt",
            remedy="Lower min_reward, sample more (samples, max_new_tokens), or start from a better student",
        )
    done = train_sft(
        training.start,
        examples,
        config,
        method="rejection",
        extra_flops=training.extra_flops,
        max_extra_steps=training.max_extra_steps,
        seed=training.seed,
        state=training.state,
        curves_folder=training.curves,
        out=training.out,
    )
    # As many tokens as the reward would be given; its own tokenizer may cut them otherwise.
    scored_flops = reward.flops_per_token * _tokens(training, candidates)
    return RejectionResult(
        steps=done.steps,
        scored=len(candidates),
        prompts=len({one.prompt_id for one in candidates}),
        examples=done.examples,
        too_long=done.too_long,
        mean_reward=sum(scores) / len(scores),
        taught_reward=sum(chosen) / len(chosen),
        loss=done.loss,
        tokens=done.tokens,
        flops=done.flops + sampling_flops + scored_flops,
        extra_steps=done.steps - config.steps,
        capped=done.capped,
    )


def select(
    candidates: Sequence[Candidate], scores: Sequence[float], *, best: int, least: float | None
) -> tuple[list[Example], list[float]]:
    """The `best` different responses to each prompt that are worth at least `least`, and what they are worth.

    The order is that of the prompts, then of the scores; of equal ones the earlier sample comes first.
    """
    from retort.trainers.sft.examples import Example

    by_prompt: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(candidates):
        by_prompt[one.prompt_id].append(place)
    chosen: list[int] = []
    for places in by_prompt.values():
        first = list({candidates[place].response: place for place in reversed(places)}.values())[::-1]
        good = [place for place in sorted(first) if least is None or scores[place] >= least]
        chosen += sorted(good, key=lambda place: -scores[place])[:best]
    examples = [
        Example(candidates[place].prompt_id, candidates[place].prompt, candidates[place].response) for place in chosen
    ]
    return examples, [scores[place] for place in chosen]


def _scores(reward: Reward, candidates: Sequence[Candidate]) -> list[float]:
    """What each candidate is worth, all responses to a prompt being scored together."""
    from retort.modeling.process_group import process_group
    from retort.trainers.shared.scores import checked_scores

    prompts, responses = [one.prompt for one in candidates], [one.response for one in candidates]
    found = process_group().from_first(
        lambda: checked_scores(
            reward.score(prompts, responses, [True] * len(candidates)), reward.name, prompts, responses
        )
    )
    return [float(one) for one in found]


def _teacher_candidates(training: Training) -> tuple[list[Candidate], float]:
    """The teacher's whole responses; they cost nothing more."""
    from retort.io.tables import PROMPTS, RESPONSES, read_table, read_tables
    from retort.trainers.sft.examples import told_responses

    told = told_responses(
        read_table(training.prompts["train"], PROMPTS),
        read_tables(list(training.teacher_responses), RESPONSES),
        [],
        training.answer,
    )
    return [
        Candidate(prompt["prompt_id"], prompt["prompt"], one.row["response"]) for prompt, found in told for one in found
    ], 0.0


def _own(training: Training) -> tuple[list[Candidate], float]:
    """The student's own whole samples, and what they cost; a killed call goes on with what is missing."""
    from retort.modeling.process_group import process_group

    # Of several processes the first samples: one log of what is there already, as in a stage that only samples.
    return process_group().from_first(lambda: _sampled(training))


def _sampled(training: Training) -> tuple[list[Candidate], float]:
    from retort.config.data import SamplingConfig
    from retort.engines.base import plan_requests
    from retort.engines.local import LocalEngine
    from retort.engines.log import answer
    from retort.modeling.loading import context_length
    from retort.text.finish_reasons import is_whole
    from retort.trainers.shared.prompts import train_prompts

    config: RejectionConfig = training.settings
    sampling = SamplingConfig(
        temperatures=[config.temperature],
        samples=config.samples,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.generation_batch_size,
    )
    with LocalEngine(training.start, file=str(training.prompts["train"])) as engine:
        prompts = train_prompts(training, engine.tokenizer, context_length(engine.weights))[: config.max_prompts]
        rows = [{"prompt_id": one.prompt_id, "prompt": one.text} for one in prompts]
        requests = plan_requests(rows, sampling, seed=training.seed, stage=f"rejection-{training.student}")
        log = training.state / "samples.jsonl"
        responses = answer(engine, requests, sampling, log, words=f"{training.student}: samples")
        size = engine.parameters or 0
    texts = {one.prompt_id: one.text for one in prompts}
    tokens = sum(one.prompt_tokens + one.response_tokens for one in responses)
    whole = [
        Candidate(one.prompt_id, texts[one.prompt_id], one.response) for one in responses if is_whole(one.finish_reason)
    ]
    return whole, 2.0 * size * tokens


def _tokens(training: Training, candidates: Sequence[Candidate]) -> int:
    from retort.modeling.chat import prompt_ids, response_ids
    from retort.modeling.loading import load_tokenizer

    tokenizer = load_tokenizer(training.start)
    lengths = {one.prompt_id: len(prompt_ids(tokenizer, one.prompt)) for one in candidates}
    return sum(lengths[one.prompt_id] + len(response_ids(tokenizer, one.response)) for one in candidates)


def reads(config: RejectionConfig) -> frozenset[Any]:
    """The teacher's responses, where they are what is selected from; else prompts that no teacher answers too."""
    return frozenset({"teacher_responses" if config.source == "teacher" else "unlabelled"})


METHOD = Method(
    "rejection",
    RejectionConfig,
    train,
    reads=reads,
    rewarded=True,
    extra_compute=True,
    summary="Fine-tune on the responses, own or the teacher's, that a reward likes best (rejection sampling).",
    plan="retort.plan.rejection:plan",
    curves=("loss",),
    figures=("steps", "examples", "taught_reward"),
)
