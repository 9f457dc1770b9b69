"""`retort check`: all that a run would be refused for, at once, and what it will need; the first step of `run`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retort.io import terminal

if TYPE_CHECKING:
    from retort.check.finding import Checked
    from retort.config import RetortConfig


def check(
    config: Annotated[
        Path | None, typer.Argument(help="Configuration; when left out, retort.yaml or params.yaml of this folder.")
    ] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Change one value: section.key=VALUE.")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="GPU that it is to run on, such as H100-80: says whether it fits, and hours.")
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="It is to run on a cluster: keys, disk and programs of this machine do not count."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Find what would stop a run, all of it, before anything is started; endpoints are asked four short questions."""
    from retort.check.examine import examine
    from retort.check.finding import Finding
    from retort.config import load_config
    from retort.errors import RetortError
    from retort.plan.devices import find
    from retort.run.project import own_config

    file, device = config or own_config(Path()), None if gpu is None else find(gpu)
    started, found, facts = time.monotonic(), list[Finding](), list[str]()
    code = 0
    try:
        loaded = load_config(file, changes=changes or [])
    except RetortError as error:
        first, *rest = str(error).splitlines()
        found = [Finding("error", "", line.strip(), error.exit_code) for line in rest or [first]]
        code = error.exit_code
    else:
        with terminal.showing("calm"), terminal.aside(Path(os.devnull)):
            checked = examine(loaded, Path(), here=not cluster, device=device)
        found, facts, code = checked.findings, checked.facts, checked.exit_code
    if as_json:
        shown: dict[str, Any] = {"config": str(file), "ready": code == 0, "findings": [asdict(one) for one in found]}
        print(json.dumps(shown | {"facts": facts}, sort_keys=True, ensure_ascii=False))
    else:
        print("\n".join([*lines(found, str(file)), *(f"note     {fact}" for fact in facts)]))
        errors = sum(one.level == "error" for one in found)
        verdict = f"{errors} would stop the run." if errors else "Ready."
        print(f"{verdict} ({time.monotonic() - started:.0f} s)")
    if code:
        raise typer.Exit(code)


def lines(findings: Sequence[Any], file: str) -> list[str]:
    """Findings as lines: how grave, the file and key, what to do."""
    ordered = sorted(findings, key=lambda one: one.level != "error")
    return [f"{one.level:<8} {f'{file}: {one.key}: ' if one.key else ''}{one.words}" for one in ordered]


def before_run(config: RetortConfig, file: Path, home: Path, root: Path) -> None:
    """Check a run that is about to start here, unless it passed as it is; warnings go to stderr.

    Args:
        config: What is to be run.
        file: Where it stands, for messages.
        home: Folder that its paths start from.
        root: Its workspace; what passed is remembered there.

    Raises:
        CheckError: it would be refused; every reason is on stderr.
    """
    from retort.check.examine import checked_before, examine, remember

    if checked_before(config, home, root):
        return
    started = time.monotonic()
    with terminal.aside(Path(os.devnull)):  # what matters of it is said below
        found = examine(config, home, workspace=root)
    refuse(found, file)
    if terminal.level() != "quiet":
        print(f"check: {'; '.join(found.facts)} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
    remember(config, home, root)


def before_submit(config: RetortConfig, file: Path) -> None:
    """Check a run that is to start on a cluster, as far as this machine can see.

    Raises:
        CheckError: it would be refused; every reason is on stderr.
    """
    from retort.check.examine import examine

    with terminal.showing("calm"), terminal.aside(Path(os.devnull)):
        found = examine(config, Path(), here=False)
    refuse(found, file)


def refuse(found: Checked, file: Path) -> None:
    """Show what a check found on stderr, and end here if it would stop the run.

    Raises:
        CheckError: it would.
    """
    from retort.errors import CheckError

    for line in lines(found.findings, str(file)):
        print(line, file=sys.stderr)
    if found.failed:
        count = sum(one.level == "error" for one in found.findings)
        raise CheckError(
            f"{file}: {'what is said above' if count == 1 else f'the {count} errors above'} would stop the run, so "
            "nothing was started. Mend it, or give --no-check to start all the same.",
            found.exit_code,
        )
