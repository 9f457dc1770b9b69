"""Two runs beside each other: what they were given, the code that made them, and what they measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from retort.config.base import flat
from retort.config.load import read_yaml
from retort.errors import InputError
from retort.evaluation.compare import Comparison, compare_files
from retort.io.tables import RESULTS, read_table
from retort.run.dvc_adapter import read_lock
from retort.run.paths import CODE, Paths

Change = tuple[Any, Any]
"""A value in the first run and in the second; None where it has none."""


@dataclass(frozen=True)
class Measured:
    """One model of both runs on one benchmark of both."""

    model: str
    """In the first run."""
    other: str
    """In the second."""
    benchmark: str
    comparison: Comparison
    """The second run's model against the first run's, so a rise is positive."""


@dataclass(frozen=True)
class Differences:
    """What two runs do not have in common."""

    parameters: dict[str, Change]
    """By dotted key; those of both runs that DVC compares."""
    data: dict[str, Change]
    """Content hashes of files and folders that no task made."""
    code: list[str]
    """Tasks of both runs that other code makes."""
    tasks: Change
    """Tasks that only one of them has."""
    figures: dict[str, Change]
    """Of `metrics/summary.json`."""
    measured: list[Measured] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What could not be compared, and why."""


def differences(first: Path, second: Path) -> Differences:
    """Compare two workspaces; nothing is run or changed.

    Raises:
        ConfigError: a params.yaml is missing or malformed.
        InputError: another file of theirs is malformed.
    """
    given = [flat(read_yaml(root / "params.yaml")) for root in (first, second)]
    code = [_code(root) for root in (first, second)]
    both = set(code[0]) & set(code[1])
    measured, remarks = _measured(first, second)
    return Differences(
        parameters=_changed(*given),
        data=_changed(*(_sources(root) for root in (first, second))),
        code=sorted(task for task in both if code[0][task] != code[1][task]),
        tasks=(sorted(set(code[0]) - both), sorted(set(code[1]) - both)),
        figures=_changed(*(_json(Paths(root).summary) for root in (first, second))),
        measured=measured,
        remarks=remarks,
    )


def _measured(first: Path, second: Path) -> tuple[list[Measured], list[str]]:
    """The results of both runs, then every model that both have under one name."""
    reports = [_json(Paths(root).report / "metrics.json") for root in (first, second)]
    for root, report in zip((first, second), reports, strict=True):
        if not report:
            return [], [f"{root}: has no report yet, so nothing measured is compared"]
    finals = [str(report["final_model"]) for report in reports]
    names = [report["order"] for report in reports]
    pairs = [(finals[0], finals[1]), *((name, name) for name in names[0] if name in names[1])]
    found, remarks = [], []
    shared = [name for name in reports[0]["benchmarks"] if name in reports[1]["benchmarks"]]
    if not shared:
        remarks.append("the runs have no benchmark in common")
    for benchmark in shared:
        for model, other in dict.fromkeys(pairs):
            files = Paths(first).results(model, benchmark), Paths(second).results(other, benchmark)
            if missing := [file for file in files if not file.exists()]:
                remarks.append(f"{missing[0]}: does not exist, so {model} is not compared on {benchmark}")
                continue
            try:
                comparison = compare_files(files[1], files[0])
            except InputError as error:
                remarks.append(str(error))
                continue
            found.append(Measured(model, other, benchmark, comparison))
            if comparison.left_out:
                total = sum(len(read_table(file, RESULTS)) for file in files)
                remarks.append(
                    f"{model} on {benchmark}: {comparison.left_out} of {total} answers are to items that only one run "
                    "has, and are left out"
                )
    return found, remarks


def _changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Change]:
    keys = dict.fromkeys([*first, *second])
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _sources(root: Path) -> dict[str, str]:
    """Content hashes of what a run read that none of its tasks made."""
    lock = read_lock(root)
    made = {out["path"] for entry in lock.values() for out in entry.get("outs", [])}
    read = [dep for entry in lock.values() for dep in entry.get("deps", [])]
    return {dep["path"]: str(dep.get("md5", "")) for dep in read if dep["path"] not in made}


def _code(root: Path) -> dict[str, str]:
    file = root / CODE
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML ({error})", file=file, remedy="`retort run` writes it again") from error
    return dict(found or {})


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", file=file, remedy="`retort run` writes it again") from error
    return found
