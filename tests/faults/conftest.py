"""The rows of the harness's table, which go into the documentation where RETORT_FAULTS_TABLE asks for it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Generator, Iterator

import pytest

from tests.faults.table import FULL, Row, keep

_ROWS: dict[str, list[Row]] = {}
_OF_TEST: dict[str, list[Row]] = {}
"""The rows that a test has begun, by its node id."""
_BEGAN: dict[str, float] = {}


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str], Row]:
    """`row(WHERE, FAULT)`: a row of the table, to be counted up."""
    file = request.path.name
    _BEGAN.setdefault(file, time.monotonic())

    def make(where: str, fault: str) -> Row:
        made = Row(where, fault)
        _ROWS.setdefault(file, []).append(made)
        _OF_TEST.setdefault(request.node.nodeid, []).append(made)
        return made

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the last row that a failing test has begun say so: a table without what failed would be a better one."""
    report = yield
    if report.failed and (rows := _OF_TEST.get(item.nodeid)):
        rows[-1].failed = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish() -> Iterator[None]:
    """Keep the rows, those of tests that failed too."""
    yield
    if not os.environ.get("RETORT_FAULTS_TABLE"):
        return
    began = min(_BEGAN.values(), default=time.monotonic())
    form = "whole" if FULL else "shortened form"
    machine = f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} processors"
    for file, rows in _ROWS.items():
        minutes = (time.monotonic() - began) / 60
        keep(file, rows, f"{form}, {time.strftime('%Y-%m-%d')}, {minutes:.0f} minutes at most, {machine}")
