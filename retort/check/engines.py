"""Engines: is the program there, does the endpoint answer, and does it honour what it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

from retort.check.finding import Checked
from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.config.models import EngineConfig, VLLMEngineConfig
from retort.config.run import TEACHER
from retort.engines.make import make_engine
from retort.engines.probe import Endpoint, probe
from retort.errors import MissingToolError

_PATIENCE_S = 30.0
"""Seconds that an endpoint has to answer a short question here; the run itself is more patient."""


def check_engines(on: Checked) -> None:
    """Every engine that the run will start."""
    for key, engine, sampling in _engines(on):
        if isinstance(engine, VLLMEngineConfig):
            # `auto` runs the model without it.
            if on.here and engine.type == "vllm" and shutil.which(engine.program) is None:
                on.error(
                    f"{key}.type",
                    f"{engine.program} is not installed here. Install it where the GPU is (pip install vllm), or set "
                    "the type to transformers, or to openai for a server that runs elsewhere.",
                    MissingToolError.exit_code,
                )
        elif isinstance(engine, EndpointConfig) and (on.asking is None or key in on.asking):
            _check_endpoint(on, key, engine, sampling)


def _engines(on: Checked) -> Iterator[tuple[str, EngineConfig, SamplingConfig]]:
    """Key, settings and sampling of each model's engine and the judge's."""
    config = on.config
    for name, model in config.models.items():
        sampling = config.teacher_responses if name == TEACHER else SamplingConfig(samples=1, temperatures=[0.0])
        yield f"models.{name}.engine", model.engine, sampling
    for name, student in config.students.items():
        yield f"students.{name}.engine", student.engine, config.student_responses
        if (sampler := getattr(config.settings(name), "rollout_engine", None)) is not None:
            said = "rollout_engine" in student.overrides
            place = f"students.{name}" if said else config.method(name).name
            yield f"{place}.rollout_engine", sampler, config.student_responses
    if config.judge is not None:
        judge = config.judge
        asked = SamplingConfig(samples=1, temperatures=[judge.temperature], max_new_tokens=judge.max_new_tokens)
        yield "judge.model.engine", judge.model.engine, asked


def _check_endpoint(on: Checked, key: str, config: Any, sampling: SamplingConfig) -> None:
    asked = config.model_copy(update={"max_retries": 1, "timeout_s": min(_PATIENCE_S, config.timeout_s)})
    with on.collecting(key, passing=True):
        engine = make_engine(
            asked, on.root, place=key, root=on.root, file="the probe's questions", training=False, store=lambda _: None
        )
        assert isinstance(engine, Endpoint)
        with engine:  # a missing key is said here
            if not config.probe:
                return
            found = probe(engine, sampling)
        votes = sampling.samples * len(sampling.temperatures)
        if found.temperature_honoured is False and any(sampling.temperatures) and votes > 1:
            on.error(
                key,
                f"{config.base_url} ({config.model}): two samples at temperature 1 are the same. It seems to ignore "
                f"the temperature, and a vote over {votes} equal samples says nothing. Have the server sample (its "
                "generation settings may fix the temperature), or ask for one sample.",
            )
        for words in found.warnings():
            if found.temperature_honoured is not False or "temperature" not in words:
                on.warn(key, f"{config.base_url} ({config.model}): {words}")
        left_out = ", ".join(found.fields_left_out)
        on.facts.append(f"{config.base_url} answers as {config.model}" + (f", without {left_out}" if left_out else ""))
