"""Runs stages in forked children, which share one import of the heavy libraries, and kills them where it is told to.

    python tests/stage_server.py

Reads {"stage": NAME, "values": {KEY: VALUE}, "root": FOLDER, "kill_at": N} a line and answers
{"ended": ..., "calls": ..., "work": ..., "error": ...}.

A child is killed with SIGKILL, by itself, at the N-th call of a function that trains or writes (those of retort,
torch.save, the Trainer's checkpoints, DVCLive): the same place on every machine, however fast. `kill_at` 0 lets it
run; `calls` then says how many there were. `ended` is the exit status, or minus the signal; `error` is what one of
Retort's errors says. `work` counts the pieces
of work that checkpoints are made between: steps, iterations, batches of responses.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

COUNTED = re.compile(r"/retort/(?!config/)|torch/serialization|transformers/trainer|/dvclive/|safetensors/")
WORK = {
    ("transformers/trainer.py", "Trainer.training_step"),
    ("rewards/learned/train.py", "_step"),
    ("trainers/ppo/trainer.py", "_iterate"),
    ("engines/local.py", "LocalEngine._answer"),
}
"""Functions that do a piece of work, by the end of their file's path."""


def _is_work(code: CodeType) -> bool:
    return any(code.co_qualname == name and code.co_filename.endswith(file) for file, name in WORK)


def run_killed(stage: str, values: dict[str, str], root: Path, kill_at: int, done: Callable[[int, int], None]) -> None:
    """Run the task in this process; `done` gets the counted calls and the pieces of work, at the end or the kill."""
    from retort.run.stage import run_stage

    calls = work = 0
    counted: dict[CodeType, tuple[bool, bool]] = {}

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls, work
        if event != "call":
            return
        code = frame.f_code
        if code not in counted:
            counted[code] = bool(COUNTED.search(code.co_filename)), _is_work(code)
        is_counted, is_work = counted[code]
        work += is_work
        if is_counted:
            calls += 1
            if calls == kill_at:
                done(calls, work)
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        run_stage(stage, values, root)
    finally:
        sys.setprofile(None)
    done(calls, work)


def serve() -> None:
    """Answer jobs until the input ends."""
    import datasets  # noqa: F401
    import dvclive.live  # noqa: F401
    import scmrepo.git  # noqa: F401
    import torch
    from transformers import LlamaForCausalLM  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    from retort.errors import RetortError

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            status = 1
            try:

                def done(calls: int, work: int, write: int = write) -> None:
                    os.write(write, json.dumps({"calls": calls, "work": work}).encode())

                run_killed(job["stage"], job["values"], Path(job["root"]), job["kill_at"], done)
                status = 0
            except RetortError as error:
                status = error.exit_code
                os.write(write, json.dumps({"error": str(error)}).encode())
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(write)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(read) as counted:
            counts = {"calls": 0, "work": 0, "error": ""} | json.loads(counted.read() or "{}")
        answers.write(json.dumps({"ended": ended, **counts}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
