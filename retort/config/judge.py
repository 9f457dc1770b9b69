"""Settings of the judge of open-ended responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from retort.config.base import Strict
from retort.config.models import ModelConfig


class JudgeConfig(Strict):
    """An LLM that judges open-ended responses (`answer: open`), where there is no answer to vote on."""

    model: ModelConfig
    """Who judges: a folder, an endpoint, or judgements that exist already (`engine.type: recorded`, such as the
    `calls.parquet` of an earlier run)."""
    method: Literal["pairwise", "rubric"] = "pairwise"
    """`pairwise`: responses to a prompt are compared two at a time, each pair in both orders; `rubric`: each response
    is graded on its own."""
    criteria: str = "helpfulness, relevance, accuracy, depth, and how well the response follows the instruction"
    """What to judge by."""
    opponents: int = Field(4, ge=1)
    """Pairwise: other responses that each one is compared with; all of them where there are no more."""
    scale: int = Field(10, ge=2, le=100)
    """Rubric: the best grade; the worst is 1."""
    threshold: float = Field(7.0, gt=1)
    """Rubric: least mean grade of a response that agrees."""
    samples: int = Field(1, ge=1)
    """Rubric: grades asked for each response, which are averaged; more than one needs a temperature."""
    temperature: float = Field(0.0, ge=0, le=2)
    """Temperature of the judge."""
    coded: bool = True
    """Whether the verdict must repeat the call's code; turn it off only for a judge that cannot."""
    max_new_tokens: int = Field(512, ge=1)
    """Tokens after which the judge is cut off; a judgement that is cut off has no verdict."""
    batch_size: int = Field(16, ge=1)
    """Judgements generated at once by the `transformers` engine."""

    @model_validator(mode="after")
    def _grades_can_pass_and_differ(self) -> JudgeConfig:
        if self.threshold > self.scale:
            raise ValueError(f"threshold {self.threshold:g} is above the best grade, {self.scale}")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples above 1 need a temperature above 0: greedy grades are all the same")
        return self
