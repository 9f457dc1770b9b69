"""The `recorded` engine: responses that exist in a file already, matched to prompts by id or by text.

Formats:
    responses: rows with `prompt_id` or `prompt`, and `response`; `model`, `temperature`, `seed`, `finish_reason`,
        `prompt_tokens`, `response_tokens` and `mean_logprob` (natural, of a token) where they are known.
    gsm8k_solutions: OpenAI's example model solutions of GSM8K: `question`, and for each model a field with its
        name that holds an object with `solution`. Each model is one sample.
    openai_batch: output of an OpenAI-compatible batch job, of chat completions, plain completions or the Responses
        interface; `custom_id` is the prompt id, or PROMPT_ID#NUMBER where a prompt was asked several times. Requests
        that failed are left out, and rows that are there twice, with a line that counts them.
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from retort.config.data import SamplingConfig
from retort.config.models import RecordedEngineConfig
from retort.data.conversations import read_conversation
from retort.engines.base import Key, Request, Response
from retort.engines.completion import NoCompletionError, completion_of
from retort.errors import InputError
from retort.io.rows import check_unicode, read_records
from retort.io.values import id_text
from retort.modeling.conversations import last_message
from retort.plugins import EngineContext, EngineType
from retort.text.finish_reasons import NOT_RECORDED, finish_reason, recorded_reason
from retort.text.finish_reasons import UNKNOWN as UNKNOWN_REASON

_log = logging.getLogger(__name__)

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
    reasoning: str | None = None
    number: int | None = None
    """Number of the response among those to its prompt, where its id says it."""
    made_as: str | None = None
    """What the server called it, by which a row that is there twice is known; None where it has no name."""


_Reader = Callable[[dict[str, Any], Path, int, Counter[str]], Iterator[Recorded]]
"""Reads a record of a file and its row; counts what it leaves out, by reason."""

_TAGS = ("<think>", "</think>")
"""What reasoning that a file holds apart is put between."""


class RecordedEngine:
    """Gives every prompt all the responses that the file holds for it, however many were asked for."""

    parameters: int | None = None

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
        self._numbered: dict[str, list[Recorded]] = defaultdict(list)
        left_out: Counter[str] = Counter()
        seen: set[tuple[str | None, str]] = set()
        self._asked: set[str] = set()
        """Ids of a batch's requests, those that failed included."""
        for row, record in read_records(path):
            if form == "openai_batch" and record.get("custom_id") is not None:
                self._asked.add(str(record["custom_id"]))
            for one in _READERS[form](record, path, row, left_out):
                if one.made_as is not None:
                    name = one.prompt_id, one.made_as
                    left_out["there twice"] += name in seen
                    if name in seen:
                        continue
                    seen.add(name)
                if one.prompt_id is not None:
                    self._by_id[one.prompt_id].append(one)
                if one.prompt is not None:
                    self._by_text[one.prompt].append(one)
        if form == "openai_batch":
            self._number()
        self._name_reasons()
        if left_out := +left_out:
            why = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items()))
            _log.warning("%s: %d rows of the batch are left out (%s)", path, left_out.total(), why)

    def _number(self) -> None:
        """Let PROMPT_ID#NUMBER stand for a response to PROMPT_ID too: an id may hold any character, `#` as well."""
        for name, some in self._by_id.items():
            if found := _NUMBERED.fullmatch(name):
                self._numbered[found[1]] += [replace(one, number=int(found[2])) for one in some]
        for some in self._numbered.values():
            some.sort(key=lambda one: one.number or 0)  # a batch's output has an order of its own

    def _name_reasons(self) -> None:
        """A file that gives the finish reason of some responses leaves that of the others unknown."""
        lists = [*self._by_id.values(), *self._by_text.values(), *self._numbered.values()]
        if all(one.finish_reason == NOT_RECORDED for some in lists for one in some):
            return
        for some in lists:
            some[:] = [
                replace(one, finish_reason=UNKNOWN_REASON) if one.finish_reason == NOT_RECORDED else one for one in some
            ]

    def count(self, requests: Sequence[Request]) -> int:
        """Responses that the file holds for the prompts of `requests`."""
        prompts = _first_of_each_prompt(requests)
        ids = {request.prompt_id for request in prompts}
        return sum(len(self._find(request, ids)) for request in prompts)

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
        ids = {request.prompt_id for request in requests}
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
                    reasoning=one.reasoning,
                )
                for sample, one in enumerate(self._find(request, ids))
                if (request.prompt_id, sample) not in done
            ]
            if responses:
                yield responses

    def _find(self, request: Request, ids: Collection[str]) -> list[Recorded]:
        """What the file holds for a request; `ids` are those of all prompts, one of which may look like a number's."""
        name = request.prompt_id
        found = self._by_id.get(name, [])
        if not found and name not in self._asked:  # else it failed, and NAME#1 may be a prompt of another shard
            found = [one for one in self._numbered.get(name, ()) if one.prompt_id not in ids]
        return found or self._by_text.get(normalised(last_message(request.prompt))) or []

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


_NUMBERED = re.compile(r"(.*)#(\d+)", re.DOTALL)


def _responses(record: dict[str, Any], path: Path, row: int, _: Counter[str]) -> Iterator[Recorded]:
    prompt_id, prompt = record.get("prompt_id"), record.get("prompt")
    if prompt_id is None and prompt is None:
        raise InputError(
            "is missing, and so is 'prompt_id'", file=path, row=row, field="prompt", remedy="Give one of the two"
        )
    reason = recorded_reason(record)
    yield Recorded(
        prompt_id=None if prompt_id is None else id_text(prompt_id, "prompt_id", file=path, row=row),
        prompt=None if prompt is None else normalised(_asked(prompt, path, row)),
        response=_text(record, "response", path, row),
        model=str(record.get("model") or "recorded"),
        temperature=_number(record, "temperature", path, row, UNKNOWN),
        seed=int(_number(record, "seed", path, row, UNKNOWN)),
        finish_reason=NOT_RECORDED if reason == NOT_RECORDED else finish_reason(reason),
        prompt_tokens=int(_number(record, "prompt_tokens", path, row, 0)),
        response_tokens=int(_number(record, "response_tokens", path, row, 0)),
        mean_logprob=None if record.get("mean_logprob") is None else _number(record, "mean_logprob", path, row, 0),
        reasoning=_reasoning(record, path, row),
    )


def _asked(prompt: Any, path: Path, row: int) -> str:
    """What is matched to the last message of a prompt: of a conversation, its own."""
    return (
        read_conversation(prompt, "prompt", file=path, row=row)[-1]["content"]
        if isinstance(prompt, list)
        else str(prompt)
    )


def _reasoning(record: dict[str, Any], path: Path, row: int) -> str | None:
    """Reasoning with its tags: a column `reasoning` has them, `reasoning_content` has not."""
    if record.get("reasoning") is not None:
        return _text(record, "reasoning", path, row)
    if record.get("reasoning_content"):
        return f"{_TAGS[0]}\n{_text(record, 'reasoning_content', path, row).strip()}\n{_TAGS[1]}\n\n"
    return None


def _gsm8k_solutions(record: dict[str, Any], path: Path, row: int, _: Counter[str]) -> Iterator[Recorded]:
    question = normalised(_text(record, "question", path, row))
    models = {name: value for name, value in record.items() if isinstance(value, dict)}
    if not models:
        remedy = 'Give for each model an object such as "6b_finetuning": {"solution": "..."}'
        raise InputError("has no model's solution", file=path, row=row, remedy=remedy)
    for name, value in models.items():
        yield Recorded(None, question, _text(value, "solution", path, row, f"{name}.solution"), model=name)


def _openai_batch(record: dict[str, Any], path: Path, row: int, left_out: Counter[str]) -> Iterator[Recorded]:
    if record.get("custom_id") is None:
        remedy = "Give the output of a batch job, whose rows have the custom_id of their requests"
        raise InputError("is missing", file=path, row=row, field="custom_id", remedy=remedy)
    prompt_id = id_text(record["custom_id"], "custom_id", file=path, row=row)
    if not record.keys() & {"response", "error"}:
        what = "the input of a batch job" if "body" in record else "no row of the output of a batch job of OpenAI's"
        raise InputError(
            f"is {what}", file=path, row=row, remedy="Give the output file of the job, or rows of responses"
        )
    answer = record.get("response") or {}
    status = answer.get("status_code") if isinstance(answer, dict) else None
    if record.get("error") or status not in (200, "200"):
        error = record.get("error") or {}
        code = error.get("code") if isinstance(error, dict) else None
        left_out[str(code or f"status {status}")] += 1
        return
    body = answer.get("body")
    if not isinstance(body, dict) or not body.keys() & {"choices", "output", "error"}:
        remedy = "Give the output of a batch of chat completions, completions or responses"
        raise InputError("is missing or empty", file=path, row=row, field="response.body.choices", remedy=remedy)
    choices = body.get("choices")
    several = len(choices) if isinstance(choices, list) else 1
    parts = [body] if several < 2 else [{**body, "choices": [choice]} for choice in choices or ()]
    for place, part in enumerate(parts):
        try:
            found = completion_of(part, _TAGS)
        except NoCompletionError:
            left_out["no completion"] += 1
            continue
        yield Recorded(
            prompt_id=prompt_id,
            prompt=None,
            response=found.text,
            model=str(body.get("model") or "recorded"),
            finish_reason=found.finish_reason,
            prompt_tokens=found.prompt_tokens,
            # Usage counts all choices of a request together.
            response_tokens=found.response_tokens if several < 2 else 0,
            mean_logprob=sum(found.logprobs) / len(found.logprobs) if found.logprobs else None,
            reasoning=found.reasoning,
            made_as=f"{body['id']}, choice {place}" if isinstance(body.get("id"), str) and body["id"] else None,
        )


_READERS: dict[Format, _Reader] = {
    "responses": _responses,
    "gsm8k_solutions": _gsm8k_solutions,
    "openai_batch": _openai_batch,
}


def _text(record: dict[str, Any], field: str, path: Path, row: int, shown: str | None = None) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        problem = "is missing" if value is None else f"is a {type(value).__name__}, not text"
        raise InputError(problem, file=path, row=row, field=shown or field, remedy="Correct or remove the row")
    check_unicode(value, shown or field, file=path, row=row)
    return value


_LARGEST = {"seed": 2**63 - 1, "prompt_tokens": 2**31 - 1, "response_tokens": 2**31 - 1}
"""Of numbers that a table holds as integers."""


def _number(record: dict[str, Any], field: str, path: Path, row: int, default: float) -> float:
    value: Any = record.get(field)
    if value is None:
        return default
    if isinstance(value, str):  # a CSV has nothing else
        with suppress(ValueError):
            value = float(value) if set(value) & set(".eE") else int(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or abs(value) > _LARGEST.get(field, math.inf):
        problem = f"is {str(value)[:40]!r}, not a number that a table can hold"
        raise InputError(problem, file=path, row=row, field=field, remedy="Correct it or leave it out")
    found: float = value
    return found


def _make(context: EngineContext) -> RecordedEngine:
    return RecordedEngine(context.root / context.settings.path, context.settings.format)


ENGINE = EngineType("recorded", RecordedEngineConfig, _make)
