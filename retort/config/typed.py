"""What of a configuration is changed from run to run: values that Kubeflow's interface offers one by one, with a type.

Only values that leave the graph as it is, so that a run that was started in the interface is the run that
`retort submit --set` would have started.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from retort.config.load import resolved
from retort.config.run import RetortConfig, problems
from retort.config.training import KLConfig
from retort.errors import ConfigError

Kind = Literal["int", "float", "int?", "float?"]
"""With a question mark: 0 stands for none."""


@dataclass(frozen=True)
class Typed:
    """One value of a configuration that may be changed when a run is started."""

    key: str
    """Where the configuration says it: `sft.learning_rate`, `students.ppo2.kl.coefficient`."""
    kind: Kind
    words: str
    """What it means."""
    operation: bool = False
    """Whether it decides only how tasks are computed: no task's settings contain it."""

    @property
    def name(self) -> str:
        """What the pipeline calls it: `sft_learning_rate`, `teacher_budget_requests`."""
        named = self.key.removeprefix("models.").replace(".engine.", ".") if self.operation else self.key
        return named.replace(".", "_").replace("-", "_").lower()


def typed(config: RetortConfig) -> list[Typed]:
    """The values of `config` that may be changed one by one, each once."""
    found = {one.key: one for one in _typed(config)}
    return list(found.values())


def _typed(config: RetortConfig) -> Iterator[Typed]:
    yield _of(config.prompts, "limit", "prompts.limit", "int?")
    yield _of(config.teacher_responses, "samples", "teacher_responses.samples", "int")
    if config.sampled_students():
        yield _of(config.student_responses, "samples", "student_responses.samples", "int")
    for student, entry in config.students.items():
        method, settings = config.method(student), config.settings(student)
        if method.answer is not None:  # nothing is trained
            continue
        places = _Places(f"students.{student}", entry.overrides, method.name)
        for name in ("learning_rate", "beta"):
            if isinstance(getattr(settings, name, None), (int, float)) and (key := places.of(name)):
                yield _of(settings, name, key, "float")
        kl = getattr(settings, "kl", None)
        if isinstance(kl, KLConfig) and (key := places.of("kl", "coefficient")):
            yield _of(kl, "coefficient", key, "float")
    for reward in config.learned_rewards():
        settings = config.reward_settings(reward)
        if key := _Places(f"rewards.{reward}", config.rewards[reward].overrides, "reward").of("learning_rate"):
            yield _of(settings, "learning_rate", key, "float")
    for name, model in config.models.items():
        if (budget := getattr(model.engine, "budget", None)) is not None:
            place = f"models.{name}.engine.budget"
            yield _of(budget, "requests", f"{place}.requests", "int?", operation=True)
            yield _of(budget, "tokens", f"{place}.tokens", "int?", operation=True)
            yield _of(budget, "cost", f"{place}.cost", "float?", operation=True)


@dataclass(frozen=True)
class _Places:
    """Where an entry's settings are said: in the entry, or in the section that it shares with others."""

    entry: str
    overrides: Mapping[str, Any]
    section: str

    def of(self, *path: str) -> str | None:
        """The key of a setting; None where the entry says a part around it, and leaves it at its default there."""
        if path[0] not in self.overrides:
            return ".".join([self.section, *path])
        said: Any = self.overrides
        for part in path:
            if not isinstance(said, Mapping) or part not in said:
                return None
            said = said[part]
        return ".".join([self.entry, *path])


def _of(section: Any, name: str, key: str, kind: Kind, *, operation: bool = False) -> Typed:
    words = " ".join((type(section).model_fields[name].description or "").split())
    none = " 0: no bound." if kind.endswith("?") else ""
    return Typed(key, kind, f"{words}{none} `{key}` of the configuration.", operation)


def read(kind: str, key: str, given: Any) -> int | float | None:
    """A value as Kubeflow hands it on: a number, or its text.

    Raises:
        ConfigError: it is no number of that kind.
    """
    try:
        number = float(given)
        whole = number.is_integer()
    except (TypeError, ValueError):
        number, whole = math.nan, False
    if not math.isfinite(number) or (kind.startswith("int") and not whole):
        raise ConfigError(f"{key}: {given!r} is no {'whole number' if kind.startswith('int') else 'number'}.")
    if kind.endswith("?") and number == 0:
        return None
    return int(number) if kind.startswith("int") else number


def shown(values: Mapping[str, Any], one: Typed) -> int | float:
    """The value of a resolved configuration as an argument of the pipeline."""
    value = get(values, one.key)
    if value is None:
        return 0 if one.kind.startswith("int") else 0.0
    return int(value) if one.kind.startswith("int") else float(value)


def get(values: Any, key: str) -> Any:
    """What nested `values` say at a dotted key.

    Raises:
        KeyError: they say nothing there.
    """
    for part in key.split("."):
        if not isinstance(values, Mapping):
            raise KeyError(key)
        values = values[part]
    return values


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Change nested `values` at a dotted key, in place."""
    *folders, name = key.split(".")
    for folder in folders:
        values = values[folder]
    values[name] = value


def folded(config: RetortConfig, changes: Sequence[str], source: str) -> RetortConfig:
    """`config` with changes `key=value` of its typed values.

    Raises:
        ConfigError: a change names none of them, or the configuration is wrong with them; names `source` and the key.
    """
    known = {one.key: one for one in typed(config)}
    values = copy.deepcopy(resolved(config))
    for key, given in parted(changes):
        if key not in known:
            raise ConfigError(f"{source}: {key}: is none of what a run may change; those are {', '.join(known)}.")
        try:
            put(values, key, read(known[key].kind, key, given))
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error
    try:
        return RetortConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"  {line}" for line in problems(error)]
        raise ConfigError("\n".join([f"{source}: {error.error_count()} problem(s)", *lines])) from error


def parted(changes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Changes as pairs of key and text."""
    for change in changes:
        key, _, value = change.partition("=")
        yield key, value
