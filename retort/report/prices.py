"""What the tokens of a run cost, at the prices that its params.yaml names now.

Prices decide no result, so no versioned file depends on them: money is worked out whenever a page or a table is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retort.config.earlier import translated
from retort.config.load import read_yaml

JUDGE = "(judge)"
"""Stands for the judge among the names of models; no model can be called so."""


@dataclass(frozen=True)
class Prices:
    """Prices by model, student or judge; none for what runs here."""

    of: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Price of a million prompt tokens and of a million response tokens."""
    currency: str = "USD"
    """What they are in."""

    def cost(self, model: str | None, prompt_tokens: int, response_tokens: int) -> float | None:
        """Price of tokens that `model` read and wrote, in the configured currency; None where it has none."""
        if model is None or model not in self.of:
            return None
        prompt, response = self.of[model]
        return (prompt * prompt_tokens + response * response_tokens) / 1e6


def read_prices(params: Path) -> Prices:
    """The prices that a params.yaml names (`prompt_cost` and `response_cost` of engines); none without the file.

    Raises:
        ConfigError, InputError: the file is no YAML mapping.
    """
    if not params.exists():
        return Prices()
    values = translated(read_yaml(params))[0]
    asked = {name: entry for key in ("models", "students") for name, entry in (values.get(key) or {}).items()}
    asked[JUDGE] = (values.get("judge") or {}).get("model")
    currency = (values.get("report") or {}).get("currency") or Prices.currency
    return Prices({name: found for name, entry in asked.items() if any(found := _prices_of(entry))}, str(currency))


def _prices_of(entry: Any) -> tuple[float, float]:
    engine = entry.get("engine") if isinstance(entry, dict) else None
    if not isinstance(engine, dict):
        return 0.0, 0.0
    return float(engine.get("prompt_cost") or 0.0), float(engine.get("response_cost") or 0.0)
