"""The command line of `vllm serve`, from the settings of an engine and the model that it serves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retort.config.models import VLLMEngineConfig

NAME = "model"
"""Name that the server gives the model: paths and hub ids stay out of requests."""

_ROUNDED = 256
"""Lengths are asked for in steps of so many tokens: a benchmark with a little longer prompts needs no new server."""


def serving_length(config: VLLMEngineConfig, needed: int, longest: int) -> int:
    """Tokens a sequence that the server makes room for.

    Args:
        config: Settings of the server.
        needed: Tokens of the longest prompt with its response.
        longest: Tokens that the model can read.
    """
    return config.max_model_len or min(-(-needed // _ROUNDED) * _ROUNDED, longest)


def serve_arguments(
    config: VLLMEngineConfig,
    folder: Path,
    *,
    length: int,
    dtype: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> list[str]:
    """Command-line arguments of a server for prompts with responses of `length` tokens.

    Args:
        config: Settings of the server.
        folder: Model folder, or folder of a reference.
        length: Tokens a sequence.
        dtype: Type that it computes in; the model's own when left out.
        more: Further arguments by name.
    """
    from retort.modeling.loading import model_source, read_reference

    reference = read_reference(folder)
    flags: dict[str, Any] = {
        "served_model_name": NAME,
        "dtype": dtype or reference.dtype,
        "tensor_parallel_size": config.tensor_parallel,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "max_num_seqs": config.concurrency,
        "max_model_len": length,
        # Not the model's own sampling defaults (top-k, repetition penalty): only what the run says.
        "generation_config": "vllm",
        # At the sampling temperature, as the engine `transformers` gives them.
        "logprobs_mode": "processed_logprobs",
    }
    if reference.revision is not None:
        flags |= {"revision": reference.revision, "tokenizer_revision": reference.revision}
    flags |= {**(more or {}), **config.args}
    return [
        model_source(folder, reference),
        *(part for name, value in flags.items() for part in _flag(name, value)),
    ]


def _flag(name: str, value: Any) -> list[str]:
    """An argument as the command line has it."""
    flag = f"--{name.replace('_', '-')}"
    if value is None or value is True:
        return [flag]
    if value is False:
        return [f"--no-{name.replace('_', '-')}"]
    return [flag, json.dumps(value) if isinstance(value, dict | list) else str(value)]
