"""Errors that a user can mend, each named after the boundary that it crossed, with a stable exit code.

The library raises these; the `retort` command prints the message and exits with `exit_code`. A scheduler may
retry every failure except `DO_NOT_RETRY`: those inputs will be refused again however often they are tried.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

DO_NOT_RETRY = 65
"""Exit code of errors that no retry can mend (the value of BSD's EX_DATAERR)."""

RETRY = 75
"""Exit code of failures that another attempt may mend (the value of BSD's EX_TEMPFAIL)."""

NEVER_MENDED = (64, DO_NOT_RETRY, 70)
"""Exit codes of what fails again on the same inputs: on a cluster, two such attempts end a task. Not 69, because what a
cluster or a machine lacks may be there for the next one."""

INTERRUPTED = 130
"""Exit code of what a person ended by Ctrl-C, as shells have it (128 and the number of SIGINT)."""

_SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|API_KEY|ACCESS_KEY)", re.IGNORECASE)
"""Names of environment variables whose values are shown nowhere, unless they name a file."""
_SHORTEST_SECRET = 8
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing them, or that turn the direction of what is read."""


def harmless(text: str) -> str:
    """Text of whatever origin, for a terminal, a log or a page: no control characters, no secret of the environment.

    A model's response, a prompt or a server's answer may hold either: a server says which key it refuses.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET.search(name) and not name.endswith("_FILE") and value in text:
            text = text.replace(value, f"[{name}]")
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class RetortError(Exception):
    """Base of every error that Retort explains to its user; the message says what to do."""

    exit_code: int = DO_NOT_RETRY

    def __str__(self) -> str:
        """The message, harmless wherever it is shown."""
        return harmless(super().__str__())


class InputError(RetortError):
    """Data that a stage reads is missing or malformed; names the file, and the row and field where there is one."""

    def __init__(
        self, problem: str, *, remedy: str, file: Path | str, row: int | None = None, field: str | None = None
    ):
        self.file, self.row, self.field, self.remedy = str(file), row, field, remedy
        where = str(file)
        if row is not None:
            where += f", row {row}"
        if field is not None:
            where += f", field {field!r}"
        super().__init__(f"{where}: {problem}. {remedy}")


class ConfigError(RetortError):
    """A configuration is wrong: unknown key, value out of range, or settings that contradict each other."""

    exit_code = 64


class ModelError(RetortError):
    """A model or tokenizer cannot be used: pickled weights, no pad token, no chat template, context too short."""


class TrainingError(RetortError):
    """Training went wrong in a way that another attempt would repeat, such as a loss that is not a number."""


class EngineError(RetortError):
    """A generation engine failed after its own retries; another attempt resumes where this one stopped."""

    exit_code = RETRY


class BudgetError(RetortError):
    """What a model behind an endpoint may cost is spent; what was paid for is kept, and a larger budget goes on."""


class StorageError(RetortError):
    """A file could not be written or fetched (disk full, no permission, remote away); nothing half-written remains."""

    exit_code = RETRY


class StoreAwayError(StorageError):
    """The object store cannot be reached or used just now (refused, silent, 5xx, SlowDown, cut, access denied)."""


class IntegrityError(RetortError):
    """Stored content is missing, or is not what was recorded; names its path, the stage that made it, the remedy."""


class ResultError(RetortError):
    """What was asked to be shown of a run's result (`--require-better`) is not: it is no better than its base, say."""

    exit_code = 70


class InterruptionError(RetortError):
    """A stage was told to go (SIGTERM; 130 for Ctrl-C); what it had done is kept, and another attempt goes on there."""

    exit_code = RETRY

    def __init__(self, signal: str = "SIGTERM") -> None:
        self.exit_code = INTERRUPTED if signal == "SIGINT" else RETRY
        words = "Ctrl-C" if signal == "SIGINT" else signal
        super().__init__(f"was told to stop ({words}). Run it again: it goes on from what it had done.")


class ClusterError(RetortError):
    """The cluster or its Kubeflow cannot be used as asked: away, no right, no such run, no room; says what to do."""

    exit_code = 69


class UnknownOutcomeError(RetortError):
    """Kubeflow stopped answering while a run was watched: whether it ended, and how, is not known; ask again."""

    exit_code = 74


class MissingToolError(RetortError):
    """Something that this command needs is not installed on this machine."""

    exit_code = 69


class CheckError(RetortError):
    """What was to be run would be refused, stages later or at once; nothing was started. Carries a reason's code on."""

    def __init__(self, message: str, exit_code: int):
        self.exit_code = exit_code
        super().__init__(message)


class StoppedError(RetortError):
    """A run was ended by Ctrl-C; what it had done is kept, and the same command goes on from there."""

    exit_code = INTERRUPTED

    def __init__(self, task: str | None, kept: str = ""):
        self.task = task
        where = f" in {task}" if task else ""
        super().__init__(
            f"stopped by Ctrl-C{where}. {kept or 'What was done is kept.'} The same command goes on from there."
        )


class StageError(RetortError):
    """A stage that ran in its own process failed and has said why there; carries its exit code on."""

    def __init__(self, task: str, exit_code: int, reason: str = "for the reason above", *, killed: bool = False):
        self.task, self.exit_code = task, exit_code
        self.killed = killed
        """Whether SIGKILL ended it, for its memory most likely."""
        super().__init__(
            f"stage {task} failed with exit code {exit_code}, {reason}. What was done before it is kept: "
            "mend it, and the same command goes on from there."
        )
