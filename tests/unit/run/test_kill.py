"""What a stage's end by a signal means."""

import signal
import subprocess
import sys

import pytest

from retort.run import kill


@pytest.mark.parametrize(("status", "number"), [(-9, 9), (137, 9), (143, 15), (-15, 15)])
def test_a_signal_is_known_from_an_exit_status(status, number):
    assert kill.signal_of(status) == number


@pytest.mark.parametrize("status", [0, 1, 65, 75, 127, 128, 255])
def test_other_statuses_are_no_signals(status):
    assert kill.signal_of(status) is None


def test_a_kill_is_named_with_memory_used_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{600 * 2**20}\n")
    # 200 MiB, so that the largest process of this one's is no smaller
    subprocess.run([sys.executable, "-c", "bytearray(200 * 2**20)"], check=True)
    said = kill.words(signal.SIGKILL)
    assert "signal 9 (SIGKILL)" in said
    assert "most likely out of memory" in said
    assert "the limit of this container is 0.59 GiB" in said  # 600 / 1024
    assert float(said.partition("had used ")[2].partition(" GiB")[0]) >= 0.19  # 200 / 1024
    assert "more memory" in said


def test_the_kernels_own_count_makes_it_certain(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "_CGROUP", tmp_path)
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert "the kernel's out-of-memory killer ended it" in kill.words(signal.SIGKILL)
    (tmp_path / "memory.events").write_text("low 0\noom 0\noom_kill 0\n")
    assert "most likely" in kill.words(signal.SIGKILL)


def test_another_signal_is_not_called_memory():
    assert kill.words(signal.SIGTERM) == "ended from outside by signal 15 (SIGTERM)"
