"""Writing files so that a reader sees the whole file or none, and naming contents by hash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from retort.errors import StorageError
from retort.io.rank import is_rank_zero


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it replaces `target`, on failure it is removed.

    Works for files and for folders. A replaced folder is moved aside first, so that no reader sees a mixture.

    Raises:
        StorageError: the disk is full or the place cannot be written; `target` is as it was.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)  # of a killed process that had this number
        yield temporary
        if is_rank_zero():
            _replace(temporary, target)
        else:  # the first process of the group writes the same
            _remove(temporary)
    except OSError as error:
        _remove(temporary)
        raise StorageError(
            f"{target}: could not be written ({error.strerror or error}). Free space or fix permissions there, "
            "then run the command again; what was there before is unchanged."
        ) from error
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def native_writes() -> Iterator[None]:
    """Pass on as OSError what the native writers of torch and safetensors raise when a file cannot be written.

    A full disk is a RuntimeError of the one and a SafetensorError of the other; `atomic_path` explains an OSError.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error
    except RuntimeError as error:
        if not any(mark in str(error) for mark in _TORCH_WRITER):
            raise
        raise OSError(errno.EIO, str(error)) from error


_TORCH_WRITER = ("inline_container", "iostream error", "PytorchStreamWriter")
"""What a RuntimeError of `torch.save` says when its file cannot be written; others are mistakes in what is computed."""


@contextmanager
def explain_writes(place: Path, *, kept: str) -> Iterator[None]:
    """Explain a write that fails inside, in files that are not written atomically: libraries keep files of their own.

    Args:
        place: File or folder that is written to.
        kept: What is not lost, as the end of a sentence.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    try:
        with native_writes():
            yield
    except (OSError, sqlite3.OperationalError) as error:
        refused = error.errno in _REFUSED if isinstance(error, OSError) else "disk" in str(error)
        if not refused:
            raise
        raise StorageError(
            f"{getattr(error, 'filename', None) or place}: could not be written "
            f"({getattr(error, 'strerror', None) or error}). Free space or fix permissions there, then run the command "
            f"again; {kept}."
        ) from error


_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)
"""Errors of a place that cannot be written; others (a missing file, say) are something else."""


def _replace(temporary: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        temporary.rename(target)
        shutil.rmtree(old)
    else:
        temporary.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # where it could not be made, it need not be removed
            path.unlink()


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` as UTF-8, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` to `target` as indented JSON with sorted keys, atomically: the same value, the same bytes."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents in sorted order."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(item for item in path.rglob("*") if item.is_file()):
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            digest.update(bytes.fromhex(content_hash(file)))
    else:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
