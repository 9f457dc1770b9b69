"""Whether a run's result is worth having, from the content of its `metrics.json`: for exit codes and promotion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retort.errors import ResultError


def check_worth(metrics: Mapping[str, Any]) -> None:
    """Refuse a result that is not shown to be better than its base, and a run that raised an alarm.

    Raises:
        ResultError: with every reason.
    """
    names, base = metrics.get("names", {}), metrics.get("base", "")
    better = metrics.get("better_than_base")
    reasons = [*metrics.get("alarms", [])]
    if better is None:
        called = names.get(base, base) or "its base"
        reasons.insert(0, f"Whether it is better than {called} is not known: evaluate both (evaluate.models).")
    elif not better:
        reasons.insert(0, "It is not shown to be better than the model that it was made from.")
    if reasons:
        raise ResultError(f"the result of this run ({metrics['final_model']}) is not worth having. {' '.join(reasons)}")
