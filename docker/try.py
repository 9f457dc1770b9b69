"""Try an image out: the first stages of the smoke run, as a user without a name, where only /tmp can be written."""

import os
import shutil
import sys
from pathlib import Path

import yaml

from retort.config import load_config, resolved
from retort.run.code_hash import PACKAGE
from retort.run.stage import run_stage
from retort.run.workspace import link


def check_image() -> None:
    """End here if the image holds what it must not."""
    if os.getuid() != 65532:
        sys.exit("not the image's user")
    found = [tool for tool in ("gcc", "cc", "c++", "g++", "ld", "make", "pip", "uv") if shutil.which(tool)]
    if found:
        sys.exit(f"left in the image: {found}")
    if os.access(PACKAGE, os.W_OK):
        sys.exit("the package could be changed")


def run_first_stages() -> None:
    """Run prompts to votes of the smoke configuration in a workspace below /tmp."""
    root = Path("/tmp/smoke")  # noqa: S108
    root.mkdir()
    link(root / PACKAGE.name, PACKAGE)
    config = load_config(Path("/configs/smoke.yaml"))
    (root / "params.yaml").write_text(yaml.safe_dump(resolved(config)))
    shards = [("teacher_responses", {"shard": str(shard)}) for shard in config.teacher_responses.shards]
    for stage, values in [("prompts", {}), ("models", {}), *shards, ("votes", {})]:
        metrics = run_stage(stage, values, root)
        print(stage, {name: metrics[name] for name in list(metrics)[:3]}, file=sys.stderr)


if __name__ == "__main__":  # the vote's worker processes import this file again
    check_image()
    run_first_stages()
    print("ok: a user without a name ran the first stages with nothing but /tmp to write to")
