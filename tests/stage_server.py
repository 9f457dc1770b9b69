"""Runs stages in forked children, which share one import of the heavy libraries, and kills them where it is told to.

    python tests/stage_server.py

Reads {"stage": NAME, "values": {KEY: VALUE}, "root": FOLDER, "kill_at": N} a line and answers
{"ended": ..., "calls": ...}.

A child is killed with SIGKILL, by itself, at the N-th call of a function that trains or writes (those of retort,
torch.save, the Trainer's checkpoints, DVCLive): the same place on every machine, however fast. `kill_at` 0 lets it
run; `calls` then says how many there were. `ended` is the exit status, or minus the signal.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

COUNTED = re.compile(r"/retort/(?!config/)|torch/serialization|transformers/trainer|/dvclive/|safetensors/")


def run_killed(stage: str, values: dict[str, str], root: Path, kill_at: int) -> int:
    """Run the task in this process; the number of counted calls, unless one of them was the last."""
    from retort.run.stage import run_stage

    calls = 0
    counted: dict[CodeType, bool] = {}

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        if event != "call":
            return
        code = frame.f_code
        if code not in counted:
            counted[code] = bool(COUNTED.search(code.co_filename))
        if counted[code]:
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        run_stage(stage, values, root)
    finally:
        sys.setprofile(None)
    return calls


def serve() -> None:
    """Answer jobs until the input ends."""
    import datasets  # noqa: F401
    import dvclive.live  # noqa: F401
    import scmrepo.git  # noqa: F401
    import torch
    from transformers import LlamaForCausalLM  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            status = 1
            try:
                calls = run_killed(job["stage"], job["values"], Path(job["root"]), job["kill_at"])
                os.write(write, str(calls).encode())
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(write)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(read) as counted:
            read_calls = counted.read()
        answers.write(json.dumps({"ended": ended, "calls": int(read_calls or 0)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
