"""How the real vLLM is started on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def server_settings() -> dict[str, Any]:
    """Settings of an engine of type `vllm` for a machine without a GPU."""
    binaries = Path(os.environ["RETORT_VLLM"], "bin").absolute()
    return {
        "type": "vllm",
        "program": str(binaries / "vllm"),
        "concurrency": 8,
        "max_model_len": 256,
        "args": {"enforce_eager": True},
        "environment": {
            # One worker that may use any core; an eighth of the machine's memory would be taken else.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "OMP_NUM_THREADS": "1",
            # Its own libraries come first on the path, not those of the tests' environment.
            "PATH": f"{binaries}:{os.environ['PATH']}",
        },
        "start_timeout_s": 1500,
    }
