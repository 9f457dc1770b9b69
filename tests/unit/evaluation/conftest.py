"""Running a benchmark on an engine that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.engines.base import Request, Response

ROOT = Path(__file__).parents[3]


class Replay:
    """Answers each request with what a function says of it; keeps the requests."""

    model, parameters = "replay", None

    def __init__(self, say: Callable[[Request], str]) -> None:
        self.say = say
        self.asked: list[Request] = []

    def count(self, requests: list[Request]) -> int:
        return len(requests)

    def generate(self, requests: list[Request], sampling: SamplingConfig, done: Any = ()) -> Iterator[list[Response]]:
        self.limit = sampling.max_new_tokens
        self.asked += requests
        yield [
            Response(one.prompt_id, one.sample, self.model, one.temperature, one.seed, self.say(one), "stop", 100, 20)
            for one in requests
        ]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[Any, Replay]]:
    """`ask(say, task="gsm8k_cot", root=..., **settings)`: run a benchmark on a replay; gives outcome and engine."""
    from retort.evaluation.harness import run_benchmark

    count = iter(range(100))

    def run(say: Callable[[Request], str], *, root: Path = ROOT, **settings: Any) -> tuple[Any, Replay]:
        logs = tmp_path / f"logs-{next(count)}"
        logs.mkdir()
        engine = Replay(say)
        benchmark = BenchmarkConfig(name="bench", **settings)
        return run_benchmark(
            benchmark, cast(Any, engine), SamplingConfig(max_new_tokens=50), root=root, logs=logs
        ), engine

    return run
