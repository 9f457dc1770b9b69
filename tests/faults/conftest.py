"""The rows of the harness's table, which go into the documentation where RETORT_FAULTS_TABLE asks for it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.table import FULL, Row, keep

_ROWS: dict[str, list[Row]] = {}
_BEGAN: dict[str, float] = {}


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str], Row]:
    """`row(WHERE, FAULT)`: a row of the table, to be counted up."""
    file = request.path.name
    _BEGAN.setdefault(file, time.monotonic())

    def make(where: str, fault: str) -> Row:
        _ROWS.setdefault(file, []).append(Row(where, fault))
        return _ROWS[file][-1]

    return make


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Keep the rows, if all went as it should."""
    yield
    if exitstatus or not os.environ.get("RETORT_FAULTS_TABLE"):
        return
    began = min(_BEGAN.values(), default=time.monotonic())
    form = "whole" if FULL else "shortened form"
    machine = f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} processors"
    for file, rows in _ROWS.items():
        minutes = (time.monotonic() - began) / 60
        keep(file, rows, f"{form}, {time.strftime('%Y-%m-%d')}, {minutes:.0f} minutes at most, {machine}")
