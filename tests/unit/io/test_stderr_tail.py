"""The last lines of stderr, those of child processes included; everything still arrives where it went."""

import subprocess
import sys

from retort.io.stderr_tail import Tail


def test_last_lines_are_kept_and_all_are_passed_on(capfd):
    with Tail(length=3) as tail:
        print("one", file=sys.stderr, flush=True)
        subprocess.run(["sh", "-c", "echo two >&2; printf 'half\\rthree\\n' >&2; printf 'four\\r\\n' >&2"], check=True)
    print("after", file=sys.stderr)
    assert list(tail.lines) == ["two", "three", "four"]
    assert capfd.readouterr().err == "one\ntwo\nhalf\rthree\nfour\r\nafter\n"
