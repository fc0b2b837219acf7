"""Raw files as blocks of whole lines, whatever their length: plain or gzip, in bounded memory.

Lines end at ``\\n`` alone: U+2028 and U+0085 occur inside reviews, and
``str.splitlines`` would break the rows there.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from recmind.config.data import SlashDates
from recmind.data.sources.problems import Finding, Problems
from recmind.errors import DataError

BLOCK_BYTES = 8 << 20
"""Uncompressed bytes read at once. Memory grows with this and with nothing else of the file."""

_GZIP = b"\x1f\x8b"
_ARCHIVES = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_BOM = b"\xef\xbb\xbf"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How UTF-16 begins, which spreadsheets write as "Unicode text"."""

WINDOWS = "cp1252"
"""What text mostly is that is not UTF-8."""

NOT_UTF8 = "the line is not UTF-8: read as Windows-1252 (--encoding names another)"
"""A problem with which a line is kept."""

Advance = Callable[..., None]


class Block(NamedTuple):
    """Whole lines of a file."""

    first_line: int
    """Number of the first line, from 1."""
    data: bytes
    """The lines, valid UTF-8; only the last line of a file may lack its ``\\n``."""


@dataclass
class RawFile:
    """One raw file and what goes with reading it.

    Attributes
    ----------
    path:
        The file.
    problems:
        Where problems are recorded.
    advance:
        Told the bytes read so far from the file (compressed bytes for gzip).
    encoding:
        Character encoding of blocks that are not UTF-8. Unset: their lines that are not are read as Windows-1252.
    slash_dates:
        What ``07/03/2021`` is, see :class:`recmind.config.PrepareConfig`.
    raw_bytes:
        Uncompressed bytes read so far.
    """

    path: Path
    problems: Problems
    advance: Advance = lambda n=1, note="": None
    encoding: str | None = None
    slash_dates: SlashDates = "refuse"
    raw_bytes: int = 0

    def report(self, *findings: Finding) -> None:
        """Record problems of this file."""
        self.problems.add(self.path, findings)

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[Block]:
        """The file's lines in blocks of about ``size`` bytes, as UTF-8.

        A damaged or cut gzip stream ends the file at the last byte that could
        be read; lines that are not UTF-8 are read as Windows-1252. Both are recorded.
        """
        line, rest = 1, b""
        for data in self._reads(size):
            self.raw_bytes += len(data)
            data = rest + data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if cut:
                whole = data[:cut]
                yield Block(line, self._as_utf8(whole, line))
                line += whole.count(b"\n")
        if rest:
            yield Block(line, self._as_utf8(rest, line))
        if not self.raw_bytes:
            self.report(Finding(0, "the file is empty"))

    def _reads(self, size: int) -> Iterator[bytes]:
        with self._open() as stream:
            on_disk = stream.handle if isinstance(stream, _TolerantGzip) else stream
            done, first, wide = 0, True, None
            while True:
                try:
                    data = stream.read(size)
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    self.report(Finding(0, "the gzip stream is cut off or damaged; the rest is not read", str(error)))
                    return
                if first:
                    wide = codecs.getincrementaldecoder("utf-16")("replace") if data.startswith(_WIDE) else None
                    data, first = data.removeprefix(_BOM), False
                self.advance(on_disk.tell() - done)
                done = on_disk.tell()
                if not data:
                    return
                yield wide.decode(data).encode() if wide else data

    def _open(self) -> BinaryIO | _TolerantGzip:
        check_file(self.path)
        handle = self.path.open("rb")
        if is_gzip(self.path):
            # A small read ahead keeps what is decoded before a damaged place.
            return _TolerantGzip(handle)
        if self.path.suffix == ".gz" and self.path.stat().st_size:
            self.report(Finding(0, "named .gz but not gzip; read as plain text"))
        return handle

    def _as_utf8(self, data: bytes, first_line: int) -> bytes:
        try:
            data.decode()
        except UnicodeDecodeError:
            if self.encoding:
                return data.decode(self.encoding, errors="replace").encode()
            lines = data.split(b"\n")
            for number, line in enumerate(lines, first_line):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    text = line.decode(WINDOWS, errors="replace")
                    lines[number - first_line] = text.encode()
                    self.report(Finding(number, NOT_UTF8, text.strip()[:80]))
            return b"\n".join(lines)
        return data


class _TolerantGzip(io.RawIOBase):
    """Gzip reader that hands out everything before a damaged place, then raises.

    ``gzip.GzipFile.read`` throws away what it decoded in the call that fails.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self.handle = handle
        self._inflate = zlib.decompressobj(wbits=31)
        self._failed: Exception | None = None
        self._input = b""

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        parts, wanted = [], size
        while wanted > 0 and self._failed is None:
            piece = self._step(wanted)
            if piece is None:
                break
            parts.append(piece)
            wanted -= len(piece)
        if parts:
            return b"".join(parts)
        if self._failed is not None:
            raise self._failed
        return b""

    def _step(self, wanted: int) -> bytes | None:
        """Some decoded bytes; ``None`` at the end of the file or at damage."""
        self._input = self._input or self.handle.read(1 << 18)
        if self._inflate.eof:
            # Archives may consist of several gzip members; zero bytes are padding.
            self._input = self._input.lstrip(b"\0")
            if not self._input:
                more = self.handle.read(1 << 18)
                if not more:
                    return None
                self._input = more
                return b""
            self._inflate = zlib.decompressobj(wbits=31)
        elif not self._input:
            self._failed = EOFError("the file ends before its end-of-stream marker")
            return None
        try:
            piece = self._inflate.decompress(self._input, wanted)
        except zlib.error as error:
            self._failed = error
            return None
        self._input = self._inflate.unconsumed_tail or self._inflate.unused_data
        return piece

    def close(self) -> None:
        self.handle.close()
        super().close()


def is_gzip(path: Path) -> bool:
    """Whether the file starts with gzip's magic number."""
    with path.open("rb") as handle:
        return handle.read(2) == _GZIP


def check_file(path: Path) -> None:
    """Raise a :class:`DataError` unless ``path`` is a file that can be read as text or gzip."""
    if path.is_dir():
        raise DataError("this is a folder, not a file", where=path, hint="give the file inside it")
    if not path.exists():
        near = sorted(p.name for p in path.parent.iterdir())[:10] if path.parent.is_dir() else None
        raise DataError("there is no such file", where=path, hint=f"the folder holds {near}" if near else None)
    try:
        with path.open("rb") as handle:
            head = handle.read(264)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=path) from error
    kind = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    kind = "tar" if head[257:262] == b"ustar" else kind
    if kind:
        raise DataError(f"this is a {kind} archive", where=path, accepted="plain or gzip files", hint="unpack it first")


def first_line(path: Path, limit: int = 1 << 20) -> bytes:
    """The first line that is not blank, at most ``limit`` bytes of it; empty for an empty file."""
    check_file(path)
    with path.open("rb") as handle:
        stream = _TolerantGzip(handle) if is_gzip(path) else handle
        try:
            data = stream.read(limit).removeprefix(_BOM)
        except (EOFError, zlib.error):
            return b""
    if data.startswith(_WIDE):
        data = data.decode("utf-16", errors="ignore").encode()
    return next((line for line in data.split(b"\n") if line.strip()), b"").rstrip(b"\r")
