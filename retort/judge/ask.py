"""Asking the judge: calls made from responses, answered by an engine, and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from retort.config.data import SamplingConfig
from retort.config.judge import JudgeConfig
from retort.engines.base import Request, derived_seed
from retort.judge import prompts
from retort.judge.comparisons import PairJudgement
from retort.judge.injection import code_for
from retort.judge.verdicts import read_choice, read_rating
from retort.text.finish_reasons import is_whole

if TYPE_CHECKING:
    from retort.engines.base import Engine, Response


class Pair(NamedTuple):
    """Two responses to one prompt that are to be compared."""

    prompt_id: str
    instruction: str
    first: str
    second: str


class Single(NamedTuple):
    """A response that is to be graded."""

    prompt_id: str
    instruction: str
    response: str


@dataclass(frozen=True)
class Call:
    """One judgement that was asked for, and what came of it."""

    call_id: str
    prompt_id: str
    prompt: str
    """The conversation that the judge was given, as JSON messages."""
    code: str
    is_pair: bool
    output: str | None = None
    """What the judge wrote; None where a file of recorded judgements has none."""
    verdict: str | None = None
    """As it was read: A, B, tie, or a grade; None where there is none."""


@dataclass
class Record:
    """Everything that the judge was asked, for the table of calls and the figures."""

    calls: list[Call] = field(default_factory=list)
    comparisons: list[PairJudgement] = field(default_factory=list)
    """Each pair in each order: output_1 is the first of the pair, output_2 the second."""
    pairs: int = 0
    read_both: int = 0
    """Pairs with a verdict in both orders."""
    swayed: int = 0
    """Those whose verdict changed with the order."""
    tokens: Counter[str] = field(default_factory=Counter)
    """Prompt and response tokens."""


class Judge:
    """Asks one engine; what was answered is logged, so that a killed stage goes on with what is missing."""

    def __init__(self, engine: Engine, config: JudgeConfig, state: Path, *, seed: int) -> None:
        """Take a started engine.

        Args:
            engine: Who judges.
            config: How.
            state: Folder of the stage's resume state, where finished judgements are logged.
            seed: Seed of the run, for a judge that samples.
        """
        self.config, self.record = config, Record()
        self.engine, self._state, self._seed = engine, state, seed

    def compare(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Compare each pair in both orders.

        Returns:
            For each pair 1 where the first is better, 0 where the second is, 0.5 for a tie; None where the judge
            contradicts itself when the order is swapped, or gives no verdict.
        """
        orders = [(pair, swapped) for pair in pairs for swapped in (False, True)]
        verdicts = self._ask([self._pair_call(pair, swapped=swapped) for pair, swapped in orders], 1)
        outcomes: list[float | None] = []
        for pair, ((straight,), (swapped,)) in zip(pairs, zip(verdicts[::2], verdicts[1::2], strict=True), strict=True):
            outcomes.append(self._outcome(pair, _points(straight), _points(swapped)))
        return outcomes

    def grade(self, singles: Sequence[Single]) -> list[float | None]:
        """Grade each response: the mean of its readable grades, None where there is none."""
        verdicts = self._ask([self._single_call(single) for single in singles], self.config.samples)
        grades = [[float(one) for one in some if one is not None] for some in verdicts]
        return [fmean(some) if some else None for some in grades]

    def _outcome(self, pair: Pair, straight: float | None, swapped: float | None) -> float | None:
        """Agreement of both orders, each as points for the response shown first."""
        as_first = None if swapped is None else 1 - swapped
        for points, shown in ((straight, 1), (as_first, 2)):
            preference = None if points is None else 1 - points
            self.record.comparisons.append(PairJudgement(pair.instruction, pair.first, pair.second, preference, shown))
        self.record.pairs += 1
        if straight is None or as_first is None:
            return None
        self.record.read_both += 1
        self.record.swayed += straight != as_first
        return straight if straight == as_first else None

    def _pair_call(self, pair: Pair, *, swapped: bool) -> Call:
        a, b = (pair.second, pair.first) if swapped else (pair.first, pair.second)
        code = code_for("pair", pair.instruction, a, b)
        text = prompts.pairwise(pair.instruction, a, b, code, criteria=self.config.criteria, coded=self.config.coded)
        return Call(f"{pair.prompt_id}/pair-{code}", pair.prompt_id, text, code, is_pair=True)

    def _single_call(self, single: Single) -> Call:
        code = code_for("single", single.instruction, single.response)
        text = prompts.rubric(
            single.instruction,
            single.response,
            code,
            low=1,
            high=self.config.scale,
            criteria=self.config.criteria,
            coded=self.config.coded,
        )
        return Call(f"{single.prompt_id}/grade-{code}", single.prompt_id, text, code, is_pair=False)

    def _ask(self, calls: Sequence[Call], samples: int) -> list[list[str | None]]:
        """`samples` verdicts for each call, as text; one call is asked once however often it occurs."""
        from retort.engines.log import answer

        config = self.config
        sampling = SamplingConfig(
            temperatures=[config.temperature],
            samples=samples,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
        )
        requests = [
            Request(
                call.call_id,
                call.prompt,
                number,
                config.temperature,
                derived_seed(self._seed, "judge", call.call_id, number),
                form="conversation",
                draw=self._seed,
            )
            for call in {call.call_id: call for call in calls}.values()
            for number in range(samples)
        ]
        if not self.engine.count(requests):  # nothing to ask, or a file of judgements that knows none of this
            return [self._read(call, [], samples) for call in calls]
        # Named by what is asked: a log may hold no other calls than these.
        log = self._state / f"judge-{code_for(*(request.prompt_id for request in requests))}.jsonl"
        responses = answer(self.engine, requests, sampling, log, words=f"judge ({self.engine.model})")
        outputs: dict[str, list[Response]] = {}
        for response in responses:
            outputs.setdefault(response.prompt_id, []).append(response)
            self.record.tokens.update(prompt=response.prompt_tokens, response=response.response_tokens)
        return [self._read(call, outputs.get(call.call_id, []), samples) for call in calls]

    def _read(self, call: Call, responses: Sequence[Response], samples: int) -> list[str | None]:
        found: list[str | None] = []
        for number in range(samples):
            response = responses[number] if number < len(responses) else None
            # One that was cut off did not come to its verdict, whatever its last words are.
            output = response.response if response is not None else None
            verdict = self._verdict(call, output) if response and is_whole(response.finish_reason) else None
            self.record.calls.append(replace(call, output=output, verdict=verdict))
            found.append(verdict)
        return found

    def _verdict(self, call: Call, output: str | None) -> str | None:
        code = call.code if self.config.coded else None
        if output is None:
            return None
        if call.is_pair:
            return read_choice(output, code)
        grade = read_rating(output, code, low=1, high=self.config.scale)
        return None if grade is None else f"{grade:g}"


def _points(verdict: str | None) -> float | None:
    """What a verdict is worth to the response that was shown first."""
    return None if verdict is None else {"A": 1.0, "B": 0.0, "tie": 0.5}[verdict]
