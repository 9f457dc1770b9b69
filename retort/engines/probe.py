"""What an endpoint honours of what it is asked, found with four short questions before anything long is paid for.

An endpoint may take a temperature and answer greedily all the same, ignore seeds, give no log-probabilities, or never
end its turn; each spoils a vote without an error. Key and model are tried along the way: an endpoint that refuses them
says so here, before the first batch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.engines.base import Engine, Request, Response
from retort.engines.response_cache import ResponseCache, cache_of
from retort.errors import InputError
from retort.io.files import write_json
from retort.text.finish_reasons import LENGTH, STOP

_log = logging.getLogger(__name__)

_TOKENS = 64
"""Limit of each question's response."""
_VARIED = "Write ten random English words, separated by spaces."
_SHORT = "Answer with the single word yes."
_TURN_MARKS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>", "<|im_start|>")
_FILE = "probe.json"


@runtime_checkable
class Endpoint(Engine, Protocol):
    """What a probe needs of an engine. No import of the one that has it, whose code counts where it answers alone."""

    config: EndpointConfig
    left_out: Collection[str]
    """Fields that it refused and is asked without."""


@dataclass(frozen=True)
class Probe:
    """What was found; None where that could not be told."""

    temperature_honoured: bool | None = None
    """Whether two samples at temperature 1 with different seeds differ."""
    seed_honoured: bool | None = None
    """Whether two samples with the same seed are equal, where those with different ones are not."""
    logprobs_given: bool | None = None
    """Whether log-probabilities come, where they are asked for."""
    turn_ended: bool | None = None
    """Whether a short answer ends by itself, without the marks of the chat template."""
    tokens_counted: bool | None = None
    """Whether the endpoint says how many tokens prompt and response have: cost and budget depend on it."""
    reasoning_given: bool | None = None
    """Whether reasoning comes with the responses."""
    fields_left_out: list[str] = field(default_factory=list)
    """Fields that it refused and is asked without."""
    prompt_tokens: int = 0
    response_tokens: int = 0

    def warnings(self) -> list[str]:
        """What of it should worry its reader."""
        found = []
        if self.temperature_honoured is False:
            found.append(
                "two samples at temperature 1 are the same: it seems to ignore the temperature, and a vote over equal "
                "samples says nothing"
            )
        if self.logprobs_given is False:
            found.append("it gives no log-probabilities, though they are asked for")
        if self.turn_ended is False:
            found.append("a one-word answer did not end by itself: check its chat template and end token")
        if self.tokens_counted is False:
            found.append("it does not count tokens, so cost and a budget of tokens or money are not known")
        if self.seed_honoured is False:
            found.append("the same seed gives different samples: what it draws cannot be drawn again")
        return found


def probe(engine: Endpoint, sampling: SamplingConfig) -> Probe:
    """Ask the four questions.

    Args:
        engine: A started engine.
        sampling: How the task samples: its nucleus, and whether it wants log-probabilities.

    Raises:
        ConfigError: the endpoint refuses key, model or path.
        EngineError: it does not answer.
        BudgetError: the budget does not allow so many requests.
    """
    few = sampling.model_copy(update={"max_new_tokens": min(_TOKENS, sampling.max_new_tokens)})
    first = Request("probe", _VARIED, 0, temperature=1.0, seed=1)
    asked = [first, replace(first, sample=1, seed=2), replace(first, sample=2), replace(first, sample=3, prompt=_SHORT)]
    found: dict[int, Response] = {}
    try:
        for batch in engine.generate(asked, few):
            found |= {response.sample: response for response in batch}
    except InputError as error:  # the questions are not what this endpoint is for: its own prompts may be
        _log.warning("the probe's questions are refused, so what the endpoint honours is not known: %s", error)
    return _judged(found, sampling, sorted(engine.left_out))


def _judged(found: dict[int, Response], sampling: SamplingConfig, left_out: list[str]) -> Probe:
    whole = [(found[number].reasoning or "") + found[number].response if number in found else "" for number in range(4)]
    differ = whole[0] != whole[1] if whole[0] and whole[1] else None
    again = whole[0] == whole[2] if differ and whole[2] and "seed" not in left_out else None
    short = found.get(3)
    ended = None
    if short is not None and short.finish_reason in (STOP, LENGTH) and short.reasoning is None:
        ended = short.finish_reason == STOP and not any(mark in short.response for mark in _TURN_MARKS)
    responses = list(found.values())
    return Probe(
        temperature_honoured=differ,
        seed_honoured=again,
        logprobs_given=any(one.mean_logprob is not None for one in responses) if sampling.logprobs else None,
        turn_ended=ended,
        tokens_counted=all(one.prompt_tokens and one.response_tokens for one in responses) if responses else None,
        reasoning_given=any(one.reasoning is not None for one in responses) if responses else None,
        fields_left_out=left_out,
        prompt_tokens=sum(one.prompt_tokens for one in responses),
        response_tokens=sum(one.response_tokens for one in responses),
    )


def probe_once(engine: object, sampling: SamplingConfig, state: Path, cache: ResponseCache | None) -> None:
    """Probe an endpoint before a task's first batch, say in the log what was found, and keep it.

    Args:
        engine: A started engine; one that is no endpoint, or whose configuration turns it off, is not probed.
        sampling: How the task samples.
        state: Folder of the task's resume state: a task that goes on is not probed again.
        cache: Where what was found is kept for tasks that find all their responses there.
    """
    if not isinstance(engine, Endpoint) or not engine.config.probe or (state / _FILE).exists():
        return
    made = probe(engine, sampling)
    for words in made.warnings():
        _log.warning("%s (%s): %s", engine.config.base_url, engine.model, words)
    known = {name: value for name, value in asdict(made).items() if value not in (None, [])}
    _log.info("%s (%s): probe: %s", engine.config.base_url, engine.model, known)
    write_json(state / _FILE, asdict(made))
    if cache is not None:
        cache.write_json(_FILE, asdict(made))


def probe_of(engine: object, sampling: SamplingConfig, state: Path) -> dict[str, Any] | None:
    """What the probe of this task found, or where it had nothing to ask, that of the one which asked; None without."""
    if not isinstance(engine, Endpoint) or not engine.config.probe:
        return None
    if (state / _FILE).exists():
        value: dict[str, Any] = json.loads((state / _FILE).read_text(encoding="utf-8"))
        return value
    cache = cache_of(engine, sampling)
    return None if cache is None else cache.read_json(_FILE)
