"""What answers for a student whose method is a way to answer."""

from __future__ import annotations

from typing import Any

from retort import plugins
from retort.config.students import StudentConfig
from retort.run.stage import Context


def answering(context: Context, name: str, engine: Any) -> Any:
    """The engine that answers for a model or student: `engine`, or what the student's method makes of it.

    Args:
        context: The task's.
        name: Model or student.
        engine: What answers for it otherwise, not started yet.
    """
    entry = getattr(context.config, "students", {}).get(name)
    if not isinstance(entry, StudentConfig):  # of another one a task knows the engine alone
        return engine
    method, reward = context.config.method(name), context.config.reward_of(name)
    if method.answer is None or reward is None:
        return engine

    def load() -> plugins.Reward:
        from retort.stages.rewards import load_reward

        return load_reward(context, reward, entry.from_)

    return method.answer(plugins.Answering(engine, context.config.settings(name), context.paths.model(name), load))
