"""What is shown of a task under `retort run`: Retort's own words; what libraries write is in a file."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

from retort.io import terminal

_CHILD = """
import logging, os, sys, warnings
from pathlib import Path
from retort.io import terminal
from retort.io.progress import Progress
with terminal.aside(Path("logs/votes.log")):
    print("a library prints")
    os.system("echo a program prints")
    warnings.warn("a library warns")
    logging.getLogger("transformers").warning("a library logs")
    logging.getLogger("retort.votes").warning("7 responses are cut off")
    logging.getLogger("retort.votes").info("as usual")
    with Progress("votes", total=2, unit="prompts") as bar:
        bar.update(2)
print("the result")
raise SystemExit("retort: why it ended")
"""


def child(tmp_path, level: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != terminal.VARIABLE}
    environment |= {} if level is None else {terminal.VARIABLE: level}
    return subprocess.run(
        [sys.executable, "-c", _CHILD], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def test_calm_shows_warnings_of_retort_and_the_end_and_keeps_the_rest_in_a_file(tmp_path):
    shown = child(tmp_path, "calm")
    assert shown.stdout == "the result\n"
    assert shown.stderr == "warning: 7 responses are cut off\nretort: why it ended\n"
    kept = (tmp_path / "logs/votes.log").read_text()
    for words in ("a library prints", "a program prints", "a library warns", "a library logs", "cut off", "as usual"):
        assert words in kept


def test_without_the_variable_everything_goes_where_it_went(tmp_path):
    shown = child(tmp_path, None)
    assert "a library prints\na program prints" in shown.stdout or "a program prints" in shown.stdout
    assert "a library warns" in shown.stderr
    assert "votes: 2/2 prompts" in shown.stderr
    assert not (tmp_path / "logs").exists()


def test_what_was_set_up_for_a_block_is_taken_back(tmp_path, capfd):
    before = list(logging.getLogger().handlers), list(logging.getLogger("retort").handlers)
    with terminal.showing("calm"), terminal.aside(tmp_path / "log"):
        assert os.environ[terminal.VARIABLE] == "calm"
        os.write(2, b"inside")
    os.write(2, b"outside")
    assert capfd.readouterr().err == "outside"
    assert (list(logging.getLogger().handlers), list(logging.getLogger("retort").handlers)) == before
    assert terminal.VARIABLE not in os.environ
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("after", stacklevel=1)
    assert [str(one.message) for one in caught] == ["after"]
