"""Stand-in endpoints for tests of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.endpoint_stand_in import Server, serving


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts stand-in servers, which end with the test; takes what `tests.endpoint_stand_in.Server` takes."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(serving(*args, **more))
