"""Which models take part: where their weights are, and the engine that answers for each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from retort import plugins
from retort.config.base import Strict
from retort.config.endpoint import EndpointConfig
from retort.errors import ConfigError

NAME = r"^[a-z][a-z0-9_]*$"
"""Names of models, students, rewards and benchmarks: they become file names, and `-` joins them there."""


class EngineConfig(Strict):
    """What answers for a model; the base of every engine's settings."""

    type: str
    """Name of the engine."""

    WEIGHTS: ClassVar[bool] = True
    """Whether the model's weights are loaded from `source` here; without, somebody else has them."""
    ASKABLE: ClassVar[bool] = True
    """Whether it can be asked anything new."""
    IMAGE: ClassVar[Literal["train", "generate"]] = "train"
    """Image of pods in which it runs."""

    def sources(self) -> list[str]:
        """Files of the project that it reads."""
        return []


class TransformersEngineConfig(EngineConfig):
    """The model runs in this process through `transformers`."""

    type: Literal["transformers"] = "transformers"


class VLLMEngineConfig(EngineConfig):
    """`vllm serve` runs the model on this machine's GPUs for the length of the stage."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"gpu_memory_utilization", "concurrency", "start_timeout_s"})
    IMAGE: ClassVar[Literal["train", "generate"]] = "generate"

    type: Literal["vllm"]
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that one copy of the model is spread over."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """Share of GPU memory that vLLM may take."""
    concurrency: int = Field(256, ge=1)
    """Requests under way at once."""
    start_timeout_s: float = Field(900.0, gt=0)
    """Seconds until the server must answer."""


class OpenAIEngineConfig(EndpointConfig, EngineConfig):
    """The model is behind an OpenAI-compatible endpoint."""

    WEIGHTS: ClassVar[bool] = False

    type: Literal["openai"]


class RecordedEngineConfig(EngineConfig):
    """Responses that exist already in a file: a provider's batch output or someone else's samples."""

    WEIGHTS: ClassVar[bool] = False
    ASKABLE: ClassVar[bool] = False

    type: Literal["recorded"]
    path: str
    """JSONL (gzipped or not) or Parquet file with the responses."""
    format: Literal["responses", "gsm8k_solutions", "openai_batch"] = "responses"
    """`responses`: rows with a prompt (or prompt_id) and a response; `gsm8k_solutions`: OpenAI's example model
    solutions, several models a row; `openai_batch`: the output file of an OpenAI-compatible batch job."""

    def sources(self) -> list[str]:
        """The file."""
        return [self.path]


def _as_engine(value: Any) -> Any:
    """Settings of the engine that `type` names, Retort's own or another package's."""
    if isinstance(value, EngineConfig):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping with a type, one of {', '.join(plugins.names('engine'))}")
    return engine_type(str(value.get("type", "transformers"))).config.model_validate(value)


def engine_type(name: str) -> Any:
    """The registered engine `name` (`retort.engines.base.EngineType`).

    Raises:
        ValueError: there is none, or it does not import.
    """
    try:
        return plugins.load("engine", name)
    except ConfigError as error:
        raise ValueError(str(error)) from error


Engine = Annotated[SerializeAsAny[EngineConfig], BeforeValidator(_as_engine)]
"""Settings of one engine, told apart by `type`."""


class ModelConfig(Strict):
    """One model that the run does not make: the teacher, a base that students start from."""

    source: str | None = None
    """Folder with a Hugging Face model (safetensors), or a hub id; left out where an engine needs no weights here."""
    revision: str | None = None
    """Commit of the hub repository; pinned by the `models` stage when left out."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that weights are loaded and trained in."""
    pad_token: str | None = None
    """Token of the vocabulary to pad with, for a tokenizer without one (Llama 3: <|finetune_right_pad_id|>)."""
    chat_template: str | None = None
    """File with a Jinja chat template, for a tokenizer without one."""
    engine: Engine = TransformersEngineConfig()
    """What answers for it: `transformers` in the stage's process, `vllm`, an `openai` endpoint, a `recorded` file, or
    one of your own."""

    @model_validator(mode="after")
    def _weights_have_a_source(self) -> ModelConfig:
        if self.engine.WEIGHTS and self.source is None:
            raise ValueError(f"source: say which folder or hub model the engine {self.engine.type} runs")
        if not self.engine.WEIGHTS and self.source is not None:
            raise ValueError(
                f"source: the engine {self.engine.type} has no use for weights here; what it answers as is said in "
                "engine.model or engine.path"
            )
        return self
