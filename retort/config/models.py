"""Which models take part: where their weights are, and the engine that answers for each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from retort import plugins
from retort.config.base import Strict
from retort.config.endpoint import EndpointConfig
from retort.errors import ConfigError

NAME = r"^[a-z][a-z0-9_]*$"
"""Names of models, students, rewards and benchmarks: they become file names, and `-` joins them there."""


Image = Literal["train", "generate", "either"]
"""Images by role: with vLLM (`generate`), without, or with it where the place has such an image."""


class EngineConfig(Strict):
    """What answers for a model; the base of every engine's settings."""

    type: str
    """Name of the engine."""

    WEIGHTS: ClassVar[bool] = True
    """Whether the model's weights are loaded from `source` here; without, somebody else has them."""
    ASKABLE: ClassVar[bool] = True
    """Whether it can be asked anything new."""
    IMAGE: ClassVar[Image] = "train"
    """Image of pods in which it runs."""

    def sources(self) -> list[str]:
        """Files of the project that it reads."""
        return []


class TransformersEngineConfig(EngineConfig):
    """The model runs in this process through `transformers`."""

    type: Literal["transformers"] = "transformers"


SET_BY_RETORT = frozenset(
    {
        "model",
        "host",
        "port",
        "uds",
        "served_model_name",
        "dtype",
        "tensor_parallel_size",
        "gpu_memory_utilization",
        "max_num_seqs",
        "max_model_len",
        "generation_config",
        "logprobs_mode",
        "revision",
        "tokenizer",
        "tokenizer_revision",
        "api_key",
        "ssl_keyfile",
        "ssl_certfile",
        "root_path",
    }
)
"""Arguments of `vllm serve` that Retort gives itself."""


class VLLMEngineConfig(EngineConfig):
    """`vllm serve` runs the model on this machine's GPUs for the length of the stage."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset(
        {
            "program",
            "gpu_memory_utilization",
            "concurrency",
            "max_model_len",
            "start_timeout_s",
            "stall_timeout_s",
            "environment",
        }
    )
    IMAGE: ClassVar[Image] = "generate"

    type: Literal["vllm"]
    program: str = "vllm"
    """The program, by name or path: vLLM may have an environment of its own, beside Retort's."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that one copy of the model is spread over."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """Share of GPU memory that vLLM may take."""
    concurrency: int = Field(256, ge=1)
    """Requests under way at once."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt with response in tokens, which room in the key-value cache must be found for; left out: what the
    stage's own prompts and `max_new_tokens` need, so that a context of 131,072 does not keep vLLM from starting."""
    args: dict[str, Any] = {}
    """More arguments of `vllm serve`, such as `quantization: awq`, `enforce_eager: true`,
    `hf_overrides: {...}`; `false` becomes `--no-...`."""
    environment: dict[str, str] = {}
    """Environment variables of the server."""
    start_timeout_s: float = Field(900.0, gt=0)
    """Seconds until the server must answer."""
    stall_timeout_s: float = Field(600.0, gt=0)
    """Seconds without one more token, read or written, after which the server is given up. There is no other limit on
    a request: a long response takes its time."""

    @field_validator("args")
    @classmethod
    def _arguments_with_a_setting_are_set_there(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            plain = name.lstrip("-").replace("-", "_")
            if plain != name:
                raise ValueError(f"write {plain!r} for {name!r}")
            if name in SET_BY_RETORT:
                raise ValueError(f"{name!r} is given by Retort itself, from the run's or the engine's settings")
        return values


class AutoEngineConfig(VLLMEngineConfig):
    """`vllm` where a GPU and vLLM are, else `transformers`. Each writes other responses from the same seeds."""

    IMAGE: ClassVar[Image] = "either"

    type: Literal["auto"]  # type: ignore[assignment]


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
