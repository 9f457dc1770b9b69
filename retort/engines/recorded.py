"""The `recorded` engine: responses that exist in a file already, matched to prompts by id or by text.

Formats:
    responses: rows with `prompt_id` or `prompt`, and `response`; `model`, `temperature`, `seed`, `finish_reason`,
        `prompt_tokens`, `response_tokens` and `mean_logprob` (natural, of a token) where they are known.
    gsm8k_solutions: OpenAI's example model solutions of GSM8K: `question`, and for each model a field with its
        name that holds an object with `solution`. Each model is one sample.
    openai_batch: output of an OpenAI-compatible batch job, `custom_id` being the prompt id, or PROMPT_ID#NUMBER
        where a prompt was asked several times. Requests that failed are left out.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from retort.config.data import SamplingConfig
from retort.engines.base import Key, Request, Response
from retort.errors import InputError
from retort.io.rows import read_records
from retort.text.finish_reasons import NOT_RECORDED, finish_reason
from retort.text.finish_reasons import UNKNOWN as UNKNOWN_REASON

Format = Literal["responses", "gsm8k_solutions", "openai_batch"]

UNKNOWN = -1
"""Temperature and seed of a response whose file does not tell them."""


@dataclass(frozen=True)
class Recorded:
    """One response of the file."""

    prompt_id: str | None
    prompt: str | None
    """Normalised text."""
    response: str
    model: str = "recorded"
    temperature: float = UNKNOWN
    seed: int = UNKNOWN
    finish_reason: str = NOT_RECORDED
    prompt_tokens: int = 0
    response_tokens: int = 0
    mean_logprob: float | None = None


class RecordedEngine:
    """Gives every prompt all the responses that the file holds for it, however many were asked for."""

    parameters: int | None = None
    prices = (0.0, 0.0)

    def __init__(self, path: Path, form: Format) -> None:
        """Read the file.

        Args:
            path: JSON lines (gzipped or not) or Parquet.
            form: Its format; see the module.

        Raises:
            InputError: it is missing or malformed; names row and field.
        """
        self.model = f"recorded:{path.name}"
        self._path = path
        self._by_id: dict[str, list[Recorded]] = defaultdict(list)
        self._by_text: dict[str, list[Recorded]] = defaultdict(list)
        for row, record in read_records(path):
            for one in _READERS[form](record, path, row):
                if one.prompt_id is not None:
                    self._by_id[one.prompt_id].append(one)
                if one.prompt is not None:
                    self._by_text[one.prompt].append(one)
        self._name_reasons()

    def _name_reasons(self) -> None:
        """A file that gives the finish reason of some responses leaves that of the others unknown."""
        lists = [*self._by_id.values(), *self._by_text.values()]
        if all(one.finish_reason == NOT_RECORDED for some in lists for one in some):
            return
        for some in lists:
            some[:] = [
                replace(one, finish_reason=UNKNOWN_REASON) if one.finish_reason == NOT_RECORDED else one for one in some
            ]

    def count(self, requests: Sequence[Request]) -> int:
        """Responses that the file holds for the prompts of `requests`."""
        return sum(len(self._find(request)) for request in _first_of_each_prompt(requests))

    def generate(
        self,
        requests: Sequence[Request],
        sampling: SamplingConfig,  # noqa: ARG002 - the file was sampled as it was
        done: Collection[Key] = (),
    ) -> Iterator[list[Response]]:
        """Give the recorded responses; see `Engine.generate`.

        Raises:
            InputError: the file holds no response to any of the prompts.
        """
        if not self.count(requests):
            raise InputError(
                f"holds no response to any of the {len(_first_of_each_prompt(requests))} prompts",
                file=self._path,
                remedy="Its prompts or ids must be those of the prompts stage: see outputs/prompts/train.parquet",
            )
        for request in _first_of_each_prompt(requests):
            responses = [
                Response(
                    prompt_id=request.prompt_id,
                    sample=sample,
                    model=one.model,
                    temperature=one.temperature,
                    seed=one.seed,
                    response=one.response,
                    finish_reason=one.finish_reason,
                    prompt_tokens=one.prompt_tokens,
                    response_tokens=one.response_tokens,
                    mean_logprob=one.mean_logprob,
                )
                for sample, one in enumerate(self._find(request))
                if (request.prompt_id, sample) not in done
            ]
            if responses:
                yield responses

    def _find(self, request: Request) -> list[Recorded]:
        return self._by_id.get(request.prompt_id) or self._by_text.get(normalised(request.prompt)) or []

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


def normalised(prompt: str) -> str:
    """Text of a prompt as it is matched: Unicode NFKC, runs of whitespace as one space."""
    return " ".join(unicodedata.normalize("NFKC", prompt).split())


def _first_of_each_prompt(requests: Sequence[Request]) -> list[Request]:
    return list({request.prompt_id: request for request in reversed(requests)}.values())[::-1]


def _responses(record: dict[str, Any], path: Path, row: int) -> Iterator[Recorded]:
    prompt_id, prompt = record.get("prompt_id"), record.get("prompt")
    if prompt_id is None and prompt is None:
        raise InputError(
            "is missing, and so is 'prompt_id'", file=path, row=row, field="prompt", remedy="Give one of the two"
        )
    yield Recorded(
        prompt_id=None if prompt_id is None else str(prompt_id),
        prompt=None if prompt is None else normalised(str(prompt)),
        response=_text(record, "response", path, row),
        model=str(record.get("model") or "recorded"),
        temperature=_number(record, "temperature", path, row, UNKNOWN),
        seed=int(_number(record, "seed", path, row, UNKNOWN)),
        finish_reason=finish_reason(record["finish_reason"]) if "finish_reason" in record else NOT_RECORDED,
        prompt_tokens=int(_number(record, "prompt_tokens", path, row, 0)),
        response_tokens=int(_number(record, "response_tokens", path, row, 0)),
        mean_logprob=None if record.get("mean_logprob") is None else _number(record, "mean_logprob", path, row, 0),
    )


def _gsm8k_solutions(record: dict[str, Any], path: Path, row: int) -> Iterator[Recorded]:
    question = normalised(_text(record, "question", path, row))
    models = {name: value for name, value in record.items() if isinstance(value, dict)}
    if not models:
        remedy = 'Give for each model an object such as "6b_finetuning": {"solution": "..."}'
        raise InputError("has no model's solution", file=path, row=row, remedy=remedy)
    for name, value in models.items():
        yield Recorded(None, question, _text(value, "solution", path, row, f"{name}.solution"), model=name)


def _openai_batch(record: dict[str, Any], path: Path, row: int) -> Iterator[Recorded]:
    prompt_id = _text(record, "custom_id", path, row).partition("#")[0]
    answer = record.get("response") or {}
    if record.get("error") or answer.get("status_code") != 200:
        return
    body = answer.get("body") or {}
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        remedy = "Give the output of a batch of chat completions"
        raise InputError("is missing or empty", file=path, row=row, field="response.body.choices", remedy=remedy)
    usage = body.get("usage") or {}
    for choice in choices:
        yield Recorded(
            prompt_id=prompt_id,
            prompt=None,
            response=(choice.get("message") or {}).get("content") or "",
            model=str(body.get("model") or "recorded"),
            finish_reason=finish_reason(choice.get("finish_reason")),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            # Usage counts all choices of a request together.
            response_tokens=int(usage.get("completion_tokens") or 0) if len(choices) == 1 else 0,
        )


_READERS: dict[Format, Callable[[dict[str, Any], Path, int], Iterator[Recorded]]] = {
    "responses": _responses,
    "gsm8k_solutions": _gsm8k_solutions,
    "openai_batch": _openai_batch,
}


def _text(record: dict[str, Any], field: str, path: Path, row: int, shown: str | None = None) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        problem = "is missing" if value is None else f"is a {type(value).__name__}, not text"
        raise InputError(problem, file=path, row=row, field=shown or field, remedy="Correct or remove the row")
    return value


def _number(record: dict[str, Any], field: str, path: Path, row: int, default: float) -> float:
    value = record.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        problem = f"is {value!r}, not a number"
        raise InputError(problem, file=path, row=row, field=field, remedy="Correct it or leave it out")
    return value
