"""What the plans of stages that train have in common: models as they are trained, lengths, passes without gradient.

What is on the GPU follows the stages' code; FLOPs are counted as the stages count theirs: 2 x parameters a token read,
6 x a token trained on (Kaplan et al. 2020, §2.1), adapters or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from retort.config.training import OptimizerConfig
from retort.modeling.logprobs import MOST_SCORES
from retort.plan import trace
from retort.plan.setting import Setting
from retort.plan.trace import Bytes, Model


def trained(base: Model, config: OptimizerConfig, dtype: trace.Precision) -> Model:
    """`base` with the adapters that `config` asks for."""
    lora = getattr(config, "lora", None)
    return trace.describe(base.config, dtype, lora=lora, checkpointing=config.gradient_checkpointing)


def held(models: Iterable[Model]) -> int:
    """Bytes of the weights of all of them."""
    return sum(trace.weights(model).weights for model in models)


def scoring(model: Model, width: int, new_tokens: int, batch: int) -> Bytes:
    """Log-probabilities of at most `batch` responses at once under a frozen model, its weights left out."""
    rows = max(1, min(batch, MOST_SCORES // model.vocabulary // width))
    return trace.scoring_pass(model.frozen(), rows=rows, width=width, scored=min(new_tokens, width))


def micro(config: OptimizerConfig, on: Setting) -> int:
    """Rows of a pass with gradient."""
    whole = int(getattr(config, "batch_size", 0) or getattr(config, "minibatch_size", 1))
    whole = math.ceil(whole / on.processes)
    return min(getattr(config, "micro_batch_size", None) or whole, whole)


def new_tokens(on: Setting) -> int:
    """Limit of the responses that are trained on."""
    return max(on.config.teacher_responses.max_new_tokens, on.config.student_responses.max_new_tokens)


def width(on: Setting, most: int) -> int:
    """Longest prompt with response, of those that have at most `most` tokens."""
    return min(most, on.assume.longest_prompt + new_tokens(on))


def mean(on: Setting, most: int) -> float:
    """Mean length of a prompt with response."""
    return min(most, on.assume.prompt_tokens + on.assume.response(on.config.teacher_responses.max_new_tokens))
