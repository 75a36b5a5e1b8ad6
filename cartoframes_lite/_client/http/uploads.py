"""Files to upload: reopened for each attempt, with their size, and a name whose extension is the file type."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cartoframes_lite._codec.names import carto_table_name, carto_table_name_of_file

_BLOCK_BYTES = 1 << 20

_COMPRESSED = (".gz", ".bz2")  # one file, named after the uploaded one
_ARCHIVES = (".zip", ".kmz", ".carto", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2")

File = str | os.PathLike[str] | BinaryIO


class SizedReader:
    """File with the number of remaining bytes, which is not that of the descriptor for e.g. a gzip file.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Attributes
    ----------
    len : int
        Remaining bytes; attribute that the multipart encoder reads.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.len = _size(file)

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; all remaining ones by default."""
        block = self._file.read(size)
        self.len -= len(block)
        return block


@dataclass(frozen=True, slots=True)
class UploadSource:
    """File to import.

    Attributes
    ----------
    open : callable
        Returns a context manager with the file at its beginning.
    file_name : str
        File name; its extension is the file type. CARTO names the table after it, except for archives.
    """

    open: Callable[[], AbstractContextManager[SizedReader]]
    file_name: str

    @classmethod
    def of(cls, file: File, name: str | None, *, sanitize: bool = False) -> UploadSource:
        """Return the upload source for a path or a file object.

        Parameters
        ----------
        file : path or binary file
        name : str or None
            Requested table name; has no effect on archives.
        sanitize : bool, default False
            Make the file name equal to that of the table.

        Raises
        ------
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If it is not a binary file, is not seekable, or has no name with an extension.
        """
        if isinstance(file, str | os.PathLike):
            path = Path(file)
            path.open("rb").close()  # raise OSError before any request
            return cls(lambda: _open_path(path), _file_name(_own_name(file), name, sanitize))
        if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
            raise TypeError(f"expected a path or a file opened in binary mode, got {type(file).__name__}")
        if not file.seekable():
            raise ValueError(
                "the file is not seekable, so the upload could not be retried: pass io.BytesIO(file.read()) or a path"
            )
        file_name = _file_name(_own_name(file), name, sanitize)
        if not Path(file_name).suffix:
            raise ValueError(
                f"a file object needs a name with the extension of its type, such as name='x.csv', not {name!r}"
            )
        return cls(lambda: _rewind(file), file_name)


@contextmanager
def _open_path(path: Path) -> Iterator[SizedReader]:
    with path.open("rb") as file:
        yield SizedReader(file)


@contextmanager
def _rewind(file: BinaryIO) -> Iterator[SizedReader]:
    """Rewind a file object of the caller, and leave it open on exit."""
    file.seek(0)
    yield SizedReader(file)


def _size(file: BinaryIO) -> int:
    """Return the size of a file that is at its beginning."""
    try:
        size = file.seek(0, io.SEEK_END)
    except (OSError, ValueError):  # compressed files cannot seek from the end
        size = sum(map(len, iter(lambda: file.read(_BLOCK_BYTES), b"")))
    file.seek(0)
    return size


def is_archive(file_name: str) -> bool:
    """Return whether CARTO names the tables of a file after its members."""
    return file_name.lower().endswith(_ARCHIVES)


def table_name_of_file(file_name: str) -> str | None:
    """Return the name that CARTO gives to the table of a file, unless it is taken; None for an archive."""
    if is_archive(file_name) or not Path(file_name).suffix:
        return None
    return carto_table_name_of_file(_split(file_name)[0])


def name_after_import(file: File, name: str | None) -> str | None:
    """Return the name that the table of an archive must be renamed to; None if the name of the file determines it."""
    file_name = _own_name(file)
    return _requested(file_name, name) if name is not None and is_archive(file_name) else None


def _own_name(file: File) -> str:
    """Return the name of a path or file object without directories; "" if it has none."""
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    return Path(name).name if isinstance(name, str | os.PathLike) else ""


def _requested(file_name: str, name: str) -> str:
    """Return the table name for a requested one, which may have the extension of the file."""
    extension = _split(file_name)[1].lower()
    has_extension = extension and name.lower().endswith(extension)
    return carto_table_name(name[: -len(extension)] if has_extension else name)


def _file_name(file_name: str, name: str | None, sanitize: bool) -> str:
    """Return the file name to send, so that the table gets the requested name."""
    if name is not None and not Path(file_name).suffix:
        file_name, name = name, None  # the name of a file object, with the extension of its type
    if is_archive(file_name):
        return file_name
    extension = _split(file_name)[1]
    if name is not None:
        return _requested(file_name, name) + extension
    return f"{table_name_of_file(file_name)}{extension}" if sanitize and extension else file_name


def _split(file_name: str) -> tuple[str, str]:
    """Split a file name into name and extension, which is ``.csv.gz`` for a compressed file."""
    path = Path(file_name)
    suffixes = path.suffixes[-2:] if path.suffix.lower() in _COMPRESSED else path.suffixes[-1:]
    extension = "".join(suffixes)
    return (file_name[: -len(extension)] if extension else file_name), extension
