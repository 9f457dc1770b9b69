"""Which models take part: the teacher behind a generation engine, the student as a model folder or hub id."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retort.config.base import Strict
from retort.config.endpoint import EndpointConfig


class StudentConfig(Strict):
    """The base student."""

    model: str
    """Folder with a Hugging Face model (safetensors), or a hub id."""
    revision: str | None = None
    """Commit of the hub repository; pinned by the `models` stage when left out."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that weights are loaded and trained in."""
    pad_token: str | None = None
    """Token of the vocabulary to pad with, for a tokenizer without one (Llama 3: <|finetune_right_pad_id|>)."""
    chat_template: str | None = None
    """File with a Jinja chat template, for a tokenizer without one."""


class TransformersTeacher(Strict):
    """A teacher that runs in this process through `transformers`."""

    type: Literal["transformers"] = "transformers"
    model: str
    """Folder with a Hugging Face model (safetensors), or a hub id."""
    revision: str | None = None
    """Commit of the hub repository; pinned by the `models` stage when left out."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that weights are loaded in."""
    pad_token: str | None = None
    """Token of the vocabulary to pad with, for a tokenizer without one (Llama 3: <|finetune_right_pad_id|>)."""
    chat_template: str | None = None
    """File with a Jinja chat template, for a tokenizer without one."""


class RecordedTeacher(Strict):
    """Responses that exist already in a file: a provider's batch output or someone else's samples."""

    type: Literal["recorded"]
    path: str
    """JSONL (gzipped or not) or Parquet file with the responses."""
    format: Literal["responses", "gsm8k_solutions", "openai_batch"] = "responses"
    """`responses`: rows with a prompt (or prompt_id) and a response; `gsm8k_solutions`: OpenAI's example model
    solutions, several models a row; `openai_batch`: the output file of an OpenAI-compatible batch job."""


class OpenAITeacher(EndpointConfig):
    """A teacher behind an OpenAI-compatible endpoint."""

    type: Literal["openai"]


class VLLMTeacher(Strict):
    """A teacher that `vllm serve` runs on this machine's GPUs for the length of the stage."""

    type: Literal["vllm"]
    model: str
    """Folder with a Hugging Face model, or a hub id."""
    revision: str | None = None
    """Commit of the hub repository; pinned by the `models` stage when left out."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type that weights are loaded in."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that one copy of the model is spread over."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """Share of GPU memory that vLLM may take."""
    concurrency: int = Field(256, ge=1)
    """Requests under way at once."""
    start_timeout_s: float = Field(900.0, gt=0)
    """Seconds until the server must answer."""


TeacherConfig = Annotated[
    TransformersTeacher | RecordedTeacher | OpenAITeacher | VLLMTeacher, Field(discriminator="type")
]
