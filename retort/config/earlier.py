"""Keys of earlier versions: read as what they are now where that is one thing, else refused with the new place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retort.config.base import unknown

_OF_THE_MODEL = ("revision", "dtype", "pad_token", "chat_template")
"""Fields of a teacher or student that a model has now; `model` became `source` where it names weights."""

_OF_ENDPOINTS = (
    "base_url",
    "api_key_env",
    "max_retries",
    "timeout_s",
    "prompt_cost",
    "response_cost",
    "path",
    "format",
)
"""Fields that only engines without weights had."""


def translated(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One layer of a configuration in today's keys, and what was translated, as sentences.

    Raises:
        ValueError: a key has no single place any more.
    """
    found, notes = dict(values), list[str]()

    def move(key: str, place: str, change: Callable[[Any], Any]) -> None:
        if key in found:
            value = change(found.pop(key))
            name, _, rest = place.partition(".")
            found[name] = {**found.get(name, {}), rest: {**found.get(name, {}).get(rest, {}), **value}}
            notes.append(f"{key} is {place} now")

    if isinstance(found.get("teacher"), dict):
        move("teacher", "models.teacher", _model)
    if isinstance(found.get("student"), dict):
        move("student", "models.base", _model)
    judge = found.get("judge")
    if isinstance(judge, dict) and isinstance(judge.get("model"), dict) and _is_earlier(judge["model"]):
        found["judge"] = {**judge, "model": _model(judge["model"])}
        notes.append("judge.model is written like an entry of models now")
    if isinstance(found.get("reward"), dict) and "init" in found["reward"]:
        reward = dict(found["reward"])
        found["reward"] = {**reward, "trunk": reward.pop("init")}
        found["reward"].pop("init", None)
        notes.append("reward.init is reward.trunk now")
    _move_trackers(found, notes)
    if (baseline := found.pop("sft_equal_compute", None)) is not None:
        _refuse_baseline(baseline)
    return found, notes


def _move_trackers(found: dict[str, Any], notes: list[str]) -> None:
    """A training section's own `tracker` is the run's: every task is shown there now."""
    for name, section in list(found.items()):
        if isinstance(section, dict) and isinstance(kind := section.get("tracker"), str):
            found[name] = {key: value for key, value in section.items() if key != "tracker"}
            if kind != "none":
                found.setdefault("tracker", {"type": kind})
            notes.append(f"{name}.tracker is tracker.type now")


def _is_earlier(model: dict[str, Any]) -> bool:
    return "type" in model or "model" in model or any(key in model for key in _OF_ENDPOINTS)


def _model(values: dict[str, Any]) -> dict[str, Any]:
    """A teacher, student or judge of earlier versions as an entry of `models`."""
    kind = values.get("type")
    if kind not in (None, "transformers", "vllm", "openai", "recorded"):
        raise ValueError(unknown(f"engine {kind!r}", str(kind), ["transformers", "vllm", "openai", "recorded"]))
    elsewhere = kind in ("openai", "recorded") or (kind is None and any(key in values for key in _OF_ENDPOINTS))
    found: dict[str, Any] = {}
    engine: dict[str, Any] = {"type": kind} if kind else {}
    for key, value in values.items():
        if key == "type":
            continue
        if key == "model" and not elsewhere:
            found["source"] = value
        elif key in _OF_THE_MODEL:
            found[key] = value
        else:
            engine[key] = value
    if kind == "vllm":
        found.setdefault("dtype", "bfloat16")  # what an engine of this type took by default
    return found | ({"engine": engine} if engine else {})


def _refuse_baseline(baseline: Any) -> None:
    if isinstance(baseline, dict) and baseline.get("enabled") is False:
        return  # an arm that is not wanted is no entry
    bound = baseline.get("max_extra_steps") if isinstance(baseline, dict) else None
    extra = f", max_extra_steps: {bound}" if bound else ""
    raise ValueError(
        "sft_equal_compute is an entry of students now. Write the students out: students: {sft: {method: sft, from: "
        "base}, ppo: {method: ppo, from: sft, reward: learned}, sft_equal_compute: {method: sft, from: base, "
        f"compute_of: ppo{extra}}}}}"
    )
