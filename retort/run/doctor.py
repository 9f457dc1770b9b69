"""What is missing on this machine, and how to get it: the checks behind `retort doctor`."""

from __future__ import annotations

import configparser
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

Status = Literal["OK", "missing", "optional"]

_GIB = 2**30
_DISK_GIB, _MEMORY_GIB = 5, 4
"""What the embedded default needs: its outputs and environment; its largest stage beside the system."""
_TIMEOUT_S = 5
_MAIN = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "dvc", "dvclive", "kfp", "openai", "pyarrow")
"""Packages whose version changes results or breaks interfaces."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    status: Status
    """`missing` stops something that every run needs, `optional` only what the words say."""
    found: str
    remedy: str = ""


def examine(root: Path, *, names: Collection[str] | None = None) -> list[Check]:
    """Run every check in the workspace `root`, or those of `names` alone; none changes anything."""
    checks: dict[str, Callable[[Path], Check]] = {
        "python": _python,
        **{package: lambda _, package=package: _package(package) for package in _MAIN},  # type: ignore[misc]
        "lock": _lock,
        "make": _make,
        "git": _git,
        "gpu": _gpu,
        "disk": _disk,
        "memory": _memory,
        "params.yaml": _configuration,
        "dvc remote": _remote,
        "hugging face hub": _hub,
        "vllm": _vllm,
        "kubernetes": _kubernetes,
    }
    return [check(root) for name, check in checks.items() if names is None or name in names]


def _python(_: Path) -> Check:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("python", "OK", version)
    return Check("python", "missing", version, "Install Python 3.11 or 3.12, then make install PYTHON=/path/to/it")


def _package(name: str) -> Check:
    from packaging.requirements import Requirement

    needed = next(
        (
            one
            for text in metadata.requires("retort") or []
            if (one := Requirement(text)).name == name and not one.marker
        ),
        Requirement(name),
    )
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "missing", "not installed", "make install")
    if not needed.specifier.contains(version, prereleases=True):
        return Check(name, "missing", f"{version}, but {needed.specifier} is needed", "make install")
    return Check(name, "OK", version)


def _lock(root: Path) -> Check:
    lock = root / "requirements.txt"
    if not lock.exists():
        return Check("lock", "optional", "no requirements.txt here", "Run in a checkout to compare with the lock")
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    other = []
    for name, pin in pins.items():
        try:
            version = metadata.version(name.partition("[")[0])
        except metadata.PackageNotFoundError:
            version = "not installed"
        if version.partition("+")[0] != pin:
            other.append(f"{name} {version} (lock {pin})")
    if not other:
        return Check("lock", "OK", f"{len(pins)} packages as locked")
    shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
    return Check("lock", "optional", f"{len(other)} of {len(pins)} differ: {shown}", "make install, for equal results")


def _make(_: Path) -> Check:
    return _program("make", "make demo and make test", "apt-get install make")


def _git(_: Path) -> Check:
    return _program("git", "keeping dvc.lock and metrics with the code", "apt-get install git")


def _program(name: str, purpose: str, remedy: str) -> Check:
    place = shutil.which(name)
    return Check(name, "OK", place) if place else Check(name, "optional", f"not found; it serves {purpose}", remedy)


def _gpu(_: Path) -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("gpu", "optional", f"torch cannot be imported ({error})", "make install")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / _GIB
        names = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
        return Check("gpu", "OK", names)
    remedy = "Models of over 100 M parameters need one: install its driver, or submit the run to a cluster"
    return Check("gpu", "optional", "none that torch can use; work runs on the CPU", remedy)


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free / _GIB
    status: Status = "OK" if free >= _DISK_GIB else "missing"
    remedy = "" if status == "OK" else f"Free {_DISK_GIB} GiB, or move the DVC cache (dvc cache dir PATH)"
    return Check("disk", status, f"{free:.0f} GiB free", remedy)


def _memory(_: Path) -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(file).read_text(encoding="ascii").strip() if Path(file).exists() else ""
        if text.isdigit():
            total = min(total, int(text) / _GIB)
    status: Status = "OK" if total >= _MEMORY_GIB else "missing"
    remedy = "" if status == "OK" else f"Give this machine or container {_MEMORY_GIB} GiB"
    return Check("memory", status, f"{total:.0f} GiB", remedy)


def _configuration(root: Path) -> Check:
    from retort.config import load_config
    from retort.errors import RetortError

    if not (root / "params.yaml").exists():
        return Check("params.yaml", "optional", "none here", "Run in a checkout, or start with retort run --help")
    try:
        load_config(root / "params.yaml")
    except RetortError as error:
        return Check("params.yaml", "missing", f"is refused: {error}", "Correct it as it says")
    return Check("params.yaml", "OK", "is valid")


def _remote(root: Path) -> Check:
    name = "dvc remote"
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    except configparser.Error as error:
        return Check(name, "missing", f".dvc/config is malformed: {error}", "Correct it")
    default = parser.get("core", "remote", fallback=None)
    if default is None:
        return Check(name, "optional", "none set here", "dvc remote add -d NAME URL; see docs/guides")
    section: dict[str, Any] = dict(parser[f"'remote \"{default}\"'"]) if f"'remote \"{default}\"'" in parser else {}
    url = section.get("url", "")
    try:
        problem = _reach(url, section, root)
    except ImportError as error:
        problem = f"cannot be checked ({error})"
    if problem:
        remedy = "Check the address, the credentials and the network; dvc remote modify changes it"
        return Check(name, "missing", f"{url}: {problem}", remedy)
    return Check(name, "OK", url)


def _reach(url: str, section: dict[str, Any], root: Path) -> str:
    """What is wrong with a remote; empty when it can be reached."""
    if url.startswith("s3://"):
        return _reach_bucket(url, section)
    if url.startswith(("http://", "https://")):
        return _reach_web(url)
    if "://" in url:
        return ""  # Other kinds of store are DVC's business; they have no cheap question in common.
    folder = (root / ".dvc" / url).resolve()
    while not folder.exists():
        folder = folder.parent
    return "" if os.access(folder, os.W_OK) else f"{folder} cannot be written"


def _reach_bucket(url: str, section: dict[str, Any]) -> str:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    settings = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 1})
    try:
        session = boto3.Session(profile_name=section.get("profile"))
        client = session.client("s3", endpoint_url=section.get("endpointurl"), config=settings)
        client.head_bucket(Bucket=url.removeprefix("s3://").partition("/")[0])
    except (BotoCoreError, ClientError, ValueError) as error:
        return str(error)
    return ""


def _reach_web(url: str) -> str:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S):  # noqa: S310 - http(s) alone, by the callers
            return ""
    except urllib.error.HTTPError as error:
        # An answer is an answer, but one that says the place is not ours is none.
        return f"status {error.code}" if error.code in (401, 403) else ""
    except OSError as error:
        return str(getattr(error, "reason", error))


def _hub(_: Path) -> Check:
    from huggingface_hub import constants

    problem = "offline by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else _reach_web(constants.ENDPOINT)
    if not problem:
        return Check("hugging face hub", "OK", constants.ENDPOINT)
    remedy = "Needed for models and data sets named by hub id alone; give local folders instead, or connect"
    return Check("hugging face hub", "optional", f"{constants.ENDPOINT}: {problem}", remedy)


def _vllm(_: Path) -> Check:
    return _program("vllm", "teachers of type vllm", "pip install vllm, on a machine with a GPU")


def _kubernetes(_: Path) -> Check:
    name = "kubernetes"
    if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
        return Check(name, "OK", "in a pod, with a service account")
    files = os.environ.get("KUBECONFIG", str(Path.home() / ".kube/config")).split(os.pathsep)
    found = [file for file in files if Path(file).exists()]
    if found:
        return Check(name, "OK", ", ".join(found))
    remedy = "Put the cluster's configuration there, or set KUBECONFIG"
    return Check(name, "optional", f"no configuration at {', '.join(files)}; runs stay on this machine", remedy)
