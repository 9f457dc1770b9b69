"""SIGTERM: at once outside training, after a checkpoint inside it, and passed on to a stage's process."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from retort.errors import InterruptionError
from retort.modeling import preemption
from retort.pod.task import _environment


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(preemption, "_asked", False)
    preemption.listen()
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_stage_ends_at_once_and_may_be_tried_again():
    with pytest.raises(InterruptionError) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.exit_code == 75


def test_a_second_signal_does_not_cut_the_tidying_up_short():
    with pytest.raises(InterruptionError):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # raises nothing


def test_a_training_step_is_let_finish():
    done = []

    def train():
        with preemption.deferred():
            for step in range(10):
                if step == 3:
                    signal.raise_signal(signal.SIGTERM)
                done.append(step)
                preemption.check()

    with pytest.raises(InterruptionError):
        train()
    assert done == [0, 1, 2, 3]


def test_a_process_that_waits_passes_it_on_and_waits_on(tmp_path):
    stage = "trap 'sleep 0.2; echo saved > saved; exit 75' TERM; touch ready; while true; do sleep 0.05; done"
    pod = textwrap.dedent(f"""
        import subprocess, sys
        from retort.modeling import preemption
        with preemption.passed_on():
            sys.exit(subprocess.run(["bash", "-c", {stage!r}]).returncode)
    """)
    process = subprocess.Popen([sys.executable, "-c", pod], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "saved").read_text() == "saved\n"


def test_in_a_pod_no_shell_stays_between_dvc_and_the_stage_and_ends_before_it(monkeypatch):
    monkeypatch.delenv("SHELL", raising=False)
    with _environment():
        running = subprocess.Popen("sleep 30", shell=True, executable=os.environ["SHELL"])  # noqa: S602
    deadline = time.monotonic() + 10
    while (told := psutil.Process(running.pid).cmdline()) != ["sleep", "30"] and time.monotonic() < deadline:
        time.sleep(0.05)
    running.kill()
    assert told == ["sleep", "30"]
