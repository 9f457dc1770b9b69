"""One thing that a check found, and collecting several where a stage would stop at the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retort.config import RetortConfig
from retort.config.run import TEACHER
from retort.errors import RetortError

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """What would stop the run, or what makes its result worth less than it looks."""

    level: Level
    key: str
    """Key of the configuration that it is about, `students.sft.tracker`; empty where it is about the machine."""
    words: str
    """What is wrong, with the file where there is one, and what to do."""
    exit_code: int = 0
    """Exit code that the stage would have ended with; 0 for a warning."""


@dataclass
class Checked:
    """What a check knows so far; every part of it adds to this."""

    config: RetortConfig
    root: Path
    """Folder that the configuration's paths start from."""
    here: bool
    """Whether the run is on this machine; a cluster's keys, disks and programs cannot be seen from here."""
    asking: frozenset[str] | None = None
    """Keys of the engines that the run will ask, `models.teacher.engine`; None for all. What is recorded as it is
    configured is not asked again, so its endpoint may be away."""
    findings: list[Finding] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    """What the run will do and need, a sentence each."""
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Prompts of each split, as `retort.io.tables.PROMPTS` has them; none where the sources were refused."""
    tokenizers: dict[str, Any] = field(default_factory=dict)
    """Tokenizers of models that have weights, by name."""
    contexts: dict[str, int] = field(default_factory=dict)
    """Longest sequence that each such model was made for, in tokens."""
    vocabularies: dict[str, str | None] = field(default_factory=dict)
    """Hash of each such model's vocabulary."""

    def error(self, key: str, words: str, exit_code: int = RetortError.exit_code) -> None:
        """Add what would stop the run."""
        self.findings.append(Finding("error", key, words, exit_code))

    def warn(self, key: str, words: str) -> None:
        """Add what the run would not stop for."""
        self.findings.append(Finding("warning", key, words))

    @contextlib.contextmanager
    def collecting(self, key: str, *, passing: bool = False) -> Iterator[None]:
        """Turn an error that ends the block into a finding about `key`.

        Args:
            key: Key of the configuration.
            passing: It is a warning where the run is elsewhere: a cluster may reach what this machine cannot.
        """
        try:
            yield
        except RetortError as error:
            if passing and not self.here:
                self.warn(key, f"{error} (seen from this machine; the cluster may differ)")
            else:
                self.error(key, str(error), error.exit_code)

    @property
    def failed(self) -> bool:
        """Whether anything would stop the run."""
        return any(one.level == "error" for one in self.findings)

    @property
    def exit_code(self) -> int:
        """That of the first error that no retry can mend, else of the first."""
        codes = [one.exit_code for one in self.findings if one.level == "error"]
        return next((code for code in codes if code != 75), codes[0] if codes else 0)

    def base_of(self, name: str) -> str:
        """Model of `models` that a model or student has its tokenizer from."""
        return self.config.base_of(name) if name in self.config.students else name

    def answers_here(self, name: str) -> bool:
        """Whether a model or student answers in the stage's own process, where its context is looked at first."""
        return str(self.config.engine(name).type) == "transformers"

    @property
    def teacher_is_asked(self) -> bool:
        """Whether the teacher can be asked anything new."""
        return bool(self.config.models[TEACHER].engine.ASKABLE)
