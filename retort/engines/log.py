"""The log of finished responses that a killed task resumes from: one JSON object a line, safe after every batch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from retort.config.data import SamplingConfig
from retort.engines.base import Engine, Key, Request, Response
from retort.errors import StorageError
from retort.io.progress import Progress


def answer(
    engine: Engine, requests: Sequence[Request], sampling: SamplingConfig, log: Path, *, words: str
) -> list[Response]:
    """Have `engine` answer `requests`, except those that `log` holds already, and log each batch as it comes.

    Args:
        engine: A started engine.
        requests: All requests of the task.
        sampling: Nucleus, token limit and batch size.
        log: File of finished responses; made when missing. Must belong to the same inputs and parameters.
        words: What the progress line says.

    Returns:
        All responses, those of the log included, in the order of the prompts and by number of the response.

    Raises:
        StorageError: the log cannot be written; what it holds stands.
        EngineError, InputError: as the engine raises them; what was answered before is in the log.
    """
    found = read_log(log)
    with (
        Progress(words, total=engine.count(requests), unit="responses", done=len(found)) as progress,
        log.open("ab", buffering=0) as stream,
    ):
        for batch in engine.generate(requests, sampling, found.keys()):
            fresh = [response for response in batch if response.key not in found]
            try:
                _append(stream, b"".join(json.dumps(asdict(response)).encode() + b"\n" for response in fresh))
            except OSError as error:
                raise StorageError(
                    f"{log}: could not be written ({error.strerror}). Free space there and run the stage again; "
                    f"the {len(found)} responses so far are kept."
                ) from error
            found.update((response.key, response) for response in fresh)
            progress.update(len(fresh))
    place = {request.prompt_id: index for index, request in reversed(list(enumerate(requests)))}
    return sorted(found.values(), key=lambda response: (place[response.prompt_id], response.sample))


def _append(stream: FileIO, data: bytes) -> None:
    # Unbuffered: a buffer that a full disk refused would be written again on closing, hiding the error.
    while data:
        data = data[stream.write(data) :]
    os.fsync(stream.fileno())


def read_log(log: Path) -> dict[Key, Response]:
    """Responses in `log` by key. A last line that a kill cut in half is removed from the file."""
    if not log.exists():
        return {}
    data = log.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with log.open("r+b") as stream:
            stream.truncate(len(whole))
    responses = [Response(**json.loads(line)) for line in whole.splitlines()]
    return {response.key: response for response in responses}
