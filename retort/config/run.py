"""The whole configuration of a run, and reading it from YAML with overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, create_model, model_validator

from retort.config.base import Strict
from retort.config.data import (
    AnswerType,
    EvaluateConfig,
    PromptsConfig,
    ReportConfig,
    ResponsesConfig,
    RewardDataConfig,
    VotesConfig,
)
from retort.config.judge import JudgeConfig
from retort.config.models import StudentConfig, TeacherConfig
from retort.config.training import EqualComputeConfig, PPOConfig, RewardConfig, SFTConfig
from retort.config.yaml_text import read_yaml_text
from retort.errors import ConfigError, InputError


class RetortConfig(Strict):
    """Everything that a run depends on beside its input files and its code."""

    seed: int = 0
    """Seed of every random choice in the run."""
    answer: AnswerType = "number"
    """Kind of answer that responses end in, and so how they are read and compared."""
    teacher: TeacherConfig
    """The teacher."""
    student: StudentConfig
    """The base student."""
    prompts: PromptsConfig
    """Stage `prompts`."""
    teacher_responses: ResponsesConfig = ResponsesConfig()
    """Stage `teacher_responses`."""
    votes: VotesConfig = VotesConfig()
    """Stage `votes`."""
    judge: JudgeConfig | None = None
    """Who judges open-ended responses, for `answer: open`."""
    sft: SFTConfig = SFTConfig()
    """Stage `sft`."""
    student_responses: ResponsesConfig = ResponsesConfig(temperatures=[1.0])
    """Stage `student_responses`."""
    reward_data: RewardDataConfig = RewardDataConfig()
    """Stage `reward_data`."""
    reward: RewardConfig = RewardConfig()
    """Stage `reward`."""
    ppo: PPOConfig = PPOConfig()
    """Stage `ppo`."""
    sft_equal_compute: EqualComputeConfig = EqualComputeConfig()
    """Stage `sft_equal_compute`."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Stage `evaluate`."""
    report: ReportConfig = ReportConfig()
    """Stage `report`."""

    @model_validator(mode="after")
    def _open_answers_have_a_judge(self) -> RetortConfig:
        if self.answer == "open" and self.judge is None:
            raise ValueError("answer: open needs a judge: name one in the section judge")
        if self.answer != "open" and self.judge is not None:
            raise ValueError(f"judge: answers of kind {self.answer} are voted on; leave it out, or set answer: open")
        return self

    @model_validator(mode="after")
    def _black_box_teachers_have_no_weights(self) -> RetortConfig:
        if self.teacher.type in ("recorded", "openai"):
            for place, wants in (
                ("likelihood", "teacher" in self.reward.likelihood),
                ("init", self.reward.init == "teacher"),
            ):
                if wants:
                    raise ValueError(f"reward.{place} asks for the weights of a {self.teacher.type} teacher; use 'sft'")
        if self.teacher.type == "recorded" and "teacher" in self.evaluate.models:
            raise ValueError(
                "evaluate.models names 'teacher', but a recorded teacher answers nothing new; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _benchmark_files_are_kept_out_of_training(self) -> RetortConfig:
        for benchmark in self.evaluate.benchmarks:
            for split, file in benchmark.data.items():
                # A task's train split holds examples, not what is tested, and may be what a run trains on.
                if split != "train" and file not in self.prompts.decontaminate:
                    raise ValueError(
                        f"evaluate.benchmarks: {benchmark.name} is tested on {file}, which prompts.decontaminate does "
                        "not name, so its questions could reach training; add it there"
                    )
        return self


def load_config(path: Path, *overlays: Path, changes: Sequence[str] = ()) -> RetortConfig:
    """Read a configuration; each overlay replaces the keys that it names, sections merged key by key.

    Args:
        path: The configuration.
        overlays: Files that are laid over it, one after another.
        changes: Single values laid over all of them, as `section.key=VALUE` with VALUE in YAML.

    Raises:
        ConfigError: a file is missing or no YAML mapping, a key is unknown, or a value is out of range.
    """
    merged: dict[str, Any] = {}
    for values in (*map(read_yaml, (path, *overlays)), *map(_change, changes)):
        merged = _merge(merged, values)
    try:
        return RetortConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, ", ".join([*map(str, (path, *overlays)), *changes]))) from error


def _change(text: str) -> dict[str, Any]:
    """`a.b=1` as `{"a": {"b": 1}}`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"{text!r} changes nothing: write section.key=VALUE, such as ppo.iterations=20.")
    try:
        change: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r}: the value is not YAML: {error}") from error
    for part in reversed(key.split(".")):
        change = {part: change}
    found: dict[str, Any] = change
    return found


def load_keys(path: Path, keys: Sequence[str]) -> RetortConfig:
    """Read only what a stage declares: sections, or single keys of one as `section.key`.

    Another section is an AttributeError and another key of a section has its default, so a stage cannot come to
    depend on a parameter that neither DVC nor Kubeflow knows of.
    """
    values = pick(read_yaml(path), keys)
    sections = {key.partition(".")[0] for key in keys}
    fields: Any = {
        name: (RetortConfig.model_fields[name].annotation, RetortConfig.model_fields[name]) for name in sections
    }
    try:
        part = create_model("Part", __base__=Strict, **fields).model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, str(path))) from error
    config = RetortConfig.model_construct(**{name: getattr(part, name) for name in sections})
    for name in set(config.__dict__) - sections:
        del config.__dict__[name]
    return config


def pick(values: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The part of a configuration that `keys` name: sections, or single keys of one as `section.key`."""
    picked: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.partition(".")
        if section not in values:
            continue
        if name:
            picked.setdefault(section, {}).update({name: values[section][name]} if name in values[section] else {})
        else:
            picked[section] = values[section]
    return picked


def resolved(config: RetortConfig) -> dict[str, Any]:
    """The configuration with every default written out, as plain values."""
    return config.model_dump(mode="json")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; the key `extends` names a file beside it that it is laid over."""
    if not path.exists():
        raise ConfigError(f"{path}: does not exist. Give the path of a configuration, such as configs/demo.yaml.")
    try:
        values = read_yaml_text(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise InputError("is not a mapping of sections", file=path, remedy="Start from configs/demo.yaml")
    if (base := values.pop("extends", None)) is not None:
        values = _merge(read_yaml(path.parent / base), values)
    return values


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        # A section of another type replaces the one below: the fields of one union member mean nothing in another.
        same_kind = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("type", old.get("type")) == old.get("type")
        )
        merged[key] = _merge(old, value) if same_kind and isinstance(old, dict) else value
    return merged


def _explain(error: ValidationError, source: str) -> str:
    lines = [f"{source}: {error.error_count()} problem(s)"]
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "(top level)"
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"  {place}: {message}")
    return "\n".join(lines)
