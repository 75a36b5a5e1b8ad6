"""Files to upload: reopened for each attempt, with their size, and a name whose extension is the file type."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 20

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
        File name; its extension is the file type.
    table_name : str or None
        Requested table name; None: from the file name.
    """

    open: Callable[[], AbstractContextManager[SizedReader]]
    file_name: str
    table_name: str | None

    @classmethod
    def of(cls, file: File, name: str | None) -> UploadSource:
        """Return the upload source for a path or a file object.

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
            return cls(lambda: _open_path(path), *_names(path.name, name))
        if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
            raise TypeError(f"expected a path or a file opened in binary mode, got {type(file).__name__}")
        if not file.seekable():
            raise ValueError(
                "the file is not seekable, so the upload could not be retried: pass io.BytesIO(file.read()) or a path"
            )
        own = getattr(file, "name", None)
        file_name, table_name = _names(Path(own).name if isinstance(own, str) else "", name)
        if not Path(file_name).suffix:
            raise ValueError(
                f"a file object needs a name with the extension of its type, such as name='x.csv', not {name!r}"
            )
        return cls(lambda: _rewind(file), file_name, table_name)


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


def _names(file_name: str, name: str | None) -> tuple[str, str | None]:
    """Return file name and table name; ``name`` may have the extension that the file name lacks."""
    if name is None:
        return file_name, None
    extension = Path(file_name).suffix
    if not extension:
        return name, None
    return file_name, name[: -len(extension)] if name.lower().endswith(extension.lower()) else name
