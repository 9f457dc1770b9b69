"""What each stage's tasks read and write under a configuration: the one place where an edge of the graph is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from retort import plugins
from retort.config import RetortConfig
from retort.config.base import content_keys, operation_keys
from retort.config.data import BenchmarkConfig
from retort.config.models import ModelConfig
from retort.config.run import TEACHER
from retort.run.embedded import exists
from retort.run.graph import Graph, Stage, Task
from retort.run.known_stages import STAGES, method_stage
from retort.run.task_params import Needs, leaves, overrides, said_keys

_JUDGE = ("retort.judge", "retort.stages.judging", "retort.stages.judgements")
"""Modules of runs that ask a judge."""

_HARNESS = ("retort.evaluation.harness",)
"""Modules of tasks of lm-evaluation-harness."""

TRACKER = "tracker"
"""Key of the configuration that every task reads, and that decides none of their results."""

UNLABELLED = "outputs/unlabelled"
"""Prompts that the teacher never answers: apart from the others, for only students read them."""


def graph(config: RetortConfig, root: Path = Path()) -> Graph:
    """The graph of `config`.

    Args:
        config: The whole configuration.
        root: Folder that its paths start from. Models and chat templates count as files only if they exist there: they
            may be names on the hub.
    """
    made = _Tasks(config, root)
    before = list(made.before_report())
    return Graph.of([*before, made.report(list(Graph.of(before)))])


class _Tasks:
    def __init__(self, config: RetortConfig, root: Path) -> None:
        self.config, self.root = config, root
        self.open = config.answer == "open"

    def before_report(self) -> Iterator[Task]:
        """Every task whose figures the report shows."""
        config = self.config
        yield self.prompts()
        yield self.models()
        yield from (self.teacher_responses(shard) for shard in config.teacher_responses.shards)
        if self._by_shard():
            yield from (self.ballots(shard) for shard in config.teacher_responses.shards)
        yield self.votes()
        for student in config.students:
            yield self.train(student)
        for student in config.sampled_students():
            yield from (self.student_responses(student, shard) for shard in config.student_responses.shards)
        for reward in config.learned_rewards():
            if (parts := config.reward_parts(reward)) > 1:
                yield from (self.reward_examples(reward, part) for part in range(parts))
            yield self.reward_data(reward)
            yield self.reward(reward)
        for model in config.evaluated():
            yield from (self.evaluate(model, benchmark) for benchmark in config.evaluate.benchmarks)

    # Stages that make data

    def prompts(self) -> Task:
        prompts = self.config.prompts
        # A data set of `datasets` may be a folder of the project too.
        files = [one.path for one in prompts.sources if one.type == "file" or (self.root / one.path).exists()]
        return self._task(
            "prompts",
            params=("seed", "prompts"),
            outs=("outputs/prompts", *([UNLABELLED] if prompts.has_unlabelled else [])),
            metrics=("metrics/prompts.json",),
            sources=self._all([*files, *prompts.decontaminate]),
        )

    def models(self) -> Task:
        models = self.config.models
        return self._task(
            "models",
            params=[key for name, model in models.items() for key in content_keys(model, f"models.{name}")],
            operation=self._operation(),
            outs=[self.folder(name) for name in models],
            metrics=("metrics/models.json",),
            sources=[
                file
                for model in models.values()
                for file in (*self._files(model), *self._plugin_files(model.engine.type))
            ],
        )

    def teacher_responses(self, shard: int) -> Task:
        return self._task(
            "teacher_responses",
            {"shard": str(shard)},
            params=("seed", "teacher_responses"),
            deps=("outputs/prompts", self.folder(TEACHER)),
            outs=(f"outputs/teacher_responses/shard-{shard}.parquet",),
            metrics=(f"metrics/teacher_responses-{shard}.json",),
            answers=TEACHER,
        )

    def student_responses(self, student: str, shard: int) -> Task:
        return self._task(
            "student_responses",
            {"student": student, "shard": str(shard)},
            params=("seed", "student_responses"),
            deps=("outputs/prompts", self.folder(student)),
            outs=(f"outputs/student_responses/{student}/shard-{shard}.parquet",),
            metrics=(f"metrics/student_responses-{student}-{shard}.json",),
            answers=student,
        )

    def ballots(self, shard: int) -> Task:
        return self._task(
            "ballots",
            {"shard": str(shard)},
            params=("answer", "votes.weights", "teacher_responses.shards"),
            deps=("outputs/prompts", f"outputs/teacher_responses/shard-{shard}.parquet"),
            outs=(f"outputs/ballots/shard-{shard}.parquet",),
            metrics=(f"metrics/ballots-{shard}.json",),
        )

    def votes(self) -> Task:
        shards = self._shards(TEACHER)
        if self._by_shard():
            read = [(f"outputs/ballots/shard-{n}.parquet", f"metrics/ballots-{n}.json") for n in range(len(shards))]
            shards = [path for pair in read for path in pair]
        return self._task(
            "votes",
            params=[
                *("seed", "answer", "votes", "teacher_responses.shards"),
                # What the labels must be enough for.
                *(f"rewards.{name}.type" for name in self.config.learned_rewards()),
            ],
            deps=("outputs/prompts", *shards),
            outs=("outputs/votes",),
            metrics=("metrics/votes.json",),
            judged=self.open,
        )

    def reward_examples(self, reward: str, part: int) -> Task:
        read, parts = self.config.reward_settings(reward).responses, self.config.reward_parts(reward)
        shards = {name: self._shards(name) for name in read}
        # Of a model with as many shards as there are parts, one shard has the responses to one part.
        needed = [path for some in shards.values() for path in ([some[part]] if len(some) == parts else some)]
        return self._task(
            "reward_examples",
            {"reward": reward, "shard": str(part)},
            params=self._labelled(reward),
            deps=("outputs/prompts", "outputs/votes", *needed),
            outs=(f"outputs/reward_examples/{reward}/part-{part}",),
            metrics=(f"metrics/reward_examples-{reward}-{part}.json",),
        )

    def reward_data(self, reward: str) -> Task:
        read, parts = self.config.reward_settings(reward).responses, self.config.reward_parts(reward)
        needed = ["outputs/votes", *(path for name in read for path in self._shards(name))]
        if parts > 1:
            needed = [
                path
                for part in range(parts)
                for path in (
                    f"outputs/reward_examples/{reward}/part-{part}",
                    f"metrics/reward_examples-{reward}-{part}.json",
                )
            ]
        return self._task(
            "reward_data",
            {"reward": reward},
            params=self._labelled(reward),
            deps=("outputs/prompts", *needed),
            outs=(f"outputs/reward_data/{reward}",),
            metrics=(f"metrics/reward_data-{reward}.json",),
            judged=self.open,
        )

    def _labelled(self, reward: str) -> list[str]:
        """Parameters by which responses are labelled for a reward."""
        students = [name for name in self.config.reward_settings(reward).responses if name != TEACHER]
        return [
            "seed",
            "answer",
            "reward_data",
            f"rewards.{reward}.type",
            self._key(reward, "responses"),
            "teacher_responses.shards",
            *(["student_responses.shards"] if students else []),
        ]

    def _by_shard(self) -> bool:
        """Whether each shard of the teacher's responses is read by a task of its own; a judge takes all at once."""
        return len(self.config.teacher_responses.shards) > 1 and not self.open

    # Stages that train

    def reward(self, reward: str) -> Task:
        entry, settings = self.config.rewards[reward], self.config.reward_settings(reward)
        section = content_keys(self.config.reward, "reward")
        own = [key for key in entry.overrides if key != "responses"]
        kept = leaves(section, self.config.reward, "reward", {*entry.overrides, "responses"})
        return self._task(
            "reward",
            {"reward": reward},
            params=["seed", f"rewards.{reward}.type", *(f"rewards.{reward}.{key}" for key in own), *kept],
            deps=dict.fromkeys(
                [f"outputs/reward_data/{reward}", *map(self.folder, [settings.trunk, *settings.likelihood])]
            ),
            outs=(f"outputs/rewards/{reward}",),
            metrics=(f"metrics/reward-{reward}.json",),
            plots=(f"curves/{reward}",),
            loads=[settings.trunk, *settings.likelihood],
            modules=self._modules("reward", entry.type),
            sources=self._plugin_files(entry.type),
        )

    def train(self, student: str) -> Task:
        config, entry, method = self.config, self.config.students[student], self.config.method(student)
        needs, settings = self._needs(student), config.settings(student)
        reads, others = method.reads_under(settings), method.models(settings)
        needs.deps[:0] = ["outputs/prompts", *map(self.folder, [entry.from_, *others])]
        needs.loads[:0] = [entry.from_, *others]
        if "teacher_responses" in reads:
            needs.deps += self._shards(TEACHER)
            needs.params.append("teacher_responses.shards")
        if config.trains_on_unlabelled(student):
            needs.deps.append(UNLABELLED)
        if "votes" in reads or needs.votes:
            needs.deps.append("outputs/votes")
        if entry.compute_of is not None:
            needs.deps.append(f"metrics/{config.method(entry.compute_of).name}-{entry.compute_of}.json")
        return self._task(
            method_stage(method),
            {"student": student},
            params=needs.params,
            operation=needs.operation,
            deps=dict.fromkeys(needs.deps),
            outs=(self.folder(student),),
            metrics=(f"metrics/{method.name}-{student}.json",),
            plots=(f"curves/{student}",),
            loads=needs.loads,
            modules=needs.modules,
            sources=needs.sources,
            images=needs.images,
            judged=self.open or needs.judged,
        )

    def _needs(self, student: str) -> Needs:
        """What follows from a student's entry, its method's section and its reward."""
        config, entry, method = self.config, self.config.students[student], self.config.method(student)
        section, prefix = getattr(config, method.name), f"students.{student}"
        common = ("method", "from", "reward", "compute_of", "max_extra_steps")
        given = [key for key in common if getattr(entry, "from_" if key == "from" else key) is not None]
        own, aside = overrides(entry, method.config)
        found = Needs(
            params=["seed", "answer", *(f"{prefix}.{key}" for key in [*given, *own])],
            operation=[*operation_keys(section, method.name), *(f"{prefix}.{key}" for key in aside)],
            modules=self._modules("method", entry.method),
            sources=self._plugin_files(entry.method),
        )
        found.params += leaves(content_keys(section, method.name), section, method.name, entry.overrides)
        if (sampler := getattr(config.settings(student), "rollout_engine", None)) is not None:
            # Retort's own sampler is part of the method; nothing of a run without vLLM depends on vLLM's side.
            found.modules += [] if sampler.type == "transformers" else self._modules("engine", sampler.type)
            found.images.add(sampler.IMAGE)
        if (reward := config.reward_of(student)) is None:
            return found
        kind, settings = config.reward_type(reward), config.reward_settings(reward)
        needed = kind.models(settings)
        if kind.trained:
            found.deps += [f"outputs/rewards/{reward}", f"metrics/reward-{reward}.json"]
            found.params.append(f"rewards.{reward}.type")
        else:
            own, aside = overrides(config.rewards[reward], kind.config)
            found.params += [f"rewards.{reward}.{key}" for key in ["type", *own]]
            found.operation += [f"rewards.{reward}.{key}" for key in aside]
        found.deps += map(self.folder, needed)
        found.loads += needed
        found.votes, found.judged = kind.votes, kind.judge
        found.modules += [*self._modules("reward", config.rewards[reward].type), *kind.modules(settings)]
        found.sources += [*self._plugin_files(config.rewards[reward].type), *kind.sources(settings)]
        return found

    # Stages that measure

    def evaluate(self, model: str, benchmark: BenchmarkConfig) -> Task:
        heldout = benchmark.task == "heldout"
        own = benchmark.task in plugins.names("benchmark") or plugins.is_path(benchmark.task)
        return self._task(
            "evaluate",
            {"model": model, "benchmark": benchmark.name},
            params=("answer", "evaluate.benchmarks", "evaluate.max_new_tokens", "evaluate.batch_size"),
            deps=("outputs/prompts", self.folder(model)),
            outs=(f"outputs/evaluate/{model}-{benchmark.name}.parquet",),
            metrics=(f"metrics/evaluate-{model}-{benchmark.name}.json",),
            answers=model,
            judged=self.open and heldout,
            modules=self._modules("benchmark", benchmark.task) if own else [],
            sources=[*benchmark.data.values(), *(self._plugin_files(benchmark.task) if own else [])],
            without=() if not (heldout or own) else _HARNESS,
        )

    def report(self, before: list[Task]) -> Task:
        config = self.config
        models = [key for name, model in config.models.items() for key in content_keys(model, f"models.{name}")]
        students = [
            f"students.{name}.{key}"
            for name, entry in config.students.items()
            for key in said_keys(entry, config.method(name).config)
        ]
        rewards = [
            f"rewards.{name}.{key}"
            for name, entry in config.rewards.items()
            for key in said_keys(entry, config.reward_type(name).config)
        ]
        return self._task(
            "report",
            params=[
                *(*content_keys(config.report, "report"), "answer", "evaluate", "compare", "result"),
                "teacher_responses.shards",
                *("student_responses.shards", *models, *students, *rewards),
            ],
            operation=[*self._operation(), *operation_keys(config.report, "report")],
            sources=[
                *(file for entry in config.students.values() for file in self._plugin_files(entry.method)),
                *(file for entry in config.rewards.values() for file in self._plugin_files(entry.type)),
                *(file for model in config.models.values() for file in self._plugin_files(model.engine.type)),
            ],
            deps=dict.fromkeys(
                [
                    "outputs/prompts",
                    "outputs/votes",
                    self.folder(config.final_student()),
                    *(f"outputs/rewards/{name}" for name in config.learned_rewards()),
                    *(path for task in before for path in task.metrics),
                    *(path for task in before if task.stage.name == "evaluate" for path in task.outs),
                    *(path for task in before for path in task.plots),
                ]
            ),
            outs=("outputs/report",),
            summary=("metrics/summary.json",),
        )

    # What they have in common

    def _operation(self) -> list[str]:
        """What of the entries of `models` decides no result, but belongs to a whole entry."""
        models = self.config.models.items()
        return [key for name, model in models for key in operation_keys(model, f"models.{name}")]

    @staticmethod
    def folder(name: str) -> str:
        """Folder of a model or student."""
        return f"outputs/models/{name}"

    def _shards(self, name: str) -> list[str]:
        """Responses of the teacher or of a student."""
        if name == TEACHER:
            return [f"outputs/teacher_responses/shard-{n}.parquet" for n in self.config.teacher_responses.shards]
        return [f"outputs/student_responses/{name}/shard-{n}.parquet" for n in self.config.student_responses.shards]

    def _key(self, reward: str, key: str) -> str:
        """Where a setting of a learned reward is said."""
        return f"rewards.{reward}.{key}" if key in self.config.rewards[reward].overrides else f"reward.{key}"

    def _files(self, model: ModelConfig) -> list[str]:
        """Files and folders here that a model is made of."""
        return [name for name in (model.source, model.chat_template) if name and exists(name, self.root)]

    @staticmethod
    def _modules(kind: str, name: str) -> list[str]:
        module = plugins.module_of(kind, name)
        return [] if module is None else [module]

    @staticmethod
    def _plugin_files(name: str) -> list[str]:
        file = plugins.source_of(name)
        return [] if file is None else [file]

    @staticmethod
    def _all(names: Iterable[str]) -> list[str]:
        return sorted(set(names))

    def _task(
        self,
        stage: str | Stage,
        values: dict[str, str] | None = None,
        *,
        params: Iterable[str],
        operation: Iterable[str] = (),
        deps: Iterable[str] = (),
        sources: Iterable[str] = (),
        loads: Iterable[str] = (),
        modules: Iterable[str] = (),
        without: Iterable[str] = (),
        images: Iterable[str] = (),
        answers: str | None = None,
        judged: bool = False,
        **written: Any,
    ) -> Task:
        """A task; what asking a model (`answers`) or the judge adds to any task is added here."""
        found = STAGES[stage] if isinstance(stage, str) else stage
        params, operation, sources, loads = list(params), list(operation), list(sources), list(loads)
        modules, images, deps = [found.run, *modules], {"train", *images}, list(deps)
        if answers in self.config.students and self.config.method(answers).answer is not None:
            needs = self._needs(answers)
            params, operation = [*params, *needs.params], [*operation, *needs.operation]
            sources, loads, modules = [*sources, *needs.sources], [*loads, *needs.loads], [*modules, *needs.modules]
            deps += [*needs.deps, *(["outputs/votes"] if needs.votes else [])]
            judged = judged or needs.judged
        if answers is not None:
            engine = self.config.engine(answers)
            base = answers in self.config.models
            place = f"{'models' if base else 'students'}.{answers}.engine"
            params += (
                content_keys(self.config.models[answers], f"models.{answers}") if base else content_keys(engine, place)
            )
            operation += operation_keys(engine, place)
            sources += [*engine.sources(), *self._plugin_files(engine.type)]
            loads.append(answers)
            modules += self._modules("engine", engine.type)
            images.add(engine.IMAGE)
        if judged and (judge := self.config.judge) is not None:
            params += content_keys(judge, "judge")
            operation += operation_keys(judge, "judge")
            sources += [*self._files(judge.model), *judge.model.engine.sources()]
            sources += self._plugin_files(judge.model.engine.type)
            modules += ["retort.stages.judging", *self._modules("engine", judge.model.engine.type)]
            images.add(judge.model.engine.IMAGE)
        # A model that was not made here may be a reference to a folder of the project, which is read then as well.
        sources += [
            file for name in loads if name in self.config.models for file in self._files(self.config.models[name])
        ]
        return Task(
            found,
            values or {},
            params=tuple(dict.fromkeys(params)),
            operation=(*dict.fromkeys(operation), TRACKER),
            deps=tuple(dict.fromkeys(deps)),
            sources=tuple(self._all(sources)),
            loads=tuple(dict.fromkeys(map(self.folder, loads))),
            modules=tuple(dict.fromkeys(modules)),
            without=(*without, *(() if judged else _JUDGE)),
            image="generate" if "generate" in images else "either" if "either" in images else "train",
            **{key: tuple(value) for key, value in written.items()},
        )
