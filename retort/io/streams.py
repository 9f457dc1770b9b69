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

PACKED = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".bz", ".xz", ".lzma", ".zip")
"""Suffixes of the files that `opened` unpacks, after the one that says what is in them."""

BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)
"""What reading compressed data raises where it is damaged or cut off."""

_OTHERWISE = "Unpack it, or pack it with gzip, zstd, bzip2 or xz"

OTHERS = {
    codecs.BOM_UTF32_LE: ("UTF-32, not UTF-8", "Convert the file to UTF-8"),
    codecs.BOM_UTF32_BE: ("UTF-32, not UTF-8", "Convert the file to UTF-8"),
    codecs.BOM_UTF16_LE: ("UTF-16, not UTF-8", "Convert the file to UTF-8"),
    codecs.BOM_UTF16_BE: ("UTF-16, not UTF-8", "Convert the file to UTF-8"),
    b"\x04\x22\x4d\x18": ("packed with lz4", _OTHERWISE),
    b"\x02\x21\x4c\x18": ("packed with lz4", _OTHERWISE),  # its older form
    b"\x1f\x9d": ("packed with compress (.Z)", _OTHERWISE),
    b"LZIP": ("packed with lzip", _OTHERWISE),
    b"\x89LZO\0": ("packed with lzop", _OTHERWISE),
    b"\xff\x06\0\0sNaPpY": ("packed with Snappy", _OTHERWISE),
    b"x\x9c": ("bare zlib data", _OTHERWISE),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "Unpack it"),
    b"Rar!\x1a\x07": ("a RAR archive", "Unpack it"),
    b"MSCF\0\0\0\0": ("a cabinet archive", "Unpack it"),
    b"PK\x05\x06": ("a zip archive that holds no file", "Give an archive that holds one file"),
    b"\x80\x04": ("a pickle", "Write its rows as JSON lines or Parquet; pickles run code when they are read"),
    b"SQLite format 3": ("an SQLite data base", "Write its rows as JSON lines, CSV or Parquet"),
    b"Obj\x01": ("an Avro file", "Write its rows as JSON lines or Parquet"),
    b"ORC": ("an ORC file", "Write its rows as JSON lines or Parquet"),
    b"%PDF": ("a PDF", "Write its rows as JSON lines, CSV or Parquet"),
    b"version https://git-lfs": ("a pointer of Git LFS", "Fetch the file itself: git lfs pull"),
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "Save it as CSV in UTF-8"),
    _ZIP: ("a zip archive in another file", "Unpack it once"),
    _GZIP: ("packed twice (gzip)", "Unpack it once"),
    _BZIP2: ("packed twice (bzip2)", "Unpack it once"),
    _XZ: ("packed twice (xz)", "Unpack it once"),
    _ZSTD: ("packed twice (zstd)", "Unpack it once"),
}
"""How files begin that are no rows, once they are unpacked: what they are, and the remedy."""

_UNMARKED = {".br": "packed with Brotli", ".snappy": "packed with Snappy"}
"""Suffixes of packed files that nothing but their name tells."""
_TAR_PLACE, _TAR = 257, b"ustar"
_OFFICE = {"xl/": "an Excel workbook", "word/": "a Word document", "content.xml": "an OpenDocument file"}
"""What a zip archive is that has such a member, or members in such a folder."""


def other_kind(path: Path, magic: bytes) -> tuple[str, str] | None:
    """What a file is that holds no rows as it is, and the remedy; None for one that may hold some.

    Args:
        path: The file.
        magic: Its first bytes, unpacked: 512 of them where there are so many.
    """
    for mark, known in OTHERS.items():
        if magic.startswith(mark):
            return known
    if magic[_TAR_PLACE:].startswith(_TAR):
        return "a tar archive", "Unpack it, and name a file of it, or the folder"
    if (packed := _UNMARKED.get(path.suffix.lower())) and magic.lstrip()[:1] not in (b"{", b"["):
        return packed, _OTHERWISE
    return None


@contextmanager
def opened(path: Path) -> Iterator[tuple[io.BufferedReader, str | None, Path]]:
    """A file's contents without compression, the name of the compression (None without one), and the file's name.

    The name is that of the member where the file is an archive.

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
            yield _buffered(stack.enter_context(gzip.GzipFile(fileobj=raw))), "gzip", path
        elif magic.startswith(_BZIP2):
            yield _buffered(stack.enter_context(bz2.BZ2File(raw))), "bzip2", path
        elif magic.startswith((_XZ, _LZMA)):
            yield _buffered(stack.enter_context(lzma.LZMAFile(raw))), "xz", path
        elif magic.startswith(_ZSTD):
            import pyarrow as pa

            yield _buffered(stack.enter_context(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))), "zstd", path
        elif magic.startswith(_ZIP):
            member, name = stack.enter_context(_member(path, raw))
            yield member, "zip", name
        else:
            yield raw, None, path


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
def _member(path: Path, raw: IO[bytes]) -> Iterator[tuple[io.BufferedReader, Path]]:
    remedy = "Give an archive that holds one file, or unpack it"
    try:
        archive = zipfile.ZipFile(raw)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        for place, kind in _OFFICE.items():
            if any(name.startswith(place) for name in names):
                raise InputError(f"is {kind}", file=path, remedy="Save its rows as CSV in UTF-8, or as JSON lines")
        if len(names) != 1:
            raise InputError(f"holds {len(names)} files, not one", file=path, remedy=remedy)
        member = archive.open(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"is not a zip archive that can be read ({error})", file=path, remedy=remedy) from error
    with archive, member:
        yield io.BufferedReader(cast("Any", member)), Path(names[0])
