"""Talking to a run's student, beside the models that it is to replace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retort.config import RetortConfig, load_config
from retort.config.base import unknown
from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.config.run import TEACHER
from retort.engines.base import Engine, Request, derived_seed
from retort.engines.make import make_engine
from retort.errors import ConfigError, InputError
from retort.modeling.conversations import as_prompt
from retort.modeling.loading import context_of, model_config, model_source, read_reference
from retort.run.paths import Paths


@dataclass(frozen=True)
class Said:
    """One model's answer."""

    model: str
    """Its label."""
    response: str
    tokens: int
    finished: bool
    """False where it was cut off at the token limit."""


@dataclass
class Speaker:
    """A model with its own side of the conversation."""

    label: str
    engine: Engine
    max_new_tokens: int
    messages: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """How answers are drawn."""

    max_new_tokens: int | None = None
    """Left out, as many as answers to the run's benchmarks were given, and half a model's context at most."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0
    system: str | None = None


def names(config: RetortConfig, wanted: Sequence[str]) -> list[str]:
    """The models and students of a run that are wanted; each can answer.

    Raises:
        ConfigError: there is no such model, or it is a file of recorded responses.
    """
    known = [*config.models, *config.students]
    for name in wanted:
        if name not in known:
            raise ConfigError(unknown(f"model {name!r}", name, known) + ".")
        if not config.engine(name).ASKABLE:
            raise ConfigError(f"{name}: is a file of recorded responses, which answers nothing new; leave it out.")
    return list(dict.fromkeys(wanted))


@contextlib.contextmanager
def speakers(root: Path, wanted: Sequence[str], settings: Settings) -> Iterator[list[Speaker]]:
    """The models of the run in `root`, loaded and ready; those behind endpoints are asked there.

    Raises:
        ConfigError: there is no such model.
        InputError: a model is not made yet, or not fetched.
        ModelError: a model cannot be loaded.
    """
    config, paths = load_config(root / "params.yaml", root=root), Paths(root)
    begun = [{"role": "system", "content": settings.system}] if settings.system else []
    with contextlib.ExitStack() as stack:
        found = []
        for name in names(config, wanted):
            if not paths.model(name).exists():
                raise InputError(
                    "does not exist", file=paths.model(name), remedy="Run `retort run`, or fetch the run: `retort pull`"
                )
            made_here = name in config.students
            engine = make_engine(
                config.engine(name),
                paths.model(name),
                place=f"{'students' if made_here else 'models'}.{name}.engine",
                root=root,
                file="the conversation",
                training=name != TEACHER,
            )
            most = settings.max_new_tokens or _most(config, name, paths.model(name))
            found.append(Speaker(config.label(name), stack.enter_context(engine), most, list(begun)))
        yield found


def _most(config: RetortConfig, name: str, folder: Path) -> int:
    """Tokens that an answer may have: what the run's evaluation allows, half a model's context at most."""
    allowed = config.evaluate.max_new_tokens
    if isinstance(config.engine(name), EndpointConfig):
        return allowed
    reference = read_reference(folder)
    made = model_config(reference, model_source(folder, reference))
    return min(allowed, context_of(made.get_text_config(decoder=True)) // 2)


def answer(speaker: Speaker, text: str, settings: Settings) -> Said:
    """A model's answer to `text` and all that was said before; both are kept.

    Raises:
        InputError: the conversation is longer than its context.
        EngineError: an endpoint failed.
    """
    messages = [*speaker.messages, {"role": "user", "content": text}]
    request = Request(
        prompt_id="chat",
        prompt=as_prompt(messages),
        sample=len(messages),
        temperature=settings.temperature,
        seed=derived_seed(settings.seed, len(messages)),
        draw=settings.seed,
    )
    sampling = SamplingConfig(
        temperatures=[settings.temperature], samples=1, max_new_tokens=speaker.max_new_tokens, batch_size=1
    )
    ((response,),) = speaker.engine.generate([request], sampling)
    speaker.messages = [*messages, {"role": "assistant", "content": response.response}]
    return Said(speaker.label, response.response, response.response_tokens, response.finish_reason == "stop")


def converse(
    present: Sequence[Speaker],
    lines: Iterable[str],
    show: Callable[[Said], None],
    settings: Settings,
    refused: Callable[[InputError], None] | None = None,
) -> None:
    """Answer each line with every model and show what each says; `/new` begins anew.

    Args:
        present: The models.
        lines: What is said to them.
        show: Is given each answer.
        settings: How answers are drawn.
        refused: Is given what kept a model from answering, a conversation longer than its context say; it has not
            heard that line then. Left out, that is raised.

    Raises:
        InputError: see `answer`.
        EngineError: an endpoint failed.
    """
    begun = [list(one.messages) for one in present]
    for line in lines:
        if line.strip() == "/new":
            for one, messages in zip(present, begun, strict=True):
                one.messages = list(messages)
            continue
        if not line.strip():
            continue
        for one in present:
            try:
                said = answer(one, line.strip(), settings)
            except InputError as error:
                if refused is None:
                    raise
                refused(error)
            else:
                show(said)
