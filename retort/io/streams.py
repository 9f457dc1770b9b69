"""Opening a file whatever it is packed with: gzip, zstd, bzip2, xz or a zip archive of one file, told by its bytes."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from retort.errors import InputError

_GZIP = b"\x1f\x8b"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\x00"
_LZMA = b"\x5d\x00\x00"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZIP = b"PK\x03\x04"

BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)
"""What reading compressed data raises where it is damaged or cut off."""

OTHERS = {
    codecs.BOM_UTF32_LE: ("UTF-32, not UTF-8", "Convert the file to UTF-8"),
    codecs.BOM_UTF32_BE: ("UTF-32, not UTF-8", "Convert the file to UTF-8"),
    codecs.BOM_UTF16_LE: ("UTF-16, not UTF-8", "Convert the file to UTF-8"),
    codecs.BOM_UTF16_BE: ("UTF-16, not UTF-8", "Convert the file to UTF-8"),
    b"\x04\x22\x4d\x18": ("packed with lz4", "Unpack it, or pack it with gzip, zstd, bzip2 or xz"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "Unpack it"),
    b"\x80\x04": ("a pickle", "Write its rows as JSON lines or Parquet; pickles run code when they are read"),
    b"SQLite format 3": ("an SQLite data base", "Write its rows as JSON lines, CSV or Parquet"),
    b"Obj\x01": ("an Avro file", "Write its rows as JSON lines or Parquet"),
    b"ORC": ("an ORC file", "Write its rows as JSON lines or Parquet"),
    b"%PDF": ("a PDF", "Write its rows as JSON lines, CSV or Parquet"),
    b"version https://git-lfs": ("a pointer of Git LFS", "Fetch the file itself: git lfs pull"),
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "Save it as CSV in UTF-8"),
    _GZIP: ("packed twice (gzip)", "Unpack it once"),
    _BZIP2: ("packed twice (bzip2)", "Unpack it once"),
    _XZ: ("packed twice (xz)", "Unpack it once"),
    _ZSTD: ("packed twice (zstd)", "Unpack it once"),
}
"""How files begin that are no rows, once they are unpacked: what they are, and the remedy."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[io.BufferedReader, str | None]]:
    """A file's contents as they are without compression, and the name of the compression; None without one.

    Raises:
        InputError: it does not exist, is a folder, or is an archive of several files.
    """
    if not path.exists():
        raise InputError("does not exist", file=path, remedy="Correct the path, or put the file there")
    if path.is_dir():
        raise InputError("is a folder, not a file", file=path, remedy="Name a file in it")
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        magic = raw.read(6)
        raw.seek(0)
        if magic.startswith(_GZIP):
            yield _buffered(stack.enter_context(gzip.GzipFile(fileobj=raw))), "gzip"
        elif magic.startswith(_BZIP2):
            yield _buffered(stack.enter_context(bz2.BZ2File(raw))), "bzip2"
        elif magic.startswith((_XZ, _LZMA)):
            yield _buffered(stack.enter_context(lzma.LZMAFile(raw))), "xz"
        elif magic.startswith(_ZSTD):
            import pyarrow as pa

            yield _buffered(stack.enter_context(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))), "zstd"
        elif magic.startswith(_ZIP):
            yield stack.enter_context(_member(path, raw)), "zip"
        else:
            yield raw, None


def _buffered(stream: Any) -> io.BufferedReader:
    return io.BufferedReader(cast("Any", _Raw(stream)))


class _Raw(io.RawIOBase):
    """Any readable stream as a raw one: pyarrow's know `read` alone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, as far as there is something."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _member(path: Path, raw: IO[bytes]) -> Iterator[io.BufferedReader]:
    remedy = "Give an archive that holds one file, or unpack it"
    try:
        archive = zipfile.ZipFile(raw)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if len(names) != 1:
            raise InputError(f"holds {len(names)} files, not one", file=path, remedy=remedy)
        member = archive.open(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"is not a zip archive that can be read ({error})", file=path, remedy=remedy) from error
    with archive, member:
        yield io.BufferedReader(cast("Any", member))
