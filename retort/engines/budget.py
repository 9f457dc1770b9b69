"""What asking an endpoint has cost so far, and whether a budget allows more."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retort.config.endpoint import Budget
from retort.engines.base import Response
from retort.engines.completion import Completion
from retort.errors import BudgetError
from retort.io.files import write_json

_log = logging.getLogger(__name__)

_COUNTS = ("requests", "completions", "prompt_tokens", "response_tokens")
"""Fields of `Spent` that are counted."""


@dataclass
class Spent:
    """What was asked for and paid."""

    requests: int = 0
    """Attempts sent, those that failed included."""
    completions: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    file: Path | None = field(default=None, compare=False)
    """Where every change is written at once: a task that is killed has spent what it had sent."""

    def go_on(self, file: Path, answered: Sequence[Response] = ()) -> None:
        """Count on from what a task's earlier attempts left in `file`, and keep it there.

        Args:
            file: Where it is; nothing was spent where there is none.
            answered: What these attempts were answered: at least that was spent, where the file is damaged.
        """
        if file.exists():
            for name, value in _counts(file, answered).items():
                setattr(self, name, max(getattr(self, name), value))
        self.file = file

    def send(self) -> None:
        """Count an attempt."""
        self.requests += 1
        self._write()

    def add(self, completion: Completion) -> None:
        """Count a completion's tokens."""
        self.completions += 1
        self.prompt_tokens += completion.prompt_tokens
        self.response_tokens += completion.response_tokens
        self._write()

    def _write(self) -> None:
        if self.file is not None:
            write_json(self.file, {name: getattr(self, name) for name in _COUNTS})


def _counts(file: Path, answered: Sequence[Response]) -> dict[str, int]:
    """What a file says was spent, or `answered` where it says nothing."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        counts = {name: found.get(name, 0) for name in _COUNTS}
        if all(type(count) is int and count >= 0 for count in counts.values()):
            return counts
    except (ValueError, AttributeError, RecursionError):
        pass
    tokens = [sum(one.prompt_tokens for one in answered), sum(one.response_tokens for one in answered)]
    _log.warning(
        "%s: is damaged; what was spent is counted from the %d responses that are there, without what was tried again",
        file,
        len(answered),
    )
    return dict(zip(_COUNTS, (len(answered), len(answered), *tokens), strict=True))


class Meter:
    """Counts what is spent against a budget."""

    def __init__(self, budget: Budget, prices: tuple[float, float], *, place: str) -> None:
        """Start with nothing spent.

        Args:
            budget: The bounds.
            prices: Of a million prompt tokens and of a million response tokens.
            place: Where the configuration sets the budget, for messages.
        """
        self.spent = Spent()
        self._budget, self._prices, self._place = budget, prices, place

    @property
    def cost(self) -> float:
        """Price of what is spent."""
        return (self._prices[0] * self.spent.prompt_tokens + self._prices[1] * self.spent.response_tokens) / 1e6

    def allows(self, in_flight: int) -> bool:
        """Whether one more request may be sent beside `in_flight` others, each taken to cost what they cost so far.

        Tokens are only known afterwards: before the first answer one request is tried alone.
        """
        spent, budget, more = self.spent, self._budget, in_flight + 1
        if budget.requests is not None and spent.requests + more > budget.requests:
            return False
        if budget.tokens is None and budget.cost is None:
            return True
        if not spent.completions:
            return not in_flight
        share = 1 + more / spent.completions
        tokens = (spent.prompt_tokens + spent.response_tokens) * share
        if budget.tokens is not None and tokens > budget.tokens:
            return False
        return budget.cost is None or self.cost * share <= budget.cost

    def send(self) -> None:
        """Count an attempt.

        Raises:
            BudgetError: there is none left.
        """
        if self._budget.requests is not None and self.spent.requests >= self._budget.requests:
            raise self.over()
        self.spent.send()

    def over(self) -> BudgetError:
        """The error that says so."""
        spent = self.spent
        bounds = ", ".join(
            f"{name} {value:g}" for name, value in self._budget.model_dump().items() if value is not None
        )
        return BudgetError(
            f"{self._place}: the budget ({bounds}) is spent: {spent.requests} requests, {spent.prompt_tokens} prompt "
            f"and {spent.response_tokens} response tokens, {self.cost:.4g} in money. What was answered is kept: raise "
            "it and run the stage again to go on, or lower min_share of the responses' section to go on with what is "
            "there."
        )
