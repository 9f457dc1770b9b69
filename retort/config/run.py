"""The whole configuration of a run: its sections, and what its entries mean together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from retort import plugins
from retort.config.base import Strict, unknown
from retort.config.data import (
    AnswerType,
    EvaluateConfig,
    PromptsConfig,
    ReportConfig,
    ResponsesConfig,
    RewardDataConfig,
    VotesConfig,
)
from retort.config.earlier import translated
from retort.config.entries import STAGES, check_acyclic, check_known, check_names, check_once, check_overrides, needs_of
from retort.config.judge import JudgeConfig
from retort.config.models import ModelConfig
from retort.config.students import DEFAULT_REWARDS, DEFAULT_STUDENTS, RewardEntry, StudentConfig, method_words
from retort.config.tracker import TrackerConfig
from retort.config.training import RewardConfig
from retort.errors import ConfigError

TEACHER = "teacher"
"""The model of `models` that answers the prompts of training."""


class RetortConfig(Strict):
    """Everything that a run depends on beside its input files and its code.

    Beside the keys below it has a section for each training method that `students` names (`sft`, `ppo`, ...), with the
    defaults of that method.
    """

    model_config = ConfigDict(extra="allow")

    seed: int = 0
    """Seed of every random choice in the run."""
    answer: AnswerType = "number"
    """Kind of answer that responses end in, and so how they are read and compared."""
    models: dict[str, ModelConfig]
    """Models that the run does not make, by name: `teacher`, and the bases that students start from."""
    prompts: PromptsConfig
    """Stage `prompts`."""
    teacher_responses: ResponsesConfig = ResponsesConfig()
    """Stage `teacher_responses`."""
    votes: VotesConfig = VotesConfig()
    """Stage `votes`."""
    judge: JudgeConfig | None = None
    """Who judges open-ended responses, for `answer: open`."""
    students: dict[str, StudentConfig] = Field({}, validate_default=False)
    """What is trained, by name; left out: `sft` from `base`, and `ppo` from `sft` against the learned reward."""
    student_responses: ResponsesConfig = ResponsesConfig()
    """Stage `student_responses`: students whose responses a learned reward reads."""
    rewards: dict[str, RewardEntry] = Field({}, validate_default=False)
    """What students are trained against, by name; left out: `learned`, where a student wants it."""
    reward_data: RewardDataConfig = RewardDataConfig()
    """Stage `reward_data`."""
    reward: RewardConfig = RewardConfig()
    """Defaults of learned rewards (`type: model`), which the stage `reward` trains."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Stage `evaluate`."""
    compare: list[tuple[str, str]] | None = None
    """Paired comparisons of the report, each the second model's results taken from the first's; left out: the result
    with what it started from, the teacher, the base and its baselines."""
    result: str | None = None
    """Student that the run hands over; left out: the last of `students` that is no baseline (`compute_of`)."""
    report: ReportConfig = ReportConfig()
    """Stage `report`."""
    tracker: TrackerConfig | None = None
    """Where parameters, curves, metrics and models of every task are shown beside the files of the run."""

    @model_validator(mode="before")
    @classmethod
    def _entries_and_sections(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = translated(values)[0]
        for section in ("students", "rewards"):
            if isinstance(values.get(section), dict):  # an entry that a layer above takes out is no entry
                values[section] = {name: entry for name, entry in values[section].items() if entry is not None}
        if not values.get("students"):
            values["students"] = DEFAULT_STUDENTS
        students = values["students"]
        if not values.get("rewards"):
            entries = students.values() if isinstance(students, dict) else ()
            wanted = {one.get("reward") for one in entries if isinstance(one, dict)}
            values["rewards"] = DEFAULT_REWARDS if wanted & {*DEFAULT_REWARDS} else {}
        if values.get("result") is None and isinstance(students, dict):
            # Said outright, so that whoever sorts a mapping does not change what a run hands over.
            kept = [name for name, one in students.items() if not (isinstance(one, dict) and one.get("compute_of"))]
            values["result"] = kept[-1] if kept else None
        methods = _methods(students)
        for key in [key for key in values if key not in cls.model_fields]:
            if key not in methods and key not in plugins.names("method"):
                raise ValueError(unknown(f"key {str(key)!r}", str(key), [*cls.model_fields, *sorted(methods)]))
        for name, method in methods.items():
            given = values.get(name, {})
            values[name] = given if isinstance(given, method.config) else _checked(method.config, given, name)
        return values

    @model_validator(mode="after")
    def _entries_fit_together(self) -> RetortConfig:
        check_names(self.models, self.students, self.rewards)
        if TEACHER not in self.models:
            raise ValueError("models: name the model that answers the prompts 'teacher'")
        check_once("evaluate.benchmarks", (benchmark.name for benchmark in self.evaluate.benchmarks))
        self._methods.update({name: self._method(name) for name in self.students})
        self._reward_types.update({name: self._reward_type(name) for name in self.rewards})
        for name in self.students:
            self._check_student(name)
        read = {name: self._check_reward(name) for name in self.rewards}
        rewarded = {name: self.reward_of(name) for name in self.students}
        loaded = {name: self.method(name).models(self.settings(name)) for name in self.students}
        check_acyclic(needs_of(self.students, read, rewarded, loaded))
        self._check_outcome()
        return self

    @model_validator(mode="after")
    def _open_answers_have_a_judge(self) -> RetortConfig:
        if self.answer == "open" and self.judge is None:
            raise ValueError("answer: open needs a judge: name one in the section judge")
        asked = any(self.reward_type(name).judge for name in self.rewards)
        if self.answer != "open" and self.judge is not None and not asked:
            raise ValueError(f"judge: answers of kind {self.answer} are voted on; leave it out, or set answer: open")
        return self

    @model_validator(mode="after")
    def _someone_trains_on_unlabelled_prompts(self) -> RetortConfig:
        if self.prompts.has_unlabelled and not any(map(self.trains_on_unlabelled, self.students)):
            raise ValueError(
                "prompts: some are unlabelled, but no student trains on them: that takes a method like ppo and a "
                "reward that needs no label of each prompt (type: model, say); leave out prompts.unlabelled and "
                "sources with use: unlabelled, or add such a student"
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

    _methods: dict[str, plugins.Method] = PrivateAttr(default_factory=dict)
    _reward_types: dict[str, plugins.RewardType] = PrivateAttr(default_factory=dict)

    def _method(self, student: str) -> plugins.Method:
        method: plugins.Method = plugins.load("method", self.students[student].method)
        if method.name in STAGES:
            raise ValueError(f"students.{student}.method: a method cannot be called {method.name!r}, as a stage is")
        return method

    def _reward_type(self, name: str) -> plugins.RewardType:
        try:
            kind: plugins.RewardType = plugins.load("reward", self.rewards[name].type)
        except ConfigError as error:
            raise ValueError(f"rewards.{name}.type: {error}") from error
        return kind

    def _check_student(self, name: str) -> None:
        entry, method, place = self.students[name], self._methods[name], f"students.{name}"
        check_known(f"{place}.from", entry.from_, [*self.models, *self.students], "model or student")
        if entry.from_ in self.models and not self.models[entry.from_].engine.WEIGHTS:
            raise ValueError(
                f"{place}.from: {entry.from_} is behind the engine {self.models[entry.from_].engine.type}, so its "
                "weights cannot be trained; start from a model with a source"
            )
        if entry.compute_of is not None:
            check_known(f"{place}.compute_of", entry.compute_of, self.students, "student")
            if not method.extra_compute:
                raise ValueError(
                    f"{place}.compute_of: the method {method.name} cannot spend more compute than its settings say; "
                    "use one that can (sft), or raise its settings"
                )
        elif entry.max_extra_steps is not None:
            raise ValueError(f"{place}.max_extra_steps: bounds what compute_of adds; name a student there")
        if not method.rewarded and entry.reward is not None:
            raise ValueError(f"{place}.reward: the method {method.name} is trained without a reward; leave it out")
        if method.rewarded:
            if entry.reward is None and len(self.rewards) != 1:
                given = ", ".join(self.rewards) or "none is given"
                raise ValueError(f"{place}.reward: say which of rewards it is trained against ({given})")
            if entry.reward is not None:
                check_known(f"{place}.reward", entry.reward, self.rewards, "reward")
        check_overrides(place, entry.overrides, method.config.model_fields, _keys(StudentConfig))
        section = getattr(self, method.name)
        settings = _checked(method.config, {**section.model_dump(), **entry.overrides}, place)
        _say_numbers(entry.model_extra, settings)
        for model in method.models(settings):
            check_known(place, model, [*self.models, *self.students], "model or student")
            self._check_weights(place, model)

    def _check_weights(self, place: str, name: str) -> None:
        """A model or student has its weights here."""
        if name in self.models and not self.models[name].engine.WEIGHTS:
            raise ValueError(
                f"{place}: asks for the weights of {name}, which is behind the engine {self.models[name].engine.type}; "
                "name a model with a source, or a student"
            )

    def _check_reward(self, name: str) -> dict[str, list[str]]:
        """What a reward reads of models and students, by key."""
        entry, kind, place = self.rewards[name], self._reward_types[name], f"rewards.{name}"
        check_overrides(place, entry.overrides, kind.config.model_fields, _keys(RewardEntry))
        below = self.reward.model_dump() if kind.config is RewardConfig else {}
        settings = _checked(kind.config, {**below, **entry.overrides}, place)
        _say_numbers(entry.model_extra, settings)
        if not kind.trained:
            loaded = kind.models(settings)
            for model in loaded:
                check_known(place, model, [*self.models, *self.students], "model or student")
            return {"type": loaded}
        read = {"trunk": [settings.trunk], "likelihood": settings.likelihood, "responses": settings.responses}
        for key, names in read.items():
            check_once(f"{place}.{key}", names)
            known = [TEACHER, *self.students] if key == "responses" else [*self.models, *self.students]
            for one in names:
                check_known(f"{place}.{key}", one, known, "student" if key == "responses" else "model or student")
                if key != "responses":
                    self._check_weights(f"{place}.{key}", one)
        return read

    def _check_outcome(self) -> None:
        """The result, what is evaluated and what is compared exist."""
        if self.result is None:
            raise ValueError("students: every one is a baseline (compute_of); add the student that the run is for")
        check_known("result", self.result, self.students, "student")
        every = [*self.models, *self.students]
        if self.evaluate.models != "all":
            check_once("evaluate.models", self.evaluate.models)
            for name in self.evaluate.models:
                check_known("evaluate.models", name, every, "model or student")
                if not self.engine(name).ASKABLE:
                    raise ValueError(
                        f"evaluate.models: {name!r} is a file of recorded responses, which answers nothing new; leave "
                        "it out"
                    )
        for first, second in self.compare or []:
            for name in (first, second):
                check_known("compare", name, every, "model or student")
            if first == second:
                raise ValueError(f"compare: {first!r} is compared with itself")

    @classmethod
    def partial(cls, sections: dict[str, Any]) -> RetortConfig:
        """A configuration with these sections alone, already checked; another one is an AttributeError."""
        config = cls.model_construct(**sections)
        for name in set(config.__dict__) - set(sections):
            del config.__dict__[name]
        students = sections.get("students", {})
        trained = [name for name, entry in students.items() if isinstance(entry, StudentConfig)]
        config._methods.update({name: config._method(name) for name in trained})
        config._reward_types.update({name: config._reward_type(name) for name in sections.get("rewards", {})})
        return config

    # What entries mean

    def method(self, student: str) -> Any:
        """The training method of a student (`retort.plugins.Method`)."""
        return self._methods[student]

    def settings(self, student: str) -> Any:
        """Settings of a student's method: its section with what the entry overrides."""
        entry, method = self.students[student], self.method(student)
        section = getattr(self, method.name, None) or method.config()
        if not entry.overrides:
            return section
        return method.config.model_validate({**section.model_dump(), **entry.overrides})

    def reward_type(self, name: str) -> Any:
        """The type of a reward (`retort.plugins.RewardType`)."""
        return self._reward_types[name]

    def reward_settings(self, name: str) -> Any:
        """Settings of a reward: of a learned one the section `reward` with what the entry overrides."""
        entry, kind = self.rewards[name], self.reward_type(name)
        # A task that reads nothing of the section, for the entry says it, does not have the section.
        below = (getattr(self, "reward", None) or RewardConfig()).model_dump() if kind.config is RewardConfig else {}
        return kind.config.model_validate({**below, **entry.overrides})

    def reward_parts(self, name: str) -> int:
        """Parts of the prompts whose responses are labelled for a learned reward by tasks of their own; 1: by none.

        As many as the shards of the teacher, or of the students where the reward reads no responses of the teacher's.
        A judge labels all in one task.
        """
        if self.answer == "open":
            return 1
        read = self.reward_settings(name).responses
        section = self.teacher_responses if TEACHER in read else self.student_responses
        return len(section.shards)

    def reward_of(self, student: str) -> str | None:
        """Reward that a student is trained against; None where its method takes none."""
        if not self.method(student).rewarded:
            return None
        named = self.students[student].reward
        return named if named is not None else next(iter(self.rewards))

    def trains_on_unlabelled(self, student: str) -> bool:
        """Whether a student trains on prompts that the teacher never answers too.

        Its method must read them, and its reward must not need a label of each prompt, as the vote does.
        """
        reward = self.reward_of(student)
        labels = reward is not None and self.reward_type(reward).votes
        return (
            self.prompts.has_unlabelled
            and "unlabelled" in self.method(student).reads_under(self.settings(student))
            and not labels
        )

    def engine(self, model: str) -> Any:
        """Engine settings of a model or student."""
        models = getattr(self, "models", {})
        return models[model].engine if model in models else self.students[model].engine

    def evaluated(self) -> list[str]:
        """Models and students that are evaluated, in the order of the tables."""
        every = [*(name for name, model in self.models.items() if model.engine.ASKABLE), *self.students]
        return every if self.evaluate.models == "all" else list(self.evaluate.models)

    def sampled_students(self) -> list[str]:
        """Students whose responses a learned reward reads."""
        read = {name for reward in self.learned_rewards() for name in self.reward_settings(reward).responses}
        return [name for name in self.students if name in read]

    def learned_rewards(self) -> list[str]:
        """Rewards that the run trains."""
        # A task that is told of none has no such section.
        return [name for name in getattr(self, "rewards", {}) if self.reward_type(name).trained]

    def final_student(self) -> str:
        """The student that the run hands over, unless a gate stops it."""
        assert self.result is not None, "a configuration without one is refused"
        return self.result

    def lineage(self, name: str) -> Iterator[str]:
        """What a student started from, and what that started from, down to a model of `models`."""
        while name in self.students:
            name = self.students[name].from_
            yield name

    def base_of(self, student: str) -> str:
        """The model of `models` at the bottom of a student's lineage."""
        return list(self.lineage(student))[-1]

    def comparisons(self) -> list[tuple[str, str]]:
        """Pairs of evaluated models that the report compares."""
        evaluated = set(self.evaluated())
        if self.compare is not None:
            return [pair for pair in self.compare if evaluated.issuperset(pair)]
        final = self.final_student()
        rest = [name for name in self.students if name != final]
        pairs = [(final, self.base_of(final)), (final, self.students[final].from_), (final, TEACHER)]
        pairs += [(final, name) for name in rest if self.students[name].compute_of is not None]
        for name in rest:
            pairs += [(name, TEACHER), (name, self.base_of(name))]
        return [pair for pair in dict.fromkeys(pairs) if evaluated.issuperset(pair) and pair[0] != pair[1]]

    def label(self, name: str) -> str:
        """What tables call a model or student."""
        if name in self.students:
            entry = self.students[name]
            shown = method_words(name) if name == self.method(name).name else name.replace("_", " ")
            return entry.label or f"{shown} student"
        return {"teacher": "Teacher", "base": "Base student"}.get(name, name.replace("_", " "))


def _methods(students: Any) -> dict[str, Any]:
    """The methods that students name, by their sections' names."""
    found: dict[str, Any] = {}
    for name, entry in students.items() if isinstance(students, dict) else ():
        given = entry.method if isinstance(entry, StudentConfig) else (entry or {}).get("method")
        if given is None:
            continue  # refused where the entry itself is read
        try:
            method = plugins.load("method", str(given))
        except ConfigError as error:
            raise ValueError(f"students.{name}.method: {error}") from error
        if found.setdefault(method.name, method) is not method:
            raise ValueError(f"students.{name}.method: two methods are called {method.name!r}; rename one")
    return found


def _keys(entry: type[Strict]) -> list[str]:
    """Keys that every entry has, as the configuration spells them."""
    return [field.alias or name for name, field in entry.model_fields.items()]


def _say_numbers(said: Any, settings: Any) -> None:
    """Write what an entry says of numbers as the numbers that they are: YAML takes `1e-5` for a text, and 0 is 0.0.

    A number has one spelling then, and so one hash, however it was written.
    """
    for key, value in (said or {}).items():
        meant = getattr(settings, key, None)
        if isinstance(value, dict):
            _say_numbers(value, meant)
        elif isinstance(meant, (int, float)) and not isinstance(meant, bool):
            said[key] = meant


def _checked(kind: type[Any], values: Any, place: str) -> Any:
    """A section of another package's or method's class, its problems named by their place."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(problems(error, place))) from error


def problems(error: ValidationError, prefix: str = "") -> Iterator[str]:
    """One line for each problem: its place in the configuration and what is wrong."""
    for item in error.errors():
        place = ".".join(str(part) for part in ((prefix,) if prefix else ()) + item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        yield f"{place}: {message}" if place else message
