"""The stage of every training method: one student from its start, its data and its reward, unless a gate says no."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retort import plugins
from retort.config.run import TEACHER
from retort.errors import ConfigError
from retort.io.files import atomic_path, write_text
from retort.io.rank import is_rank_zero
from retort.run.stage import Context
from retort.run.tasks import UNLABELLED
from retort.stages.rewards import load_reward


@dataclass(frozen=True)
class Skipped:
    """Metrics of a student that its reward's gate kept from training: it is what it would have started from."""

    skipped: bool = True
    reasons: list[str] = field(default_factory=list)
    """Why the gate is shut."""
    flops: float = 0.0


def run(context: Context) -> Any:
    """Train the student, or pass on what it starts from where its reward did not pass its gate.

    Raises:
        ConfigError: an extension does not import or is something else.
        InputError, ModelError, TrainingError: what the method refuses.
    """
    config, paths, name = context.config, context.paths, context.task.values["student"]
    entry, method = config.students[name], config.method(name)
    reward = config.reward_of(name)
    gate = _gate(context, reward) if reward is not None else None
    if gate is not None and not gate["gate_passed"]:
        with atomic_path(paths.model(name)) as folder:
            shutil.copytree(paths.model(entry.from_), folder)
        _have_curves(paths.curves(name))
        return Skipped(reasons=[f"rewards.{reward}: {reason}" for reason in gate["gate_reasons"]])
    with ExitStack() as opened:
        found = method.train(_closing(_training(context, name, reward), opened))
    if not dataclasses.is_dataclass(found) or isinstance(found, type):
        raise ConfigError(
            f"method {method.name!r}: its train returned a {type(found).__name__}, where a dataclass of metrics is "
            "needed."
        )
    if is_rank_zero() and not paths.model(name).is_dir():  # the first of several processes writes it
        raise ConfigError(f"method {method.name!r}: its train left no model in {paths.model(name)} (training.out).")
    _have_curves(paths.curves(name))
    return found


def _have_curves(folder: Path) -> None:
    """Have a table of curves in `folder`, without points where nothing was trained: else `dvc plots` complains."""
    tables = folder / "plots/metrics"
    if not any(tables.rglob("*.tsv")):
        write_text(tables / "none.tsv", "step\tnone\n")


def _closing(training: plugins.Training, opened: ExitStack) -> plugins.Training:
    """`training` whose reward, once loaded, is closed with `opened` if it can be: a judge's server ends then."""
    load = training.reward
    if load is None:
        return training

    def loaded() -> plugins.Reward:
        found = load()
        if callable(close := getattr(found, "close", None)):
            opened.callback(close)
        return found

    return dataclasses.replace(training, reward=loaded)


def _gate(context: Context, reward: str) -> dict[str, Any] | None:
    if not context.config.reward_type(reward).trained:
        return None
    found: dict[str, Any] = json.loads(context.paths.metrics(f"reward-{reward}").read_text(encoding="utf-8"))
    return found


def _training(context: Context, name: str, reward: str | None) -> plugins.Training:
    config, paths, entry, method = (
        context.config,
        context.paths,
        context.config.students[name],
        context.config.method(name),
    )
    settings = config.settings(name)
    shards = config.teacher_responses.shards if "teacher_responses" in method.reads_under(settings) else []
    open_ended = config.answer == "open"
    return plugins.Training(
        student=name,
        settings=settings,
        answer=config.answer,
        seed=config.seed,
        start=paths.model(entry.from_),
        out=paths.model(name),
        curves=paths.curves(name),
        state=context.state(),
        prompts={use: paths.prompts(use) for use in ("train", "validation", *_unlabelled(context))},
        teacher_responses=tuple(paths.responses(TEACHER, shard) for shard in shards),
        votes=paths.votes if paths.votes.exists() else None,
        models={model: paths.model(model) for model in method.models(settings)},
        judged=(lambda: _judged(context)) if open_ended else None,
        judging=(lambda: _judging(context)) if open_ended else None,
        reward=(lambda: load_reward(context, reward, entry.from_)) if reward is not None else None,
        extra_flops=_compute_of(context, entry.compute_of),
        max_extra_steps=entry.max_extra_steps,
    )


def _unlabelled(context: Context) -> tuple[str, ...]:
    """The use of prompts that no teacher answers, where the task reads them."""
    return ("unlabelled",) if UNLABELLED in context.task.deps else ()


def _compute_of(context: Context, other: str | None) -> float:
    """Compute that another student took (FLOPs); 0 where it was skipped."""
    if other is None:
        return 0.0
    (path,) = [path for path in context.task.deps if path.startswith("metrics/") and path.endswith(f"-{other}.json")]
    metrics = json.loads((context.paths.root / path).read_text(encoding="utf-8"))
    return float(metrics.get("flops") or 0.0)


def _judged(context: Context) -> Any:
    from retort.stages.judgements import read_judged

    return read_judged(context)


@contextmanager
def _judging(context: Context) -> Iterator[Any]:
    from retort.judge.ask import Pair
    from retort.judge.elect import agree_with
    from retort.stages.judging import judging

    manager: AbstractContextManager[Any] = judging(context)
    with manager as judge:
        yield lambda asked: agree_with(judge, [Pair(*one) for one in asked])
