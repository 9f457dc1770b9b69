"""Settings that pass every bound and still cannot be meant, or that make a result say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retort.check.finding import Checked
from retort.config.training import OptimizerConfig
from retort.errors import ConfigError
from retort.run.embedded import place
from retort.tracking.make import missing

_ABSURD, _HIGH, _LOW = 0.1, 1e-2, 1e-8
"""Learning rates of AdamW, which moves each weight by up to the rate a step."""
_LARGE, _HIGH_FOR_LARGE = 50e6, 2e-4
"""Parameters from which a full fine-tuning at this rate destroys more than it teaches."""


def check_settings(on: Checked) -> None:
    """Learning rates, warm-ups, trackers, and how many votes a prompt gets."""
    for place_of, settings, start, grows in _trained(on):
        _check_rates(on, place_of, settings, start)
        steps = getattr(settings, "steps", None)
        if steps is not None and settings.warmup_steps >= steps and not grows:
            on.warn(
                f"{place_of}.warmup_steps",
                f"is {settings.warmup_steps} of {steps} steps: the learning rate is never reached",
            )
    _check_tracker(on)
    _check_votes(on)


def _check_tracker(on: Checked) -> None:
    """A tracker that nothing would arrive at."""
    if (config := on.config.tracker) is None:
        return
    if not on.here and config.type == "tensorboard" and "://" not in config.folder:
        words = "is a folder, and a pod's files are gone when it ends: name an address, s3://BUCKET/FOLDER"
        on.error("tracker.folder", words, ConfigError.exit_code)
    if words := missing(config):
        if on.here:
            on.error("tracker", f"{config.type} {words}", ConfigError.exit_code)
        else:
            on.warn("tracker", f"{config.type}, seen from this machine, {words} That holds of the pods too.")


def _trained(on: Checked) -> Iterator[tuple[str, Any, str, bool]]:
    """Place, settings and start of everything that is trained, and whether `compute_of` adds steps to its own."""
    config = on.config
    for name in config.students:
        method = config.method(name).name
        place_of = f"students.{name}" if config.students[name].overrides else method
        yield place_of, config.settings(name), on.base_of(name), config.students[name].compute_of is not None
    for name in config.learned_rewards():
        settings = config.reward_settings(name)
        place_of = f"rewards.{name}" if config.rewards[name].overrides else "reward"
        yield place_of, settings, on.base_of(settings.trunk), False


def _check_rates(on: Checked, place_of: str, settings: Any, start: str) -> None:
    if not isinstance(settings, OptimizerConfig):
        return
    size = _parameters(on, start)
    for key in type(settings).model_fields:
        rate = getattr(settings, key)
        if not key.endswith("learning_rate") or rate is None:
            continue
        whole = getattr(settings, "lora", None) is None and "head" not in key
        if rate >= _ABSURD:
            on.error(
                f"{place_of}.{key}",
                f"is {rate:g}: AdamW moves every weight by up to that a step, so nothing of the model would be left. "
                "Usual are 1e-6 to 1e-3.",
                ConfigError.exit_code,
            )
        elif rate > _HIGH or rate < _LOW:
            on.warn(f"{place_of}.{key}", f"is {rate:g}; usual are 1e-6 to 1e-3")
        elif whole and size is not None and size > _LARGE and rate > _HIGH_FOR_LARGE:
            on.warn(
                f"{place_of}.{key}",
                f"is {rate:g} for a full fine-tuning of {size / 1e6:,.0f} M parameters ({start}); usual are 1e-6 to "
                "5e-5, or 1e-4 with lora",
            )


def _parameters(on: Checked, name: str) -> float | None:
    """Parameters that a model in a folder here has at least (taken as float32); None where it is elsewhere."""
    source = on.config.models[name].source
    folder = None if source is None else place(source, on.root)
    if folder is None or not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 4  # float32, so at least


def _check_votes(on: Checked) -> None:
    sampling = on.config.teacher_responses
    votes = sampling.samples * len(sampling.temperatures)
    if on.config.answer == "open" or not on.teacher_is_asked:
        return
    if votes == 1:
        on.warn("teacher_responses.samples", "is one response a prompt: a vote over one response is that response")
    elif votes > 1 and not any(sampling.temperatures):
        on.error(
            "teacher_responses.temperatures",
            f"are all 0: the {votes} responses to a prompt would be the same, and a vote over them says nothing. Use "
            "0.7 and 1.0, say.",
            ConfigError.exit_code,
        )
