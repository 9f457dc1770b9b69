"""An environment of its own for TRL 1.12, the last release with PPO: made once, from hashed pins, in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("ppo_trl_requirements.txt")


def trl_python() -> Path:
    """Python of that environment, which is made by uv where there is none yet for these very pins."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "retort" / f"trl-{digest}"
    python = folder / "bin" / "python"
    if (folder / "whole").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making {folder} from {REQUIREMENTS.name}", file=sys.stderr)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install = [*uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(python)]
    subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
    (folder / "whole").touch()
    return python
