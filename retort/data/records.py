"""The rows of one source of prompts: a file, a folder of them, or a data set for the `datasets` library."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retort.config.data import SourceConfig
from retort.errors import InputError, StorageError
from retort.io.rows import Record, read_records, shards_of

_log = logging.getLogger(__name__)

Row = tuple[str, int, Record]
"""File as the configuration or its folder names it, number of the row in it, and the row."""


def records_of(source: SourceConfig, root: Path) -> Iterator[Row]:
    """The rows of `source`, in order.

    Raises:
        InputError: a file or data set is missing or malformed.
        StorageError: a data set cannot be fetched from the hub.
    """
    path = root / source.path
    if path.is_dir() and is_saved(path):
        return ((source.path, row, record) for row, record in _saved(path, source))
    if source.type == "datasets":
        return ((source.path, row, record) for row, record in _loaded(path, source))
    if path.is_dir():
        return _sharded(path, source.path)
    return ((source.path, row, record) for row, record in read_records(path))


def is_saved(folder: Path) -> bool:
    """Whether `datasets` wrote this folder with `save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def _sharded(folder: Path, name: str) -> Iterator[Row]:
    empty, files = [], shards_of(folder)
    for file in files:
        shown, rows = f"{name.rstrip('/')}/{file.relative_to(folder).as_posix()}", 0
        for row, record in read_records(file, may_be_empty=True):
            rows += 1
            yield shown, row, record
        empty += [] if rows else [shown]
    if len(empty) == len(files):
        remedy = "Give a folder with at least one row"
        raise InputError(f"is a folder whose {len(files)} files hold no rows", file=name, remedy=remedy)
    if empty:
        _log.warning("%s: %d of %d files hold no rows: %s", name, len(empty), len(files), ", ".join(empty[:5]))


def _saved(folder: Path, source: SourceConfig) -> Iterator[tuple[int, Record]]:
    from datasets import DatasetDict, load_from_disk

    remedy = "Write it again with `save_to_disk`"
    try:
        found: Any = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is a damaged data set ({error})", file=source.path, remedy=remedy) from error
    if isinstance(found, DatasetDict):
        if source.split not in found:
            raise _no_split(source, list(found))
        found = found[source.split]
    yield from enumerate(found, start=1)


def _loaded(path: Path, source: SourceConfig) -> Iterator[tuple[int, Record]]:
    from datasets import exceptions, get_dataset_split_names, load_dataset

    local = path.exists()
    if not local and (source.path.startswith((".", "/", "~")) or source.path.count("/") > 1):
        raise InputError("no such folder", file=source.path, remedy="Correct the path, which starts from the project")
    place = str(path) if local else source.path
    try:
        if source.split.isidentifier() and source.split not in (splits := get_dataset_split_names(place, source.name)):
            raise _no_split(source, splits)
        rows: Any = load_dataset(place, source.name, split=source.split, streaming=True)
        yield from enumerate(rows, start=1)
    except (exceptions.DatasetsError, FileNotFoundError, ValueError) as error:
        remedy = "Correct `path`, `name` and `split` of this source, or name its files with `type: file`"
        raise InputError(f"cannot be loaded by `datasets` ({error})", file=source.path, remedy=remedy) from error
    except OSError as error:
        if local:
            raise InputError(f"cannot be read ({error})", file=source.path, remedy="Mend its files") from error
        raise StorageError(
            f"{source.path}: cannot be fetched ({error}). Run again when the network is back."
        ) from error


def _no_split(source: SourceConfig, splits: list[str]) -> InputError:
    problem = f"has no split {source.split!r}"
    return InputError(problem, file=source.path, field="split", remedy=f"It has: {', '.join(splits)}")
