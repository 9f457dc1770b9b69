"""What tests on a cluster share: kubectl, the `retort` command, the store's secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
PROFILE = os.environ.get("RETORT_TEST_PROFILE", str(CHECKOUT / "tests/cluster/profile.yaml"))
NAMESPACE = os.environ.get("RETORT_TEST_NAMESPACE", "retort")


def named(*variables: str) -> None:
    """Skip what needs an environment variable that is not there."""
    if missing := [name for name in variables if not os.environ.get(name)]:
        pytest.skip(f"the environment names no {', '.join(missing)}")


@dataclass(frozen=True)
class Kubectl:
    """kubectl in the test namespace."""

    namespace: str = NAMESPACE

    def __call__(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Run it and return what it printed."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=600)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """What it printed, read."""
        return json.loads(self(*arguments, "-o", "json"))


def put_secret(kubectl: Kubectl, **changes: str) -> None:
    """Make the secret with which pods reach the store; `changes` are wrong on purpose."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")
    values = {name: os.environ[name] for name in names if os.environ.get(name)} | changes
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "retort-store"}, "stringData": values}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(manifest))


@dataclass(frozen=True)
class Retort:
    """The `retort` command on a Kubeflow."""

    home: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run it, expect this exit code and return what it printed; its stderr where it was to fail."""
        command = [sys.executable, "-m", "retort", *arguments]
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False, timeout=1700
        )
        assert done.returncode == code, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr
