"""Write downloads to files, which get their name only after their format was checked to be complete."""

from __future__ import annotations

import io
import mmap
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cartoframes_lite._codec import binary_rows, json_end
from cartoframes_lite.errors import ConnectionFailed, decode_error, error_from_response

_MAX_ERROR_BYTES = 1 << 24  # a PostgreSQL error message can contain the value that caused it
_SQLITE_HEAD = b"SQLite format 3\0"
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22
_ZIP_COMMENT_BYTES = 1 << 16
_XML_TAIL_BYTES, _MAX_XML_COMMENTS = 1 << 16, 20

Check = Callable[[BinaryIO, str], None]  # raises if a file is incomplete; str is the subject of the message


@contextmanager
def complete_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes ``path`` when the context ends, unless it ends with an exception.

    Parameters
    ----------
    path : path
        An existing file is replaced, through symbolic links; a device or pipe is written to.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with tempfile.TemporaryFile() as complete, target.open("wb") as device:
            yield complete
            complete.seek(0)
            shutil.copyfileobj(complete, device)
        return
    target = Path(os.path.realpath(target))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_blocks(path: str | os.PathLike[str], blocks: Iterable[bytes], *, check: Callable[[BinaryIO], None]) -> int:
    """Write blocks to a file, provided that ``check`` accepts them.

    Parameters
    ----------
    path : path
        As in ``complete_file``.
    blocks : iterable of bytes
    check : callable
        Called with the complete file; raises if it is not valid.

    Returns
    -------
    int
        Size of the file in bytes.
    """
    with complete_file(path) as file:
        size = sum(map(file.write, blocks))
        file.flush()
        check(file)
    return size


def check_rows(file: BinaryIO, source: str) -> None:
    """Raise if the rows of a COPY in text or CSV format, or of a CSV file, are incomplete.

    Every row ends with a line break, also the last one. An error that the server appends to the rows it has sent
    contains no line break.
    """
    size = _size(file)
    if size == 0 or _end(file, 1) == b"\n":
        return
    last = _end(file, _MAX_ERROR_BYTES).rpartition(b"\n")[2]
    _raise_error(last, source)
    raise ConnectionFailed(f"{source}: the last row is incomplete; no file is written, try again")


def check_csv(file: BinaryIO, source: str) -> None:
    """Raise if a CSV file is incomplete; if it ends inside a quoted field, its number of quotes is odd."""
    check_rows(file, source)
    if sum(block.count(b'"') for block in _blocks(file)) % 2:
        raise ConnectionFailed(f"{source}: the last field is incomplete; no file is written, try again")


def check_binary_copy(file: BinaryIO, source: str) -> None:
    """Raise unless the rows of a binary COPY end with its trailer and nothing follows."""
    if _size(file) and _is_complete_copy(file):
        return
    end = _end(file, _MAX_ERROR_BYTES)
    _raise_error(end[max(0, end.rfind(b'{"error":')) :], source)
    raise ConnectionFailed(f"{source}: the binary COPY is incomplete; no file is written, try again")


def check_geojson(file: BinaryIO, source: str) -> None:
    """Raise if a FeatureCollection is incomplete, or if its last member is ``error``.

    Such an error is a member of the outermost object; the same text inside a feature is data.
    """
    end = _end(file, _MAX_ERROR_BYTES).rstrip()
    at = end.rfind(b'],"error":')
    if at >= 0:
        _raise_error(b"{" + end[at + 2 :], source)
    if not end.endswith((b"}", b"});")) or not json_end.is_complete(_blocks(file)):
        raise ConnectionFailed(f"{source}: the features are incomplete; no file is written, try again")


def check_zip(file: BinaryIO, source: str) -> None:
    """Raise if a ZIP file has no central directory, or does not begin or end where the directory states."""
    end = _end(file, _ZIP_END_BYTES + _ZIP_COMMENT_BYTES)
    at = end.rfind(_ZIP_END)
    is_complete = at >= 0 and len(end) - at - _ZIP_END_BYTES == int.from_bytes(end[at + 20 : at + 22], "little")
    try:
        if is_complete:
            with zipfile.ZipFile(file) as archive:
                first = min((info.header_offset for info in archive.infolist()), default=0)
                is_complete = first == 0 and archive.start_dir >= 0
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError):
        is_complete = False
    if not is_complete:
        raise ConnectionFailed(f"{source}: the archive is incomplete; no file is written, try again")


def check_sqlite(file: BinaryIO, source: str) -> None:
    """Raise if an SQLite file (GeoPackage, SpatiaLite) has not the number of pages in its header."""
    head, size = _head(file, 100), _size(file)
    is_complete = head.startswith(_SQLITE_HEAD) and len(head) == 100
    if is_complete:
        page = int.from_bytes(head[16:18], "big")
        page = 65_536 if page == 1 else page
        # The number of pages is valid only if it was written with the last change counter.
        pages = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
        is_complete = page > 0 and (size == page * pages if pages else size % page == 0)
    if not is_complete:
        raise ConnectionFailed(f"{source}: the database is incomplete; no file is written, try again")


def check_xml(file: BinaryIO, source: str) -> None:
    """Raise if KML or SVG has no closing tag of its root element; comments may follow it."""
    end = _end(file, _XML_TAIL_BYTES).rstrip()
    for begin, close in ((b"<!--", b"-->"), (b"<?", b"?>")) * _MAX_XML_COMMENTS:
        if end.endswith(close):
            end = end[: max(0, end.rfind(begin))].rstrip()
    root = end[:-1].rstrip() if end.endswith(b">") else b""
    is_complete = root.endswith((b"</kml", b"</svg"))
    if not is_complete or sum(block.count(b"<?xml") for block in _blocks(file)) > 1:  # the document was sent twice
        raise ConnectionFailed(f"{source}: the document is incomplete; no file is written, try again")


def check_object(file: BinaryIO, source: str) -> None:
    """Raise if a JSON object, such as TopoJSON, is incomplete."""
    if not json_end.is_complete(_blocks(file)):
        raise ConnectionFailed(f"{source}: the object is incomplete; no file is written, try again")


FORMATS: dict[str, Check] = {
    "csv": check_csv,
    "geojson": check_geojson,
    "topojson": check_object,
    "kml": check_xml,
    "svg": check_xml,
    "shp": check_zip,
    "gpkg": check_sqlite,
    "spatialite": check_sqlite,
}


def check_bytes(content: bytes, format: str, source: str) -> bytes:
    """Check the content of a file, and return it."""
    if format in FORMATS:
        FORMATS[format](io.BytesIO(content), source)
    return content


def _raise_error(text: bytes, source: str) -> None:
    """Raise an APIError if the text is a JSON error of the API."""
    if decode_error(text) is not None:
        raise error_from_response("POST", source, 200, {}, text)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _head(file: BinaryIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


def _end(file: BinaryIO, count: int) -> bytes:
    file.seek(max(0, _size(file) - count))
    return file.read(count)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Iterate over the blocks of a file from its beginning."""
    file.seek(0)
    return iter(lambda: file.read(1 << 20), b"")


def _is_complete_copy(file: BinaryIO) -> bool:
    """Check the rows of a non-empty file without loading it into memory."""
    if isinstance(file, io.BytesIO):
        return binary_rows.is_complete(file.getbuffer())
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return binary_rows.is_complete(mapped)
