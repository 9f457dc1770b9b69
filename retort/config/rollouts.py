"""What samples from a student while it is trained: Retort's own sampler, or vLLM whose weights follow the student's."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from retort.config.models import Image, TransformersEngineConfig, VLLMEngineConfig

SET_FOR_ROLLOUTS = frozenset({"enable_lora", "max_lora_rank", "max_loras", "max_cpu_loras", "worker_extension_cls"})
"""Arguments of `vllm serve` that Retort gives itself where the weights change."""


class VLLMRolloutConfig(VLLMEngineConfig):
    """`vllm serve` samples the rollouts beside the trainer, on its GPU, with the policy's weights after each update."""

    NOT_CONTENT: ClassVar[frozenset[str]] = VLLMEngineConfig.NOT_CONTENT | {"max_difference"}

    gpu_memory_utilization: float = Field(0.3, gt=0, le=1)
    """Share of GPU memory that vLLM may take all the time; the trainer has the rest, and it must be free when the
    server starts."""
    max_difference: float | None = Field(None, gt=0)
    """Mean difference in nats a token between the server's and the trainer's log-probabilities above which training
    stops: it would learn from another model's samples. Left out: 0.001 in float32, 0.2 in bfloat16."""

    @field_validator("args")
    @classmethod
    def _arguments_of_updates_are_set_by_retort(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name in SET_FOR_ROLLOUTS:
                raise ValueError(f"{name!r} is given by Retort itself, for the weights change here")
        return values


class AutoRolloutConfig(VLLMRolloutConfig):
    """`vllm` where a GPU and vLLM are, else `transformers`. Each writes other responses from the same seeds."""

    IMAGE: ClassVar[Image] = "either"

    type: Literal["auto"]  # type: ignore[assignment]


RolloutEngine = Annotated[TransformersEngineConfig | VLLMRolloutConfig | AutoRolloutConfig, Field(discriminator="type")]
"""Settings of what samples from a student in training, told apart by `type`."""
