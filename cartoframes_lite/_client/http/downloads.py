"""Streams into files that appear only when they are complete, as far as their format shows it."""

from __future__ import annotations

import io
import mmap
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from cartoframes_lite._codec import binary_rows, json_end
from cartoframes_lite.errors import ConnectionFailed, decode_error, error_from_response

_LONGEST_ERROR_BYTES = 1 << 24  # a message of PostgreSQL can repeat the value that it is about
_SQLITE_HEAD = b"SQLite format 3\0"
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22
_ZIP_COMMENT_BYTES = 1 << 16
_XML_TAIL_BYTES, _MOST_XML_COMMENTS = 1 << 16, 20

Check = Callable[[BinaryIO, str], None]  # raises if a file is not complete; with what a message says was asked for


def write_blocks(path: str | os.PathLike[str], blocks: Iterable[bytes], *, check: Callable[[BinaryIO], None]) -> int:
    """Write blocks to a file that takes its name in the end.

    Parameters
    ----------
    path : path
        An existing file is replaced; a device or a pipe is written to.
    blocks : iterable of bytes
    check : callable
        Is given the file, and raises if it shows that it is not what was asked for.

    Returns
    -------
    int
        Size of the file in bytes.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with tempfile.TemporaryFile() as complete, target.open("wb") as device:
            size = sum(map(complete.write, blocks))
            check(complete)
            complete.seek(0)
            shutil.copyfileobj(complete, device)
        return size
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "w+b") as file:
            size = sum(map(file.write, blocks))
            file.flush()
            check(file)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return size


def check_rows(file: BinaryIO, place: str) -> None:
    """Refuse rows of COPY in text or CSV, or of a CSV file, that are not complete.

    Every row ends with a line break, the last one, too. The error that the server writes behind the rows it has sent
    does not, and has no line break in it. So a last row whose text is such an error is none.
    """
    size = _size(file)
    if size == 0 or _end(file, 1) == b"\n":
        return
    last = _end(file, _LONGEST_ERROR_BYTES).rpartition(b"\n")[2]
    _raise_error(last, place)
    raise ConnectionFailed(f"{place}: the last row is not complete; no file is written, try again")


def check_csv(file: BinaryIO, place: str) -> None:
    """Refuse a CSV file that is not complete; one that ends inside of a field has an odd number of quotes."""
    check_rows(file, place)
    if sum(block.count(b'"') for block in _blocks(file)) % 2:
        raise ConnectionFailed(f"{place}: the last field is not complete; no file is written, try again")


def check_binary_copy(file: BinaryIO, place: str) -> None:
    """Refuse a binary COPY whose rows do not lead to its trailer; behind which there is nothing, also no error."""
    if _size(file) and _is_complete_copy(file):
        return
    end = _end(file, _LONGEST_ERROR_BYTES)
    _raise_error(end[max(0, end.rfind(b'{"error":')) :], place)
    raise ConnectionFailed(f"{place}: the binary COPY is not complete; no file is written, try again")


def check_geojson(file: BinaryIO, place: str) -> None:
    """Refuse a FeatureCollection that does not end, or whose last member is an error.

    The error ends the outermost object: text and JSON inside a feature do not.
    """
    end = _end(file, _LONGEST_ERROR_BYTES).rstrip()
    at = end.rfind(b'],"error":')
    if at >= 0:
        _raise_error(b"{" + end[at + 2 :], place)
    if not end.endswith((b"}", b"});")) or not json_end.is_complete(_blocks(file)):
        raise ConnectionFailed(f"{place}: the features are not complete; no file is written, try again")


def check_zip(file: BinaryIO, place: str) -> None:
    """Refuse an archive without its directory, or that does not begin or end where that says."""
    end = _end(file, _ZIP_END_BYTES + _ZIP_COMMENT_BYTES)
    at = end.rfind(_ZIP_END)
    is_whole = at >= 0 and len(end) - at - _ZIP_END_BYTES == int.from_bytes(end[at + 20 : at + 22], "little")
    try:
        if is_whole:
            with zipfile.ZipFile(file) as archive:
                first = min((info.header_offset for info in archive.infolist()), default=0)
                is_whole = first == 0 and archive.start_dir >= 0
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError):
        is_whole = False
    if not is_whole:
        raise ConnectionFailed(f"{place}: the archive is not complete; no file is written, try again")


def check_sqlite(file: BinaryIO, place: str) -> None:
    """Refuse a database (GeoPackage, SpatiaLite) that has not as many pages as it says."""
    head, size = _head(file, 100), _size(file)
    is_whole = head.startswith(_SQLITE_HEAD) and len(head) == 100
    if is_whole:
        page = int.from_bytes(head[16:18], "big")
        page = 65_536 if page == 1 else page
        # The number of pages counts only if it was written by the last change.
        pages = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
        is_whole = page > 0 and (size == page * pages if pages else size % page == 0)
    if not is_whole:
        raise ConnectionFailed(f"{place}: the database is not complete; no file is written, try again")


def check_xml(file: BinaryIO, place: str) -> None:
    """Refuse KML or SVG without the end of its root element, behind which there may be comments."""
    end = _end(file, _XML_TAIL_BYTES).rstrip()
    for begin, close in ((b"<!--", b"-->"), (b"<?", b"?>")) * _MOST_XML_COMMENTS:
        if end.endswith(close):
            end = end[: max(0, end.rfind(begin))].rstrip()
    root = end[:-1].rstrip() if end.endswith(b">") else b""
    is_whole = root.endswith((b"</kml", b"</svg"))
    if not is_whole or sum(block.count(b"<?xml") for block in _blocks(file)) > 1:  # more than one: sent twice
        raise ConnectionFailed(f"{place}: the document is not complete; no file is written, try again")


def check_object(file: BinaryIO, place: str) -> None:
    """Refuse an object, such as TopoJSON, that does not end."""
    if not json_end.is_complete(_blocks(file)):
        raise ConnectionFailed(f"{place}: the object is not complete; no file is written, try again")


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


def check_bytes(content: bytes, format: str, place: str) -> bytes:
    """Check a file that is in memory, and return it."""
    if format in FORMATS:
        FORMATS[format](io.BytesIO(content), place)
    return content


def _raise_error(text: bytes, place: str) -> None:
    """Raise the error that a text is, if it is one."""
    if decode_error(text) is not None:
        raise error_from_response("POST", place, 200, {}, text)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _head(file: BinaryIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


def _end(file: BinaryIO, count: int) -> bytes:
    file.seek(max(0, _size(file) - count))
    return file.read(count)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Read a file from its beginning."""
    file.seek(0)
    return iter(lambda: file.read(1 << 20), b"")


def _is_complete_copy(file: BinaryIO) -> bool:
    """Walk the rows of a file that is not empty, without reading it as a whole."""
    if isinstance(file, io.BytesIO):
        return binary_rows.is_complete(file.getbuffer())
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return binary_rows.is_complete(mapped)
