"""AlpacaEval's annotation files (tatsu-lab/alpaca_eval): judgements as its annotators write them, read from scratch.

Annotators, told apart by what the judge wrote (`raw_completion`):

ranking: text that is a Python or JSON list of `{"model": NAME, "rank": 1 or 2}` (`alpaca_eval_gpt4`, whose two
    models are `model_1` and `model_2`).
function: the arguments of a function call, `ordered_models` being such a list (`alpaca_eval_cot_gpt4_turbo_fn`, models
    `m` and `M`); `referenced_models` says which output each is, and `m` is shown first.
token: the log-probabilities of one token, `m` or `M` (`weighted_alpaca_eval_gpt4_turbo`): a soft preference
    p(m) / (p(m) + p(M)) for the output shown first. The files do not say which one that was; it is inferred
    from the stored preference where only one order fits.

The stored `preference` is 1 where the baseline wins, 2 where the model wins, 0 or 1.5 for a draw, null for a verdict
that could not be read, and between 1 and 2 for a soft preference.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import exp, isnan
from pathlib import Path
from typing import Any

from retort.errors import InputError
from retort.io.rows import Record, read_records
from retort.judge.comparisons import PairJudgement

_REMEDY = "Give an annotations file of AlpacaEval (a JSON array or JSON lines, gzipped or not)"
_LONGEST = 20_000
_ROUNDING = 1e-6
"""Difference from the stored preference, which has ten digits, that two roundings can make."""


@dataclass(frozen=True)
class Judgement:
    """One row of an annotations file."""

    row: int
    annotator: str
    comparison: PairJudgement
    """With the stored preference."""
    raw: bool
    """Whether the file holds what the judge wrote."""
    read: float | None
    """Preference for the model's output read from what the judge wrote: 0 to 1; None where there is no verdict."""

    @property
    def agrees(self) -> bool:
        """Whether what was read is what is stored."""
        stored = self.comparison.preference
        return self.read is not None and stored is not None and abs(self.read - stored) <= _ROUNDING


def read_judgements(path: Path) -> Iterator[Judgement]:
    """Read an annotations file, one row after another.

    Raises:
        InputError: the file is missing or malformed, or a row lacks a field or holds one that means nothing.
    """
    for row, record in read_records(path):
        texts = {name: _text(record, name, path, row) for name in ("instruction", "output_1", "output_2")}
        stored = _preference(record, path, row)
        raw = record.get("raw_completion")
        read, first = _read(raw, record.get("referenced_models"), stored)
        comparison = PairJudgement(**texts, preference=stored, first_shown=first)
        yield Judgement(row, str(record.get("annotator") or ""), comparison, raw is not None, read)


def read_ranking(raw: Any, first: str, second: str) -> float | None:
    """Preference for the model `second` in a ranking of `first` and `second`: 1, 0, or None without a verdict.

    Args:
        raw: A list of `{"model": ..., "rank": ...}`, or text that spells one in Python or JSON.
        first: Name of the one model in the ranking.
        second: Name of the other.
    """
    entries = _literal(raw) if isinstance(raw, str) else raw
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        return None
    ranks = {name: [one.get("rank") for one in entries if one.get("model") == name] for name in (first, second)}
    # Both models, each once, one of them first: a judge that ranks both first has not decided.
    if sorted(map(str, ranks[first] + ranks[second])) != ["1", "2"] or len(ranks[first]) != 1:
        return None
    return float(str(ranks[second][0]) == "1")


def first_token_preference(top_logprobs: list[dict[str, Any]]) -> float | None:
    """p(m) / (p(m) + p(M)) of the first token: the soft preference for the output shown first.

    None where neither token is among those that were kept.
    """
    found = {one["token"]: exp(one["logprob"]) for one in top_logprobs if one.get("token") in ("m", "M")}
    total = sum(found.values())
    return found.get("m", 0.0) / total if total else None


def _read(raw: Any, names: Any, stored: float | None) -> tuple[float | None, int | None]:
    """The preference for the model's output, and which output was shown first."""
    if isinstance(raw, dict) and "ordered_models" in raw:
        if not isinstance(names, Mapping) or {names.get("m"), names.get("M")} != {"output_1", "output_2"}:
            return None, None
        first = 1 if names["m"] == "output_1" else 2
        baseline, model = ("m", "M") if first == 1 else ("M", "m")
        return read_ranking(raw["ordered_models"], baseline, model), first
    if isinstance(raw, dict) and "logprobs" in raw:
        return _token(raw, stored)
    return (read_ranking(raw, "model_1", "model_2"), 1) if isinstance(raw, str) else (None, None)


def _token(raw: dict[str, Any], stored: float | None) -> tuple[float | None, int | None]:
    content = (raw["logprobs"] or {}).get("content") or [{}]
    p = first_token_preference(content[0].get("top_logprobs") or [])
    if p is None or stored is None:
        return p if p is None else 1 - p, None
    fits = [order for order, read in ((1, 1 - p), (2, p)) if abs(read - stored) <= _ROUNDING]
    return (p if fits == [2] else 1 - p), (fits[0] if len(fits) == 1 else None)


def _literal(text: str) -> Any:
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _text(record: Record, field: str, path: Path, row: int) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        problem = "is missing" if value is None else "is not a string"
        raise InputError(problem, file=path, row=row, field=field, remedy=_REMEDY)
    return value


def _preference(record: Record, path: Path, row: int) -> float | None:
    value = record.get("preference")
    if value is None or (isinstance(value, float) and isnan(value)):  # pandas writes NaN
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value == 0 or 1 <= value <= 2):
        problem = f"is {value!r}, neither 0 (a draw) nor a number from 1 to 2"
        raise InputError(problem, file=path, row=row, field="preference", remedy=_REMEDY)
    return 0.5 if value == 0 else float(value) - 1
