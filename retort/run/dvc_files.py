"""What DVC writes over while it works, so that a kill in between leaves the old or the new content and not half of it.

DVC truncates `dvc.lock` and writes it again after every stage, and `.dvc/tmp/rwlock`, where it notes who reads and
writes what, around each. A process that was killed in such a moment left a workspace that no later one could open.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retort.io.files import write_text

_log = logging.getLogger(__name__)

_AGAIN_S = 0.2
"""After how long a note that is half written is looked at again: whoever was writing it has ended then."""


@contextlib.contextmanager
def written_whole() -> Iterator[None]:
    """In the block DVC writes YAML and JSON files of a workspace beside the old ones and renames them."""
    from dvc.utils.serialize import _common, _yaml

    dump = _common._dump_data

    def whole(path: Any, data: Any, dumper: Any, fs: Any = None, **options: Any) -> None:
        if fs is not None and fs.protocol != "local":
            dump(path, data, dumper, fs=fs, **options)
            return
        text = io.StringIO()
        dumper(data, text, **options)
        write_text(Path(path), text.getvalue())

    _common._dump_data = _yaml._dump_data = whole
    try:
        yield
    finally:
        _common._dump_data = _yaml._dump_data = dump


def drop_half_written_notes(root: Path) -> None:
    """Remove DVC's note of who reads and writes what in a workspace where a killed process left half of it."""
    file = root / ".dvc/tmp/rwlock"
    if _is_half(file):
        time.sleep(_AGAIN_S)
        if _is_half(file):
            _log.warning("%s: removed; a process that was killed left it half written", file)
            file.unlink(missing_ok=True)


def _is_half(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False
